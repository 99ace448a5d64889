"""The demo's oracle: which acknowledged records were processed, how often, and in which order.

It knows two sources only: what the producer's deliveries said (`acknowledged`) and what handlers said before they
returned (`delivered`). Nothing of the library's own counters or events enters, so nothing of it can hide a loss.

Terms are those of invariant I2. A *position* is (shard, sequence number, sub-sequence number). A delivery of a position
for the first time is a first delivery; the same position again is `redelivered`; an id already seen, at a position not
yet seen, is `resent`. A first delivery is out of order when a higher position of that partition key in that shard was
delivered before, or when a record of an ancestor shard was first delivered after it (the ancestor had not ended).

Invariants: losses are counted by unique id, never by totals (a total hides a loss behind a duplicate); memory is one
byte per id, one entry per Kinesis record, one per key and shard, and ids beyond `ids_max` take none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["DeliveredRecord", "Ledger", "Report"]

PAYLOAD_UNIT_BYTES: Final = 25 * 1024
"""What PutRecords is billed by (Kinesis Data Streams pricing); the demo's user records take one each."""

_ACKNOWLEDGED = 1
_SEEN = 2


class DeliveredRecord(NamedTuple):
    """The user records of one Kinesis record as a handler got them; `ids` and `keys` run in parallel.

    Sub-sequence numbers count up from `first_sub` without a gap (a gap starts another value). An id below 0 stands for
    a payload that is not what the producer wrote.
    """

    sequence_number: int
    first_sub: int
    ids: Sequence[int]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the demo found; counts of user records unless the name says otherwise.

    `data_bytes` are data and partition keys as shards count them, `data_bytes_alone` what they would be without
    aggregation (the format costs a few bytes per record). PutRecords is billed by payload units, each 25 KB of one
    Kinesis record or a part of it: `bytes_saved` are the billed bytes that aggregation saves.
    """

    sent: int
    acknowledged: int
    not_written: int
    unknown: int
    processed: int
    lost: int
    duplicates: int
    resent: int
    redelivered: int
    order_violations: int
    misplaced: int
    foreign: int
    kinesis_records: int
    kinesis_records_saved: int
    data_bytes: int
    data_bytes_alone: int
    payload_units: int
    payload_units_saved: int
    bytes_saved: int

    @property
    def sound(self) -> bool:
        """Say whether nothing was lost, nothing came out of order and nothing came that was never sent."""
        return self.lost == 0 and self.order_violations == 0 and self.foreign == 0

    def as_fields(self) -> dict[str, int]:
        """Return the counts by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Ledger:
    """Takes acknowledgements and deliveries in the order in which they happened; `report` may be asked at any time.

    `ids_max` bounds the ids: the producer numbers its records from 0; a delivered id outside counts as foreign.
    """

    def __init__(self, ids_max: int) -> None:
        self._flags = bytearray(ids_max)
        self._sent = 0
        self._acknowledged = 0
        self._processed = 0
        self._pending = 0
        self._failed = {"not_written": 0, "unknown": 0}
        self._records: set[tuple[str, int]] = set()
        self._bytes_sent = self._bytes_alone = self._units = 0
        self._positions: dict[tuple[str, int], int] = {}
        self._latest: dict[tuple[str, str], tuple[int, int]] = {}
        self._first_deliveries: Counter[str] = Counter()
        # Shard -> first deliveries of every shard, as they stood at the shard's own latest first delivery.
        self._at_last: dict[str, dict[str, int]] = {}
        self._resent = self._redelivered = self._below = self._misplaced = self._foreign = 0

    @property
    def pending(self) -> int:
        """How many acknowledged records no handler has returned for yet."""
        return self._pending

    @property
    def sent_count(self) -> int:
        """How many records were handed to the producer."""
        return self._sent

    @property
    def acknowledged_count(self) -> int:
        """How many unique ids were acknowledged."""
        return self._acknowledged

    @property
    def processed_count(self) -> int:
        """How many unique ids were processed."""
        return self._processed

    @property
    def duplicates(self) -> int:
        """How many deliveries were not the first of their id, so far."""
        return self._resent + self._redelivered

    def sent(self, total: int) -> None:
        """Ids 0 to `total` - 1 have been handed to the producer."""
        self._sent = max(self._sent, total)

    def acknowledged(
        self, ids: Iterable[int], shard_id: str, sequence_number: int, *, bytes_sent: int, bytes_alone: int
    ) -> None:
        """Take one acknowledged Kinesis record of `bytes_sent` with these ids inside, `bytes_alone` by themselves."""
        flags = self._flags
        for one in ids:
            if not 0 <= one < len(flags):
                self._foreign += 1
            elif not flags[one] & _ACKNOWLEDGED:
                self._acknowledged += 1
                self._pending += not flags[one] & _SEEN
                flags[one] |= _ACKNOWLEDGED
        record = (shard_id, sequence_number)
        if record not in self._records:
            self._records.add(record)
            self._bytes_sent += bytes_sent
            self._bytes_alone += bytes_alone
            self._units += -(-bytes_sent // PAYLOAD_UNIT_BYTES)

    def failed(self, count: int, *, unknown: bool) -> None:
        """Count records that the producer gave up: their outcome unknown, or known not to be written."""
        self._failed["unknown" if unknown else "not_written"] += count

    def delivered(self, shard_id: str, records: Iterable[DeliveredRecord], *, misplaced: int = 0) -> int:
        """Take what a handler is done with, of one shard; return how many ids were new."""
        processed, first = self._processed, self._first_deliveries[shard_id]
        for record in records:
            seen = self._positions.get((shard_id, record.sequence_number), 0)
            for offset, (one, key) in enumerate(zip(record.ids, record.keys, strict=True)):
                sub = record.first_sub + offset
                if seen >> sub & 1:
                    self._redelivered += 1
                    continue
                seen |= 1 << sub
                self._first_delivery(shard_id, key, (record.sequence_number, sub), one)
            self._positions[shard_id, record.sequence_number] = seen
        self._misplaced += misplaced
        if self._first_deliveries[shard_id] > first:
            self._at_last[shard_id] = dict(self._first_deliveries)
        return self._processed - processed

    def _first_delivery(self, shard_id: str, key: str, position: tuple[int, int], one: int) -> None:
        self._first_deliveries[shard_id] += 1
        latest = self._latest.get((shard_id, key))
        if latest is not None and position < latest:
            self._below += 1
        else:
            self._latest[shard_id, key] = position
        flags = self._flags
        if not 0 <= one < len(flags):
            self._foreign += 1
        elif flags[one] & _SEEN:
            self._resent += 1
        else:
            self._processed += 1
            self._pending -= flags[one] & _ACKNOWLEDGED
            flags[one] |= _SEEN

    def order_violations(self, parents: Mapping[str, Sequence[str]]) -> int:
        """Return the first deliveries out of order so far; `parents` names each shard's parents, known or not."""
        early = 0
        for shard_id in self._first_deliveries:
            before = (
                self._at_last[one].get(shard_id, 0) for one in _ancestors(shard_id, parents) if one in self._at_last
            )
            early += max(before, default=0)
        return self._below + early

    def report(self, parents: Mapping[str, Sequence[str]]) -> Report:
        """Return the counts as they stand; ids seen that were never sent are foreign."""
        never_sent = sum(1 for flag in self._flags[self._sent :] if flag & _SEEN)
        return Report(
            sent=self._sent,
            acknowledged=self._acknowledged,
            not_written=self._failed["not_written"],
            unknown=self._failed["unknown"],
            processed=self._processed,
            lost=self._pending,
            duplicates=self.duplicates,
            resent=self._resent,
            redelivered=self._redelivered,
            order_violations=self.order_violations(parents),
            misplaced=self._misplaced,
            foreign=self._foreign + never_sent,
            kinesis_records=len(self._records),
            kinesis_records_saved=self._acknowledged - len(self._records),
            data_bytes=self._bytes_sent,
            data_bytes_alone=self._bytes_alone,
            payload_units=self._units,
            payload_units_saved=self._acknowledged - self._units,
            bytes_saved=(self._acknowledged - self._units) * PAYLOAD_UNIT_BYTES,
        )


def _ancestors(shard_id: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    """Return a shard's parents, their parents, and so on."""
    found: set[str] = set()
    left = list(parents.get(shard_id, ()))
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += parents.get(one, ())
    return found
