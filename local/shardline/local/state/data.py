"""The data plane: PutRecords, GetShardIterator, GetRecords.

Invariant: an entry of PutRecords is stored, with its number, in one step, or refused with a code; never both, never
neither. `null` mode numbers records and stores none.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (`tuple.__new__` makes records here, for its speed, and has no element type)

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, Final

from shardline.common.errors import InvalidInput
from shardline.common.hashing import parse_explicit_hash_key
from shardline.common.limits import (
    GET_RECORDS_LIMIT_MAX,
    PARTITION_KEY_LENGTH_MAX,
    PUT_RECORDS_BYTES_MAX,
    PUT_RECORDS_ENTRIES_MAX,
)
from shardline.common.ports.kinesis import (
    ChildShard,
    Distribution,
    GetRecordsPage,
    PutEntry,
    PutOutcome,
    StartAt,
    StartKind,
    Stream,
)
from shardline.local.state.events import RecordRefused, RecordsRead, RecordStored
from shardline.local.state.listing import Listing
from shardline.local.state.options import Limits, ShardEnd
from shardline.local.state.refusal import Refusal, expired_iterator, invalid, not_found, throttled, validation
from shardline.local.state.tokens import IteratorState, decode_iterator, encode_iterator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.records import KinesisRecord
    from shardline.local.state.shard import ShardLog
    from shardline.local.state.stream import StreamState

__all__ = ["DataPlane"]

_DIGITS_MAX: Final = 129  # API: 0|([1-9]\d{0,128})
_THROTTLED = "ProvisionedThroughputExceededException"


class DataPlane(Listing):
    """Calls that move records; each raises `Refusal` when the whole call is refused, and then nothing has happened."""

    def put_records(
        self, stream: Stream, entries: Sequence[PutEntry], *, now: float, dry_run: bool = False
    ) -> list[PutOutcome]:
        """Store up to 500 entries and return one outcome per entry, in order; with `dry_run` store nothing.

        A request with a wrong entry (key, size, hash key) is refused whole; a throttled entry fails alone.
        """
        found = self.readable(stream, now)
        if not 1 <= len(entries) <= PUT_RECORDS_ENTRIES_MAX:
            raise validation(
                f"Value at 'records' failed to satisfy constraint: Member must have from 1 to {PUT_RECORDS_ENTRIES_MAX}"
            )
        keys, total = _hash_keys(found, entries)
        if total > PUT_RECORDS_BYTES_MAX:
            raise invalid(f"Records size exceeds {PUT_RECORDS_BYTES_MAX} bytes.")
        if dry_run:
            raise Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun flag is set.")
        at = round(now, 3)
        if self.options.null:
            outcomes = [self._count(found, key, at) for key in keys]
        elif self.sink is None and self.options.limits is Limits.NONE:
            outcomes = _append(found, entries, keys, at)
        else:
            outcomes = [self._store(found, entry, key, at) for entry, key in zip(entries, keys, strict=True)]
        self._wake(found)
        return outcomes

    def _wake(self, stream: StreamState) -> None:
        for shard in stream.open:
            if shard.watchers:
                shard.wake()

    def _store(self, stream: StreamState, entry: PutEntry, key: bytes | None, now: float) -> PutOutcome:
        shard = stream.spread() if key is None else stream.locate(key)
        if self.options.limits is Limits.SERVICE and not shard.throttle.admit_write(now, _size(entry)):
            return self._refuse(stream, shard, now)
        partition_key = None if key is None else entry.partition_key
        record = shard.append(entry.data, partition_key, now)
        if self.sink is not None:
            hash_key = shard.hash_range.start.to_bytes(16, "big") if key is None else key
            number = int(record.sequence_number)
            self.sink(RecordStored(record.arrival_time_s, stream.name, shard.shard_id, number, hash_key, record))
        return PutOutcome(shard.shard_id, record.sequence_number)

    def _count(self, stream: StreamState, key: bytes | None, now: float) -> PutOutcome:
        shard = stream.spread() if key is None else stream.locate(key)
        return PutOutcome(shard.shard_id, shard.count(now))

    def _refuse(self, stream: StreamState, shard: ShardLog, now: float) -> PutOutcome:
        if self.sink is not None:
            self.sink(RecordRefused(now, stream.name, shard.shard_id, _THROTTLED))
        message = (
            f"Rate exceeded for shard {shard.shard_id} in stream {stream.name} under account {self.options.account_id}."
        )
        return PutOutcome(None, None, _THROTTLED, message)

    # --- reading ---

    def get_shard_iterator(
        self, stream: Stream, shard_id: str, start: StartAt, *, now: float, dry_run: bool = False
    ) -> str:
        """Return an iterator for a shard, good for `options.iterator_lifetime_s`."""
        found = self.readable(stream, now)
        shard = self.shard(found, shard_id, now)
        position = self.position(shard, start, now)
        if dry_run:
            raise Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun flag is set.")
        if self.options.limits is Limits.SERVICE and not shard.throttle.admit_iterator(now):
            raise throttled(f"Rate exceeded for shard {shard_id} in stream {found.name}.")
        return self._iterator(found, shard, position, now)

    def _iterator(self, stream: StreamState, shard: ShardLog, position: int, now: float) -> str:
        return encode_iterator(
            IteratorState(stream.name, stream.created_ms, shard.index, position, round(now * 1000), len(shard.children))
        )

    def position(self, shard: ShardLog, start: StartAt, now: float) -> int:
        """Return the position in the log that a start stands for; raise InvalidArgumentException for a wrong one."""
        kind = start.kind
        if kind is StartKind.TRIM_HORIZON:
            return shard.trimmed
        if kind is StartKind.LATEST:
            return shard.tail
        if kind is StartKind.AT_TIMESTAMP:
            if start.timestamp_s is None:
                raise invalid("Must specify timestamp parameter for iterator of type AT_TIMESTAMP.")
            if start.timestamp_s > now:
                raise invalid("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis.")
            return shard.at_time(start.timestamp_s)
        number = self._number(shard, start)
        return shard.at_number(number, after=kind is StartKind.AFTER_SEQUENCE_NUMBER)

    def _number(self, shard: ShardLog, start: StartAt) -> int:
        text = start.sequence_number
        if text is None:
            raise invalid(f"Must either specify (1) type (2) a StartingSequenceNumber for {start.kind}.")
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else -1
        if number != 0 and not shard.numbering.owns(number):
            raise invalid(
                f"StartingSequenceNumber used in GetShardIterator on shard {shard.shard_id} is invalid because it did "
                "not come from this shard."
            )
        return number

    def get_records(
        self,
        iterator: str,
        *,
        now: float,
        limit: int | None = None,
        stream: Stream | None = None,
        dry_run: bool = False,
    ) -> GetRecordsPage:
        """Return up to `limit` records and 10 MiB; at the end of a closed shard no next iterator, but its children."""
        limit = GET_RECORDS_LIMIT_MAX if limit is None else limit
        if not 1 <= limit <= GET_RECORDS_LIMIT_MAX:
            raise validation(f"Value at 'limit' must be from 1 to {GET_RECORDS_LIMIT_MAX}, got {limit}.")
        place = decode_iterator(iterator)
        found, shard = self._placed(place, stream, now)
        if dry_run:
            raise Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun flag is set.")
        limited = self.options.limits is Limits.SERVICE
        if limited and not shard.throttle.admit_read(now):
            raise throttled(f"Rate exceeded for shard {shard.shard_id} in stream {found.name}.")
        records, after, size = shard.read(place.position, limit)
        if limited:
            shard.throttle.on_read(now, size)
        self.emit_read(found, shard, records, after, now)
        if self.at_end(shard, after, empty=not records):
            return GetRecordsPage(records, None, 0, self.children(shard))
        return GetRecordsPage(records, self._iterator(found, shard, after, now), shard.behind_ms(after, now))

    def _placed(self, place: IteratorState, stream: Stream | None, now: float) -> tuple[StreamState, ShardLog]:
        """Return the iterator's stream and shard, or refuse: another stream's, expired, or gone."""
        if stream is not None and stream.name != place.stream:
            raise invalid("The ShardIterator does not belong to the stream that is named.")
        found = self.readable(Stream(place.stream), now)
        shard = found.shards.get(place.shard_index)
        if found.created_ms != place.created_ms or shard is None:
            raise not_found(f"Stream {place.stream} under account {self.options.account_id} not found.")
        if now * 1000 - place.issued_ms > self.options.iterator_lifetime_s * 1000:
            raise expired_iterator(
                f"Iterator expired. The iterator was created at {place.issued_ms} while right now it is "
                f"{round(now * 1000)} which is further in the future than the tolerated delay of "
                f"{round(self.options.iterator_lifetime_s * 1000)} milliseconds."
            )
        self.trim(found, shard, now)
        return found, shard

    def at_end(self, shard: ShardLog, position: int, *, empty: bool) -> bool:
        """Say whether an answer that reached `position` tells of the shard's end (`options.shard_end`)."""
        if shard.is_open or position < shard.tail:
            return False
        return empty or self.options.shard_end is ShardEnd.WITH_LAST_BATCH

    def children(self, shard: ShardLog) -> tuple[ChildShard, ...]:
        """Return the children of a closed shard, as its last answer names them."""
        if self.options.hide_child_shards:
            return ()
        return tuple(ChildShard(c.shard_id, c.parents, c.hash_range) for c in shard.children)

    def emit_read(
        self, stream: StreamState, shard: ShardLog, records: Sequence[KinesisRecord], after: int, now: float
    ) -> None:
        """Tell the sink that `records`, ending before position `after`, were given away."""
        if self.sink is not None and records:
            first, last = shard.numbers(after - len(records)), shard.numbers(after - 1)
            self.sink(RecordsRead(now, stream.name, shard.shard_id, len(records), first, last))


def _size(entry: PutEntry) -> int:
    key = entry.partition_key
    return len(entry.data) + (len(key.encode()) if key else 0)


def _append(
    stream: StreamState, entries: Sequence[PutEntry], keys: Sequence[bytes | None], now: float
) -> list[PutOutcome]:
    """Store all entries: `_store` for when nobody listens and nothing is limited, without its price per record."""
    outcomes: list[PutOutcome] = []
    new, locate = tuple.__new__, stream.locate  # Twice as quick as a NamedTuple's own constructor.
    for (data, partition_key, _), key in zip(entries, keys, strict=True):
        if key is None:
            shard, partition_key = stream.spread(), None  # noqa: PLW2901 - the service drops the key.
        else:
            shard = locate(key)
        record = shard.append(data, partition_key, now)
        outcomes.append(new(PutOutcome, (shard.shard_id, record[0], None, None)))
    return outcomes


def _hash_keys(stream: StreamState, entries: Sequence[PutEntry]) -> tuple[list[bytes | None], int]:
    """Return the bytes that place each entry (None on an AUTO stream) and the size of all; raise for a wrong entry."""
    auto = stream.distribution is Distribution.AUTO
    largest = stream.record_bytes_max
    keys: list[bytes | None] = []
    total = 0
    for data, key, explicit in entries:
        if key is None:
            if not auto:
                raise validation("Value null at 'partitionKey' failed to satisfy constraint: Member must not be null")
            encoded = b""
        else:
            encoded = key.encode()
            if not 1 <= len(key) <= PARTITION_KEY_LENGTH_MAX:
                raise _wrong_key(key)
        size = len(data) + len(encoded)
        if size > largest:
            raise _too_large(size, largest)
        total += size
        if auto:
            keys.append(None)
        elif explicit is None:
            keys.append(md5(encoded, usedforsecurity=False).digest())
        else:
            keys.append(_explicit(explicit))
    return keys, total


def _wrong_key(key: str) -> Refusal:
    return validation(
        f"Value at 'partitionKey' must have length from 1 to {PARTITION_KEY_LENGTH_MAX}, has {len(key)} characters"
    )


def _too_large(size: int, largest: int) -> Refusal:
    return validation(f"Value at 'data' failed to satisfy constraint: data and key of {size} bytes exceed {largest}")


def _explicit(text: str) -> bytes:
    try:
        return parse_explicit_hash_key(text).to_bytes(16, "big")
    except InvalidInput:
        raise invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1].") from None
