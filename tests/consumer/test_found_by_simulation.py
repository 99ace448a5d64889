"""Faults that simulation found, each as the smallest story that shows it."""

from __future__ import annotations

import pytest

from shardline.common.hashing import HashRange
from shardline.common.ports.kinesis import ChildShard
from shardline.consumer.leases.held import HeldState
from shardline.consumer.leases.row import LeaseRow
from shardline.consumer.lineage import are_all_children

from tests.consumer.rows import WRITES, Book, at

PARENT = LeaseRow(key="p", counter=1, checkpoint=at(1), shard_id="p", hash_range=HashRange(10, 19))


def test_a_restart_credits_no_renewal_that_it_did_not_send_itself() -> None:
    """A late renewal of the earlier process moved the counter: the adoption needs a write of its own."""
    book = Book()
    book.create()
    book.write(WRITES.assign(book.row(), "me"))
    lease = book.holder("me", WRITES.renew(book.row()))
    book.write(WRITES.renew(book.row()))
    book.now = 3.0
    book.step(lease)
    assert lease.state is HeldState.ACQUIRING
    book.now = 4.0
    book.step(lease)
    assert (lease.state, lease.valid_since, lease.token) == (HeldState.HELD, 4.0, 3)


@pytest.mark.parametrize(
    ("children", "believed"),
    [
        ([("a", ("p",), 10, 14), ("b", ("p",), 15, 19)], True),
        ([("a", ("p",), 10, 14)], False),
        ([("b", ("p",), 15, 19)], False),
        ([("m", ("p", "q"), 10, 29)], True),
        ([("m", ("p",), 10, 29)], False),
        ([("a", ("q",), 10, 19)], False),
        ([], False),
    ],
)
def test_a_shards_end_is_believed_with_all_its_children_only(
    children: list[tuple[str, tuple[str, ...], int, int]], believed: bool
) -> None:
    """A child that is missing, or a merged child without its second parent, means that the list is not whole yet."""
    named = [ChildShard(name, parents, HashRange(low, high)) for name, parents, low, high in children]
    assert are_all_children(PARENT.shard_id, PARENT.hash_range, named) is believed
