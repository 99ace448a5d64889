"""Memory: what a producer has accepted and not resolved, and what a worker has read and not delivered, is bounded.

Both are counted from outside: by the records that a test's own code put and heard of, and by the pages that the fake
stream handed out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shardline.common.records import Position
    from shardline.local.sim.judge import Judge

__all__ = ["INVARIANTS", "Memory"]

INVARIANTS: Final = {
    "I8": "A producer's unresolved records and a worker's undelivered pages stay within the configured memory, always.",
}


class Memory:
    """Judges one world; `bytes_max` and `records_max` bound each producer, `read_ahead_max` each shard's reading."""

    def __init__(
        self,
        judge: Judge,
        *,
        bytes_max: int | None = None,
        records_max: int | None = None,
        read_ahead_max: int | None = None,
    ) -> None:
        self._judge = judge
        self._bytes_max = bytes_max
        self._records_max = records_max
        self._read_ahead_max = read_ahead_max
        self._bytes: Counter[str] = Counter()
        self._records: Counter[str] = Counter()
        self._sizes: dict[str, tuple[str, int]] = {}
        self._resolved: set[str] = set()
        self._acknowledged: set[str] = set()
        self._read: dict[tuple[str, str], list[int]] = {}

    def accepted(self, producer: str, user_id: str, size: int) -> None:
        """Take that a put returned: the producer holds the record until it resolves it."""
        if user_id in self._resolved:
            return
        self._sizes[user_id] = producer, size
        self._bytes[producer] += size
        self._records[producer] += 1
        if self._bytes_max is not None and self._bytes[producer] > self._bytes_max:
            self._judge.violate("I8", producer, f"holds {self._bytes[producer]} bytes, and may {self._bytes_max}")
        if self._records_max is not None:
            if self._records[producer] == self._records_max:
                self._judge.reached["producer's buffer full"] += 1
            if self._records[producer] > self._records_max:
                self._judge_records(producer, self._records_max)

    def _judge_records(self, producer: str, records_max: int) -> None:
        """Judge those that the producer was not told of: who shares a delivery is resolved with it, at the end.

        The room of a part that the stream has acknowledged is given back while the rest of it is sent again.
        """
        unknown = self._sizes.keys() - self._acknowledged
        held = sum(self._sizes[user_id][0] == producer for user_id in unknown)
        if held > records_max:
            self._judge.violate("I8", producer, f"holds {held} of {records_max} records")

    def acknowledged(self, user_ids: Iterable[str]) -> None:
        """Take that an answer told of these records, in one Kinesis record that lies where it belongs."""
        self._acknowledged.update(user_ids)

    def resolved(self, producer: str, user_id: str) -> None:
        """Take that a record's fate is known: the producer has no reason to hold it."""
        held = self._sizes.pop(user_id, None)
        if held is None:
            self._resolved.add(user_id)
            return
        self._bytes[producer] -= held[1]
        self._records[producer] -= 1

    def accounted(self, producer: str, used: int, peak: int, limit: int, *, closed: bool = False) -> None:
        """Judge a producer's own account of its memory: never above its limit, and empty when it has closed."""
        if peak > limit:
            self._judge.violate("I8", producer, f"accounted for {peak} bytes, and may {limit}")
        if closed and used:
            self._judge.violate("I8", producer, f"has closed and accounts for {used} bytes")

    def read(self, worker: str, shard_id: str, first: int, last: int) -> None:
        """Take that a worker was given the Kinesis records from `first` to `last`, numbers in their shard."""
        if self._read_ahead_max is None:
            return
        shard = self._judge.shards[shard_id]
        numbers = {p.sequence_number for p in shard.positions if first <= p.sequence_number <= last}
        waiting = sorted(numbers.union(self._read.get((worker, shard_id), ())))
        self._read[worker, shard_id] = waiting
        if len(waiting) > self._read_ahead_max:
            what = f"{worker} has {len(waiting)} Kinesis records in hand, and may have {self._read_ahead_max}"
            self._judge.violate("I8", shard_id, what)

    def delivered(self, worker: str, shard_id: str, position: Position) -> None:
        """Take a delivery: what lies before it is in nobody's hands any more."""
        waiting = self._read.get((worker, shard_id))
        if waiting:
            self._read[worker, shard_id] = [one for one in waiting if one >= position.sequence_number]

    def done(self, worker: str, shard_id: str, last: int) -> None:
        """Take that a worker is through with everything up to a number, records that no handler gets included."""
        waiting = self._read.get((worker, shard_id))
        if waiting:
            self._read[worker, shard_id] = [one for one in waiting if one > last]

    def forget(self, worker: str, shard_id: str) -> None:
        """Forget what a worker had read of a shard: its tenure is over."""
        self._read.pop((worker, shard_id), None)
