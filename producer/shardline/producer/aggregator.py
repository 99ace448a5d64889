"""Open aggregates, one for each predicted shard: where records wait until they are worth a Kinesis record.

`offer` is the hot path, once per user record: one look-up from the key to its open aggregate, one comparison with the
room that is left in it for sure, two appends. Everything else happens per aggregate, and for the records that come when
that room is used up: they are weighed exactly. Invariants: no aggregate mixes predicted shards
(a KCL drops those that do), nor records with and without an explicit hash key (a known decoder confuses them);
an aggregate holds what the budget granted, never more; without a map only records of one hash key share an aggregate.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common._encoding import SIZES_WIDE
from shardline.common.aggregation import AggregateBuilder
from shardline.producer.accept import accepted_again
from shardline.producer.budget import KEY_OVERHEAD_BYTES, PACKAGE_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES
from shardline.producer.package import Package
from shardline.producer.places import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from shardline.common.hashing import HashRange
    from shardline.producer.accept import Accepted
    from shardline.producer.budget import Share
    from shardline.producer.config import StreamSettings
    from shardline.producer.delivery import Delivery, Part
    from shardline.producer.places import Place

__all__ = ["Aggregator", "Group", "record_cost"]

_ROUTES_MAX: Final = 100_000
_GRANT_RECORDS: Final = 16
_WIRE_BYTES_MAX: Final = 128
"""What the format adds to a record's data and key at most, explicit hash key included, headers aside."""
_SEAL_PART: Final = 0.8
"""Of the linger time: what is sealed by then is collected, together with others, before all of it has passed."""


def record_cost(record: Accepted) -> int:
    """Return the bytes a record is accounted for in an open aggregate; its key is counted as if nobody shared it."""
    return len(record.data) + record.key_bytes + KEY_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES


class Group(NamedTuple):
    """Records of one part of a delivery, in order; `ends` says that nothing of the delivery is left in a line."""

    part: Part
    records: list[Accepted]
    ends: bool = False


class _Chunk:
    """One package in the making: a builder, and which records of which groups it holds."""

    __slots__ = ("builder", "segments")

    def __init__(self, builder: AggregateBuilder) -> None:
        self.builder = builder
        self.segments: list[tuple[int, int, int]] = []  # Number of the group, first record, count.


class Aggregator:
    """All open aggregates of a stream.

    `new_delivery` makes the shared delivery of an aggregate. Sealed packages are left in `sealed`.
    """

    __slots__ = (
        "_count_max",
        "_deadlines",
        "_new_delivery",
        "_opened",
        "_rank",
        "_received",
        "_settings",
        "_share",
        "buffers",
        "bytes_max",
        "hold_until",
        "keep_keys",
        "linger_s",
        "routes",
        "sealed",
    )

    def __init__(self, settings: StreamSettings, share: Share, new_delivery: Callable[[float], Delivery]) -> None:
        self._settings = settings
        self._share = share
        self._new_delivery = new_delivery
        self._count_max = settings.aggregate_count_max or 2**32 - 1
        self.routes: dict[str, Buffer] = {}
        self._deadlines: deque[tuple[float, Buffer, int]] = deque()
        self._opened = 0
        self._rank = 0
        self._received = 0
        self.bytes_max = settings.aggregate_bytes_max
        self.linger_s = settings.linger_s
        self.buffers: dict[Hashable, Buffer] = {}
        self.sealed: list[Package] = []
        self.hold_until = float("-inf")
        """Until then aggregates stay open for the first shard map."""
        self.keep_keys = False
        """Whether packages list their partition keys (order by key needs them)."""

    # ---- the hot path -----------------------------------------------------------------------------------------------

    def offer(self, key: str, data: bytes) -> Delivery | None:
        """Add a record to its key's open aggregate, or return None, nothing changed: then `put` it with all checks."""
        try:
            buffer = self.routes[key]
            room = buffer.room - SIZES_WIDE[len(data)]
        except (KeyError, TypeError, IndexError):
            return None
        if type(data) is not bytes:
            return None
        if room >= 0 and len(buffer.datas) < buffer.count_max:
            buffer.room = room
            buffer.waiting.append(key)
            buffer.datas.append(data)
            return buffer.delivery
        # False beyond what the budget granted, and for an aggregate that nobody opened.
        return buffer.delivery if buffer.offer(key, data) else None

    def offer_at(self, key: str, data: bytes) -> tuple[Delivery, int] | None:
        """Do as `offer`; return the record's index in the delivery as well."""
        delivery = self.offer(key, data)
        return None if delivery is None else (delivery, len(self.routes[key].builder.datas) - 1)

    def remember_route(self, key: str, buffer: Buffer) -> None:
        """Let `offer` find the buffer for `key` from now on."""
        if len(self.routes) >= _ROUTES_MAX:
            self.forget_routes()
        if key not in self.routes:
            buffer.route(key)
        self.routes[key] = buffer

    def forget_routes(self) -> None:
        """Send every record through `put` until its route is remembered anew."""
        self.routes.clear()
        for buffer in self.buffers.values():
            buffer.routed = 0

    # ---- once per aggregate, and for records with anything unusual --------------------------------------------------

    def fits_aggregate(self, record: Accepted) -> bool:
        """Say whether the record is small enough to share an aggregate with another."""
        return record.size + _WIRE_BYTES_MAX <= self.bytes_max

    def add(self, record: Accepted, place: Place, now: float) -> tuple[Buffer, int] | None:
        """Add a record to the open aggregate of `place`; return its buffer and its index in the delivery.

        None means that there is no room; then nothing has changed but that a full aggregate may have been sealed.
        """
        buffer = self.buffers.get(place.buffer_id)
        if buffer is None:
            buffer = self.buffers[place.buffer_id] = Buffer(place)
        index = len(buffer.datas)
        if index and self._append(buffer, record):
            buffer.widen()
            return buffer, index
        if index and self._fits(buffer, record):
            # It was the grant that was full, not the aggregate.
            added = self._grant(buffer, record) and self._append(buffer, record)
            buffer.widen()
            return (buffer, index) if added else None
        self.seal(buffer, now)
        return (buffer, 0) if self._open(buffer, record, now) else None

    def seal_before(self, record: Accepted, place: Place, now: float, *, single: bool) -> bool:
        """Seal the open aggregate of `place` if the record is not to go into it (`single`), or does not fit."""
        buffer = self.buffers.get(place.buffer_id)
        if buffer is None or not len(buffer) or not (single or not self._fits(buffer, record)):
            return False
        self.seal(buffer, now)
        return True

    def alone(self, record: Accepted, place: Place, now: float) -> tuple[Delivery, Package] | None:
        """Make a package of one record at once, or return None where there is no room."""
        if not self._share.try_take(record_cost(record) + PACKAGE_OVERHEAD_BYTES, 1):
            return None
        delivery = self._new_delivery(now)
        self._received += 1
        part = delivery.new_part(range(1))
        (package,) = self.pack([Group(part, [record])], place, now, now)
        self._share.release(record_cost(record) + PACKAGE_OVERHEAD_BYTES, 1)
        return delivery, package

    def pack(
        self, groups: list[Group], place: Place, put_at: float, now: float, *, singly: bool = False
    ) -> list[Package]:
        """Make packages of records that have deliveries already, in order; parts are cut where a package fills up.

        The packages are accounted for here; what was accounted for the records before is the caller's to release.
        `singly` makes a package of each record.
        """
        chunks = self._chunks(groups, 1 if singly else self._count_max)
        pieces: dict[int, list[tuple[range, HashRange | None]]] = {}
        for chunk in chunks:
            for number, first, count in chunk.segments:
                pieces.setdefault(number, []).append((range(first, first + count), groups[number].part.hash_range))
        parts = {n: iter(groups[n].part.cut(cut) if len(cut) > 1 else [groups[n].part]) for n, cut in pieces.items()}
        packages = [
            self._package(chunk.builder, [next(parts[number]) for number, _, _ in chunk.segments], place, put_at, now)
            for chunk in chunks
        ]
        for package in packages:
            self._share.take(package.cost, package.count)
        return packages

    def seal(self, buffer: Buffer, now: float) -> None:
        """Turn an open aggregate into a package, if it holds anything."""
        count = len(buffer)
        if not count:
            return
        assert buffer.delivery is not None
        part = buffer.delivery.new_part(range(count))
        package = self._package(buffer.builder, [part], buffer.place, buffer.opened_at, now)
        self._share.release(buffer.reserved - package.cost)
        self._share.records += count
        self._received += count
        self.sealed.append(package)
        buffer.close()
        if buffer.place.uniform:
            # There are as many of these as keys; they are made anew when needed.
            self.buffers.pop(buffer.place.buffer_id, None)

    def seal_due(self, now: float) -> None:
        """Seal every aggregate whose time has come."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, buffer, number = self._deadlines.popleft()
            if buffer.number == number:
                self.seal(buffer, now)

    def seal_all(self, now: float) -> None:
        """Seal every open aggregate."""
        for buffer in list(self.buffers.values()):
            self.seal(buffer, now)
        self._deadlines.clear()

    def next_deadline(self) -> float | None:
        """Return when the next open aggregate is to be sealed."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1].number != deadlines[0][2]:
            deadlines.popleft()
        return deadlines[0][0] if deadlines else None

    def take_out(self, buffer: Buffer) -> Group | None:
        """Empty a buffer, forget it, and return its records; their bytes are no longer accounted for."""
        del self.buffers[buffer.place.buffer_id]
        if not len(buffer):
            return None
        assert buffer.delivery is not None
        records = [accepted_again(*fields) for fields in buffer.builder.records()]
        group = Group(buffer.delivery.new_part(range(len(records))), records)
        self._share.release(buffer.reserved)
        buffer.close()
        return group

    def take_received(self) -> int:
        """Return how many records came in (and were sealed) since the last call."""
        received, self._received = self._received, 0
        return received

    def open_records(self) -> int:
        """Return how many records are in open aggregates."""
        return sum(map(len, self.buffers.values()))

    # ---- inside -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _append(buffer: Buffer, record: Accepted) -> bool:
        return buffer.append(record.partition_key, record.data, record.explicit_hash_key, record.headers)

    def _fits(self, buffer: Buffer, record: Accepted) -> bool:
        """Say whether the record fits the open aggregate, whatever was granted."""
        wanted = (record.partition_key, record.data, record.explicit_hash_key, record.headers)
        return len(buffer) < self._count_max and buffer.builder.size_with(*wanted) <= self.bytes_max

    def _open(self, buffer: Buffer, record: Accepted, now: float) -> bool:
        """Begin an aggregate with its first record, if the budget has room for it."""
        buffer.builder = AggregateBuilder(self.bytes_max, self._count_max)
        if not self._grant(buffer, record):
            return False
        buffer.open()
        self._append(buffer, record)
        buffer.widen()
        self._opened += 1
        buffer.number = self._opened
        buffer.opened_at = now
        buffer.delivery = self._new_delivery(now)
        self._deadlines.append((max(now + self.linger_s * _SEAL_PART, self.hold_until), buffer, self._opened))
        return True

    def _grant(self, buffer: Buffer, record: Accepted) -> bool:
        """Ask the budget for room for `record` and more: what the last aggregate took, some records, or just the one.

        Bytes and number of the records that may be added then are bounded, so that what is held never passes what was
        granted, however small the records are.
        """
        builder = buffer.builder
        count = size = held = 0
        if builder.datas:
            count, size = len(builder.datas), builder.size
            held = size + RECORD_OVERHEAD_BYTES * count + KEY_OVERHEAD_BYTES * builder.keys
        held += PACKAGE_OVERHEAD_BYTES
        for more in (max(buffer.usual - count, _GRANT_RECORDS, count), _GRANT_RECORDS, 1):
            bytes_max = (max(record.size, size // (count or 1)) + _WIRE_BYTES_MAX) * more
            bytes_max = min(bytes_max, max(self.bytes_max - size, record.size + _WIRE_BYTES_MAX))
            granted = held + bytes_max + more * (RECORD_OVERHEAD_BYTES + KEY_OVERHEAD_BYTES)
            if self._share.try_take(max(0, granted - buffer.reserved)):
                buffer.reserved = max(granted, buffer.reserved)
                builder.bound(min(self.bytes_max, size + bytes_max), min(self._count_max, count + more))
                return True
        return False

    def _chunks(self, groups: list[Group], count_max: int) -> list[_Chunk]:
        chunks: list[_Chunk] = []
        for number, group in enumerate(groups):
            if chunks and self.keep_keys and not self._room_for(chunks[-1].builder, group):
                # By key: a group whose records went apart would have two packages unresolved.
                chunks.append(_Chunk(AggregateBuilder(self.bytes_max, count_max)))
            for at, record in enumerate(group.records):
                if not chunks or not _append(chunks[-1].builder, record):
                    chunks.append(_Chunk(AggregateBuilder(self.bytes_max, count_max)))
                    _append(chunks[-1].builder, record)
                segments = chunks[-1].segments
                if segments and segments[-1][0] == number:
                    segments[-1] = (number, segments[-1][1], segments[-1][2] + 1)
                else:
                    segments.append((number, at, 1))
        return chunks

    def _room_for(self, builder: AggregateBuilder, group: Group) -> bool:
        size = sum(record.size + _WIRE_BYTES_MAX for record in group.records)
        return builder.size + size <= self.bytes_max and len(builder) + len(group.records) <= self._count_max

    def _package(
        self, builder: AggregateBuilder, parts: list[Part], place: Place, put_at: float, now: float
    ) -> Package:
        self._rank += 1
        package = Package(
            builder.seal(),
            parts,
            rank=self._rank,
            place=place,
            put_at=put_at,
            expires_at=put_at + self._settings.ttl_s,
            collect_by=max(now, put_at + self.linger_s),
        )
        if self.keep_keys:
            keys = (accepted_again(*fields).hash_bytes for fields in builder.records())
            package.keys = tuple({key: None for key in keys if key is not None})
        return package


def _append(builder: AggregateBuilder, record: Accepted) -> bool:
    return builder.try_append(record.partition_key, record.data, record.explicit_hash_key, record.headers)
