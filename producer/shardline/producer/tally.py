"""Sums by shard for the metrics: of one answered request, and of everything finished between two pulses.

Nothing here is per user record: an aggregate is counted at once.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from shardline.producer.events import Finished, ShardTally
from shardline.producer.outcome import Delivered, Reason, Unknown

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import PutOutcome
    from shardline.producer.outcome import Outcome
    from shardline.producer.package import Package

__all__ = ["Finishes", "Tallies"]


class _Spread:
    """Sum, smallest and largest."""

    __slots__ = ("least", "most", "sum")

    def __init__(self) -> None:
        self.sum: float = 0
        self.least: float = inf
        self.most: float = 0

    def add(self, value: float, count: int = 1) -> None:
        self.sum += value * count
        if value < self.least:  # noqa: PLR1730 - a call of min or max costs as much as all the rest.
            self.least = value
        if value > self.most:  # noqa: PLR1730 - as above.
            self.most = value


class _Tally:
    __slots__ = ("buffering_s", "bytes", "codes", "failed", "put", "user_records")

    def __init__(self) -> None:
        self.put = self.failed = 0
        self.bytes, self.user_records, self.buffering_s = _Spread(), _Spread(), _Spread()
        self.codes: dict[str, int] = {}


class Tallies:
    """Sums of a request's entries: the shard of an entry is where it landed, or was predicted to land if it failed."""

    __slots__ = ("_by_shard", "failed")

    def __init__(self) -> None:
        self._by_shard: dict[str, _Tally] = {}
        self.failed = 0

    def add(self, package: Package, outcome: PutOutcome) -> None:
        """Count one entry, before it is judged."""
        shard_id = outcome.shard_id or package.shard_id or ""
        tally = self._by_shard.get(shard_id)
        if tally is None:
            tally = self._by_shard[shard_id] = _Tally()
        tally.user_records.add(package.count)
        tally.buffering_s.add(_waited_s(package), package.count)
        if outcome.error_code is None and outcome.sequence_number is not None:
            tally.put += 1
            tally.bytes.add(package.size)
        else:
            self.failed += 1
            tally.failed += 1
            code = outcome.error_code or "NoSequenceNumber"
            tally.codes[code] = tally.codes.get(code, 0) + 1

    def shards(self) -> tuple[ShardTally, ...]:
        """Return the sums."""
        return tuple(
            ShardTally(
                shard_id=shard_id,
                kinesis_put=tally.put,
                kinesis_failed=tally.failed,
                kinesis_bytes=int(tally.bytes.sum),
                kinesis_bytes_range=(int(tally.bytes.least) if tally.put else 0, int(tally.bytes.most)),
                user_records=int(tally.user_records.sum),
                user_records_range=(int(tally.user_records.least), int(tally.user_records.most)),
                buffering_s=tally.buffering_s.sum,
                buffering_range_s=(tally.buffering_s.least, tally.buffering_s.most),
                codes=tuple(sorted(tally.codes.items())),
            )
            for shard_id, tally in self._by_shard.items()
        )


def _waited_s(package: Package) -> float:
    """Return how long a package waited for the attempt: since it was put, or since the last attempt ended."""
    waited = package.sent_at - package.put_at
    if package.history:
        last = package.history[-1]
        waited -= last.sent_after_s + last.duration_s
    return max(0.0, waited)


class _Finish:
    __slots__ = ("bytes", "expired", "failed", "put", "retries", "sent", "unknown")

    def __init__(self) -> None:
        self.put = self.failed = self.expired = self.unknown = self.sent = 0
        self.bytes, self.retries = _Spread(), _Spread()


class Finishes:
    """Sums of decided fates: the shard is where a record landed, or was predicted to land if it failed."""

    __slots__ = ("_by_shard",)

    def __init__(self) -> None:
        self._by_shard: dict[str, _Finish] = {}

    def add(self, outcome: Outcome, count: int, package: Package | None = None) -> None:
        """Count `count` records with one outcome; `package` None if they never were in one."""
        good = isinstance(outcome, Delivered)
        shard_id = (outcome.shard_id if isinstance(outcome, Delivered) else package.shard_id if package else None) or ""
        finish = self._by_shard.get(shard_id)
        if finish is None:
            finish = self._by_shard[shard_id] = _Finish()
        if isinstance(outcome, Delivered):
            finish.put += count
        else:
            finish.failed += count
            finish.expired += count if outcome.reason is Reason.EXPIRED else 0
            finish.unknown += count if isinstance(outcome, Unknown) else 0
        if package is not None and package.attempts:
            finish.sent += count
            finish.retries.add(package.attempts - 1, count)
            if good:
                finish.bytes.add(package.size / count, count)

    def take(self) -> tuple[Finished, ...]:
        """Return the sums, and begin anew."""
        taken, self._by_shard = self._by_shard, {}
        return tuple(
            Finished(
                shard_id=shard_id,
                put=one.put,
                failed=one.failed,
                expired=one.expired,
                unknown=one.unknown,
                bytes=round(one.bytes.sum),
                bytes_range=(one.bytes.least if one.put else 0.0, one.bytes.most),
                sent=one.sent,
                retries=int(one.retries.sum),
                retries_range=(int(one.retries.least) if one.sent else 0, int(one.retries.most)),
            )
            for shard_id, one in taken.items()
        )
