"""The control plane: streams made, changed, resharded and deleted, with the service's refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.errors import InvalidInput
from shardline.common.hashing import parse_explicit_hash_key
from shardline.common.limits import KIB, RECORD_BYTES_MAX, RECORD_BYTES_MAX_DEFAULT, RETENTION_HOURS_MAX
from shardline.common.limits import RETENTION_HOURS_MIN as HOURS_MIN
from shardline.common.ports.kinesis import Distribution, Stream
from shardline.local.state.options import Limits
from shardline.local.state.refusal import in_use, invalid, limit, validation
from shardline.local.state.registry import Registry, check_name
from shardline.local.state.stream import StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shardline.local.state.shard import ShardLog

__all__ = ["Control"]

_ON_DEMAND_SHARDS: Final = 4  # Guide: a new on-demand stream takes 4 MiB/s.
_UPDATES_PER_DAY: Final = 10  # API UpdateShardCount: ten times in 24 hours.
_DAY_S: Final = 86_400.0
_TAGS_MAX: Final = 50  # Guide, "Tag restrictions".
_RECORD_KIB = range(RECORD_BYTES_MAX_DEFAULT // KIB, RECORD_BYTES_MAX // KIB + 1)


class Control(Registry):
    """Calls that change streams; each raises `Refusal` and then has changed nothing."""

    def create_stream(
        self,
        name: str,
        shards: int | None = None,
        *,
        now: float,
        on_demand: bool = False,
        tags: Mapping[str, str] | None = None,
        record_kib_max: int | None = None,
        distribution: Distribution | None = None,
    ) -> StreamState:
        """Create a stream; it is CREATING for `options.creating_s`. An on-demand one starts with four shards."""
        self.settle(now)
        check_name(name)
        self.admit("CreateStream", "", now)
        if name in self.streams:
            raise in_use(f"Stream {name} under account {self.options.account_id} already exists.")
        count = self._new_shards(shards, on_demand=on_demand)
        if distribution is Distribution.AUTO and not on_demand:
            raise invalid("RecordDistributionStrategy AUTO is only supported for on-demand streams.")
        stream = StreamState(name, self.stream_arn(name), shards=count, on_demand=on_demand, now=round(now, 3))
        stream.record_bytes_max = _record_bytes(record_kib_max)
        stream.distribution = distribution or Distribution.USER_PARTITION_KEY
        stream.tags = _checked_tags({}, tags or {})
        stream.on_reshard = self.resharded
        self.streams[name] = stream
        self.later(stream, "CREATING", self.options.creating_s, now, lambda at: self._created(stream, at))
        return stream

    def _new_shards(self, shards: int | None, *, on_demand: bool) -> int:
        if on_demand:
            return _ON_DEMAND_SHARDS
        if shards is None or not 1 <= shards <= self.options.open_shards_max:
            raise validation(f"ShardCount must be from 1 to {self.options.open_shards_max} for a provisioned stream.")
        if self._open_shards() + shards > self.options.open_shards_max:
            raise limit(f"This request would exceed the shard limit of {self.options.open_shards_max}.")
        return shards

    def _open_shards(self) -> int:
        return sum(len(s.open) for s in self.streams.values() if not s.on_demand)

    def _created(self, stream: StreamState, at: float) -> None:
        self.set_status(stream, "ACTIVE", at)
        self.resharded(stream, (), stream.open)

    def delete_stream(self, stream: Stream, *, now: float, enforce_consumers: bool = False) -> None:
        """Delete a stream (DELETING for `options.deleting_s`); unknown names are an error and nothing more."""
        found = self.resolve(stream, now)
        self.admit("DeleteStream", "", now)
        if found.status == "DELETING":
            return
        mine = [c for c in self.consumers.values() if c.stream_arn == found.arn]
        if mine and not enforce_consumers:
            raise in_use(f"Stream {found.name} has {len(mine)} registered consumers; set EnforceConsumerDeletion.")
        for consumer in mine:
            self.drop_consumer(consumer)
        self.later(found, "DELETING", self.options.deleting_s, now, lambda at: self._deleted(found, at))

    def _deleted(self, stream: StreamState, at: float) -> None:
        del self.streams[stream.name]
        self.emit_status(stream.name, "GONE", at)
        for shard in stream.shards.values():
            shard.wake()

    # --- reshards ---

    def _change(self, stream: StreamState, now: float, act: Callable[[float], object]) -> None:
        """Carry out a change of an ACTIVE stream after `options.updating_s` as UPDATING (at once for 0)."""

        def apply(at: float) -> None:
            act(at)
            self.set_status(stream, "ACTIVE", at)

        self.later(stream, "UPDATING", self.options.updating_s, now, apply)

    def _provisioned(self, stream: Stream, operation: str, now: float) -> StreamState:
        found = self.active(stream, now)
        if found.on_demand:
            raise validation(f"{operation} is only supported for data streams with the provisioned capacity mode.")
        self.admit(operation, found.name, now)
        return found

    def split_shard(self, stream: Stream, shard_id: str, new_starting_hash_key: str, *, now: float) -> None:
        """Split an open shard; the key must lie inside its range, two above its start at least, below its end."""
        found = self._provisioned(stream, "SplitShard", now)
        shard = self._open(found, shard_id, now)
        try:
            key = parse_explicit_hash_key(new_starting_hash_key)
        except InvalidInput as error:
            raise invalid(f"NewStartingHashKey: {error}") from None
        start, end = shard.hash_range
        if not start + 1 < key < end:
            raise invalid(
                f"NewStartingHashKey {key} used in SplitShard() on shard {shard.shard_id} in stream {found.name} under "
                f"account {self.options.account_id} is not both greater than one plus the shard's StartingHashKey "
                f"{start} and less than the shard's EndingHashKey {end}."
            )
        if self._open_shards() >= self.options.open_shards_max:
            raise limit(f"This request would exceed the shard limit of {self.options.open_shards_max}.")
        self._change(found, now, lambda at: found.split(shard, key, at))

    def merge_shards(self, stream: Stream, shard_id: str, adjacent_shard_id: str, *, now: float) -> None:
        """Merge two open neighbours, the one with the lower range named first (as the service asks)."""
        found = self._provisioned(stream, "MergeShards", now)
        lower, upper = self._open(found, shard_id, now), self._open(found, adjacent_shard_id, now)
        if lower.hash_range.end + 1 != upper.hash_range.start:
            raise invalid(
                f"Shards {shard_id} and {adjacent_shard_id} in stream {found.name} under account "
                f"{self.options.account_id} are not an adjacent pair of shards eligible for merging"
            )
        self._change(found, now, lambda at: found.merge(lower, upper, at))

    def _open(self, stream: StreamState, shard_id: str, now: float) -> ShardLog:
        shard = self.shard(stream, shard_id, now)
        if not shard.is_open:
            raise invalid(
                f"Shard {shard_id} in stream {stream.name} under account {self.options.account_id} has already been "
                "merged or split, and thus is not eligible for merging or splitting."
            )
        return shard

    def update_shard_count(self, stream: Stream, target: int, *, now: float) -> tuple[int, int]:
        """Reach `target` even shards by splits and merges; return the shard counts now and then."""
        found = self._provisioned(stream, "UpdateShardCount", now)
        count = len(found.open)
        if not (count + 1) // 2 <= target <= count * 2:
            raise invalid(f"TargetShardCount {target} must be from half to twice the open shard count {count}.")
        if self._open_shards() - count + target > self.options.open_shards_max:
            raise limit(f"This request would exceed the shard limit of {self.options.open_shards_max}.")
        found.updates = [at for at in found.updates if at > now - _DAY_S]
        if self.options.limits is Limits.SERVICE and len(found.updates) >= _UPDATES_PER_DAY:
            raise limit(f"UpdateShardCount can be used {_UPDATES_PER_DAY} times in 24 hours.")
        found.updates.append(now)
        self._change(found, now, lambda at: found.scale(target, at))
        return count, target

    def scale_on_demand(self, stream: Stream, target: int, *, now: float) -> None:
        """Do what the service does to a growing on-demand stream: reach `target` even shards (no API call of its)."""
        found = self.active(stream, now)
        if not 1 <= target <= self.options.open_shards_max:
            raise invalid(f"TargetShardCount must be from 1 to {self.options.open_shards_max}.")
        self._change(found, now, lambda at: found.scale(target, at))

    # --- settings ---

    def update_stream_mode(self, stream: Stream, *, on_demand: bool, now: float) -> None:
        """Switch between provisioned and on-demand; shards stay. AUTO distribution ends with on-demand."""
        found = self.active(stream, now)

        def apply(_at: float) -> None:
            found.on_demand = on_demand
            if not on_demand:
                found.distribution = Distribution.USER_PARTITION_KEY

        self._change(found, now, apply)

    def set_distribution(self, stream: Stream, distribution: Distribution, *, now: float) -> None:
        """Switch how an on-demand stream places records, at once."""
        found = self.active(stream, now)
        if distribution is Distribution.AUTO and not found.on_demand:
            raise invalid("RecordDistributionStrategy AUTO is only supported for on-demand streams.")
        found.distribution = distribution

    def update_max_record_size(self, stream: Stream, record_kib_max: int, *, now: float) -> None:
        """Set the largest record of the stream, 1024 to 10240 KiB."""
        found = self.active(stream, now)
        size = _record_bytes(record_kib_max)

        def apply(_at: float) -> None:
            found.record_bytes_max = size

        self._change(found, now, apply)

    def change_retention(self, stream: Stream, hours: int, *, increase: bool, now: float) -> None:
        """Set the retention, 24 to 8760 hours, upwards or downwards as the two API calls do."""
        found = self.active(stream, now)
        self.admit("IncreaseStreamRetentionPeriod" if increase else "DecreaseStreamRetentionPeriod", found.name, now)
        if not HOURS_MIN <= hours <= RETENTION_HOURS_MAX:
            raise invalid(f"RetentionPeriodHours must be from {HOURS_MIN} to {RETENTION_HOURS_MAX}, got {hours}.")
        if hours < found.retention_hours if increase else hours > found.retention_hours:
            word = "less" if increase else "greater"
            raise invalid(
                f"Requested retention period ({hours} hours) for stream {found.name} can not be {word} than the "
                f"existing retention period ({found.retention_hours} hours)."
            )
        found.retention_hours = hours

    def set_tags(self, stream: Stream, tags: Mapping[str, str], *, now: float) -> None:
        """Add or change tags; a stream holds 50 at most."""
        found = self.resolve(stream, now)
        found.tags = _checked_tags(found.tags, tags)

    def remove_tags(self, stream: Stream, keys: Iterable[str], *, now: float) -> None:
        """Remove tags; unknown keys are no error."""
        found = self.resolve(stream, now)
        gone = set(keys)
        found.tags = {k: v for k, v in found.tags.items() if k not in gone}


def _checked_tags(present: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    for key, value in added.items():
        if not (1 <= len(key) <= 128 and len(value) <= 256):  # noqa: PLR2004 - guide, "Tag restrictions".
            raise invalid("Tag keys have 1 to 128 characters, values up to 256.")
    merged = {**present, **added}
    if len(merged) > _TAGS_MAX:
        raise invalid(f"A stream can have {_TAGS_MAX} tags.")
    return merged


def _record_bytes(kib: int | None) -> int:
    if kib is None:
        return RECORD_BYTES_MAX_DEFAULT
    if kib not in _RECORD_KIB:
        raise validation(f"MaxRecordSizeInKiB must be from {_RECORD_KIB.start} to {_RECORD_KIB.stop - 1}, got {kib}.")
    return kib * KIB
