"""Lease rows that outlived their stream: deleted and created again under the same name, in single-stream mode.

There a row's key is the bare shard id, so the new stream's shards meet the old stream's rows: a checkpoint that no
shard of it ever had (reading is refused for ever), or SHARD_END (nothing is read at all, in silence). Pure.

The proof is in the sequence numbers: those of a shard lie at or above its StartingSequenceNumber, and a shard created
later has only greater ones (`kcl.md` 6.5). A row below its shard's start is of another stream, or was edited by hand.
Invariants: a row that can be of the present stream is left alone; the ambiguous ones are written first and the proof
last, so that a crash between two writes leaves the proof to whoever comes next.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.records import SHARD_END
from shardline.consumer.streams import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shardline.common.hashing import Shard
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Outlived", "judge_rows"]


class Outlived(NamedTuple):
    """Rows to be set back to the beginning of their shard as it is now, rows to be deleted; `recreated` if proved.

    Not recreated, with rows to set back: single checkpoints that cannot be, edited by somebody. `marked` says that
    some of the rows say it themselves.
    """

    recreated: bool
    resets: tuple[tuple[LeaseRow, Shard], ...]
    drops: tuple[LeaseRow, ...]
    marked: bool = False

    def __bool__(self) -> bool:
        return bool(self.resets or self.drops)


def judge_rows(
    shards: Iterable[Shard],
    rows: Sequence[LeaseRow],
    *,
    identity: Identity | None = None,
    recreated: bool | None,
    settled: bool = False,
) -> Outlived:
    """Return what is to become of one stream's rows, given all its shards; `identity` is the stream's, where known.

    Rows that say whose they are (ours do) are judged by that: one of an earlier stream of that name outlived it, one of
    a stream of another name is nobody's business here. For the others `recreated` says whether the stream is known to
    have been created again (None: nobody knows; then it was if some row is below its shard's start and none above).
    `settled` says that what is odd has been so for long, so that a shard which is open and finished at once, or open
    with a child that is not listed, is no list read during a reshard.
    """
    listed = {shard.shard_id: shard for shard in shards}
    marked = {row.key: _age(row, identity) for row in rows}
    old = [row for row in rows if marked[row.key] is _Age.OLD]
    mine = [(row, listed[row.shard_id]) for row in rows if marked[row.key] is _Age.NOW and row.shard_id in listed]
    found = _by_numbers(listed, [row for row in rows if marked[row.key] is None], recreated, settled, native=bool(mine))
    edited = [pair for pair in mine if _is_foreign(*pair) or (settled and _is_reopened(*pair))]
    return Outlived(
        recreated=found.recreated or bool(old),
        resets=(*found.resets, *edited, *((row, listed[row.shard_id]) for row in old if row.shard_id in listed)),
        drops=(*found.drops, *(row for row in old if row.shard_id not in listed)),
        marked=bool(old),
    )


class _Age(Enum):
    OLD = "of an earlier stream of that name"
    NOW = "of the stream as it is"
    OTHER = "of another stream"


def _age(row: LeaseRow, identity: Identity | None) -> _Age | None:
    """Return what a row says of itself; None where it says nothing, or nobody knows which stream this is."""
    mark = None if row.stream_mark is None else Identity.parse(row.stream_mark)
    if mark is None or identity is None:
        return None
    if mark.place != identity.place or mark.epoch > identity.epoch:
        return _Age.OTHER
    return _Age.NOW if mark == identity else _Age.OLD


def _by_numbers(
    listed: Mapping[str, Shard],
    rows: Sequence[LeaseRow],
    recreated: bool | None,  # noqa: FBT001 - three answers: yes, no, nobody knows.
    settled: bool,  # noqa: FBT001 - handed on.
    *,
    native: bool,
) -> Outlived:
    here = [(row, listed[row.shard_id]) for row in rows if row.shard_id in listed]
    numbered = [(row, shard) for row, shard in here if not row.checkpoint.is_sentinel]
    foreign = [pair for pair in numbered if _is_foreign(*pair)]
    native = native or len(numbered) > len(foreign)
    reopened = [pair for pair in here if settled and _is_reopened(*pair)]
    if recreated is None:
        open_ids = {shard.shard_id for _, shard in reopened}
        childish = any(row.shard_id not in listed and not open_ids.isdisjoint(row.parents) for row in rows)
        recreated = (bool(foreign) or childish) and not native
    if not recreated:
        return Outlived(recreated=False, resets=(*reopened, *foreign), drops=())
    ended = [(row, shard) for row, shard in here if row.checkpoint == SHARD_END and (shard.is_open or not native)]
    begun = [(row, shard) for row, shard in here if row.checkpoint.is_sentinel and row.checkpoint != SHARD_END]
    misshapen = [(row, shard) for row, shard in begun if not _fits(row, shard)]
    drops = [row for row in rows if row.shard_id not in listed]
    return Outlived(recreated=True, resets=(*ended, *misshapen, *foreign), drops=tuple(drops))


def _is_foreign(row: LeaseRow, shard: Shard) -> bool:
    number = None if row.checkpoint.is_sentinel else row.checkpoint.sequence_number
    return number is not None and number < int(shard.starting_sequence_number)


def _is_reopened(row: LeaseRow, shard: Shard) -> bool:
    return row.checkpoint == SHARD_END and shard.is_open


def _fits(row: LeaseRow, shard: Shard) -> bool:
    return row.hash_range in (None, shard.hash_range) and set(row.parents) == set(shard.parent_shard_ids)
