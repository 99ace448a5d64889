"""One answered request, summed up by shard for the metrics: nothing per user record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.producer.events import ShardTally

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import PutOutcome
    from shardline.producer.package import Package

__all__ = ["Tallies"]


class _Tally:
    __slots__ = (
        "buffering_s",
        "codes",
        "kinesis_bytes",
        "kinesis_failed",
        "kinesis_put",
        "retries",
        "user_bytes",
        "user_put",
    )

    def __init__(self) -> None:
        self.kinesis_put = self.kinesis_failed = self.kinesis_bytes = 0
        self.user_put = self.user_bytes = self.retries = 0
        self.buffering_s = 0.0
        self.codes: dict[str, int] = {}


class Tallies:
    """Sums of a request's entries: the shard of an entry is where it landed, or was predicted to land if it failed."""

    __slots__ = ("_by_shard", "failed")

    def __init__(self) -> None:
        self._by_shard: dict[str, _Tally] = {}
        self.failed = 0

    def add(self, package: Package, outcome: PutOutcome) -> None:
        """Count one entry."""
        tally = self._by_shard.setdefault(outcome.shard_id or package.shard_id or "", _Tally())
        tally.retries += package.attempts - 1
        tally.buffering_s += package.sent_at - package.put_at
        if outcome.error_code is None and outcome.sequence_number is not None:
            tally.kinesis_put += 1
            tally.kinesis_bytes += package.size
            tally.user_put += package.count
            tally.user_bytes += package.size
        else:
            self.failed += 1
            tally.kinesis_failed += 1
            code = outcome.error_code or "NoSequenceNumber"
            tally.codes[code] = tally.codes.get(code, 0) + 1

    def shards(self) -> tuple[ShardTally, ...]:
        """Return the sums."""
        return tuple(
            ShardTally(
                shard_id,
                tally.kinesis_put,
                tally.kinesis_failed,
                tally.kinesis_bytes,
                tally.user_put,
                tally.user_bytes,
                tally.retries,
                tally.buffering_s,
                tuple(sorted(tally.codes.items())),
            )
            for shard_id, tally in self._by_shard.items()
        )
