"""Records and batches: positions, identities, remainders, and handlers told apart."""

from __future__ import annotations

import pytest

from shardline.common.deaggregation import deaggregate
from shardline.common.errors import InvalidInput
from shardline.common.hashing import HashRange
from shardline.consumer.handler import Batch, Origin, Piece, Record
from shardline.consumer.spec import HandlerSpec

from tests.consumer.rows import aggregate, at


def piece(number: int, data: bytes, *, skip: int = 0, hash_range: HashRange | None = None) -> Piece:
    """Return the user records of a Kinesis record."""
    origin = Origin("orders", "shardId-000000000000", str(number), number, 12.5, 7)
    records = deaggregate(data, "outer", hash_range=hash_range)
    return Piece(origin, records, skip, len(data), len(records))


def batch(*pieces: Piece, drop_misplaced: bool = False) -> Batch:
    """Return a batch of these pieces."""
    return Batch(pieces, stream="orders", shard_id="shardId-000000000000", token=7, drop_misplaced=drop_misplaced)


THREE = aggregate(("a", b"1"), ("b", b"2"), ("c", b"3"))


def test_records_carry_where_they_come_from() -> None:
    """Stream, shard, position, identity, key, arrival time and fencing token."""
    _, second, _, plain = batch(piece(5, THREE), piece(6, b"plain"))
    assert (second.stream, second.shard_id, second.sequence_number) == ("orders", "shardId-000000000000", "5")
    assert (second.sub_sequence_number, second.position, second.partition_key) == (1, at(5, 1), "b")
    assert second.id == "orders/shardId-000000000000/5/1"
    assert (second.token, second.arrival_time_s, second.data) == (7, 12.5, b"2")
    assert (plain.data, plain.partition_key, plain.position, plain.explicit_hash_key) == (
        b"plain",
        "outer",
        at(6),
        None,
    )
    assert (plain.misplaced, dict(plain.headers)) == (False, {})


def test_what_was_done_before_is_left_out() -> None:
    """A piece begins behind the stored sub-sequence number, and a batch's remainder behind what is done."""
    whole = batch(piece(5, THREE, skip=1), piece(6, THREE), piece(7, b"x"))
    assert (len(whole), whole.first, whole.last) == (6, at(5, 1), at(7))
    rest = whole.after(at(6, 0))
    assert [record.position for record in rest] == [at(6, 1), at(6, 2), at(7)]
    assert [record.position for record in rest.after(at(6, 2))] == [at(7)]
    assert len(rest.after(at(7))) == 0


def test_a_batch_is_read_as_often_as_one_likes() -> None:
    """Iterating makes the records anew, so a retry sees the same batch."""
    again = batch(piece(5, THREE))
    assert [record.data for record in again] == [record.data for record in again] == [b"1", b"2", b"3"]


def test_misplaced_records_are_delivered_unless_told_otherwise() -> None:
    """By default they are delivered and counted; with the KCL's rule they are left out."""
    nowhere = HashRange(0, 0)
    whole = batch(piece(5, THREE, hash_range=nowhere))
    assert [record.misplaced for record in whole] == [True] * 3
    assert whole.notes() == {"misplaced": 3}
    assert list(batch(piece(5, THREE, hash_range=nowhere), drop_misplaced=True)) == []


def test_what_is_worth_counting_is_counted() -> None:
    """A malformed aggregate is delivered whole, and counted."""
    malformed = aggregate(("a", b"1"), ("b", b"2"))
    broken = batch(piece(5, malformed[:-1] + bytes([malformed[-1] ^ 1])), piece(6, THREE))
    assert broken.notes() == {"checksum": 1}
    assert (broken.size, broken.kinesis_records, len(broken)) == (len(malformed) + len(THREE), 2, 4)


def test_texts_hold_neither_payload_nor_key() -> None:
    """`repr` shows lengths and positions (I19)."""
    canary = batch(piece(5, aggregate(("canary-key", b"canary-data"), ("canary-key", b"x"))))
    text = repr(canary) + repr(list(canary))
    assert "canary" not in text
    assert "11 bytes" in text


async def asynchronous(record: Record) -> None:
    """Do nothing."""


class Callable:
    """An object whose call is a coroutine."""

    async def __call__(self, record: Record) -> None:
        """Do nothing."""


def test_handlers_are_told_apart() -> None:
    """Coroutine functions and objects run on the loop, everything else on a thread."""
    assert not HandlerSpec.of(asynchronous, batch=False).blocking
    assert not HandlerSpec.of(Callable(), batch=True).blocking
    assert HandlerSpec.of(print, batch=False).blocking
    assert HandlerSpec.of(lambda _: None, batch=True).takes_batch


def test_an_option_that_does_not_exist_is_refused_by_name() -> None:
    """A misspelt option says which ones there are."""
    with pytest.raises(InvalidInput, match="concurency must be .* concurrency"):
        HandlerSpec.of(asynchronous, concurency=None)  # type: ignore[call-arg]  # The point of the test.


@pytest.mark.parametrize("handler", [None, "text", lambda: None, lambda _one, _two: None])
def test_what_cannot_be_a_handler_is_refused(handler: object) -> None:
    """A handler is a function of one argument."""
    with pytest.raises(InvalidInput, match="handler"):
        HandlerSpec.of(handler, batch=False)  # type: ignore[arg-type]  # The point of the test.
