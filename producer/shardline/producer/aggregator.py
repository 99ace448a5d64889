"""Open aggregates, one for each predicted shard: where records wait until they are worth a Kinesis record.

`offer` is the hot path, once per user record: one look-up from the key to its open aggregate, one comparison with the
memory granted to it, one append. Everything else happens per aggregate. Invariants: no aggregate mixes predicted shards
(a KCL drops those that do), nor records with and without an explicit hash key (a known decoder confuses them);
an aggregate holds what the budget granted, never more; without a map only records of one hash key share an aggregate.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from shardline.common.aggregation import AggregateBuilder
from shardline.producer.accept import accepted_again
from shardline.producer.budget import KEY_OVERHEAD_BYTES, PACKAGE_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES
from shardline.producer.package import Package

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from shardline.common.hashing import HashRange
    from shardline.producer.accept import Accepted
    from shardline.producer.budget import Share
    from shardline.producer.config import StreamSettings
    from shardline.producer.delivery import Delivery, Part

__all__ = ["Aggregator", "Buffer", "Group", "Place", "record_cost"]

_ROUTES_MAX: Final = 100_000
_GRANT_BYTES: Final = 16 * 1024
_WIRE_BYTES_MAX: Final = 128
"""What the format adds to a record's data and key at most, explicit hash key included, headers aside."""
_SEAL_PART: Final = 0.8
"""Of the linger time: what is sealed by then is collected, together with others, before all of it has passed."""


def record_cost(record: Accepted) -> int:
    """Return the bytes a record is accounted for in an open aggregate; its key is counted as if nobody shared it."""
    return len(record.data) + record.key_bytes + KEY_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES


class Place:
    """Where records of a hash key go: a shard and its range, or neither where no map tells."""

    __slots__ = ("buffer_id", "hash_range", "shard_id", "uniform")

    def __init__(
        self, shard_id: str | None, hash_range: HashRange | None, buffer_id: Hashable, *, uniform: bool
    ) -> None:
        self.shard_id = shard_id
        self.hash_range = hash_range
        self.buffer_id = buffer_id
        self.uniform = uniform
        """Whether all records of this place have one hash key."""

    def __repr__(self) -> str:
        return f"Place({self.shard_id})"


class Buffer:
    """One open aggregate; it outlives its aggregates, so that routes to it stay good."""

    __slots__ = ("append", "builder", "delivery", "number", "opened_at", "place", "reserved", "room")

    def __init__(self, place: Place, builder: AggregateBuilder) -> None:
        self.place = place
        self.builder = builder
        self.append = builder.try_append
        self.delivery: Delivery | None = None
        self.reserved = 0
        self.room = -1
        """Accounted bytes that may be added before the budget is asked again; -1 while nothing is open."""
        self.number = 0
        self.opened_at = 0.0

    def __len__(self) -> int:
        return len(self.builder.datas)

    def __repr__(self) -> str:
        return f"Buffer({len(self)} records, shard={self.place.shard_id})"


class Group(NamedTuple):
    """Records of one part of a delivery, in order."""

    part: Part
    records: list[Accepted]


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
        "_routes",
        "_settings",
        "_share",
        "buffers",
        "bytes_max",
        "hold_until",
        "keep_keys",
        "linger_s",
        "sealed",
    )

    def __init__(self, settings: StreamSettings, share: Share, new_delivery: Callable[[float], Delivery]) -> None:
        self._settings = settings
        self._share = share
        self._new_delivery = new_delivery
        self._count_max = settings.aggregate_count_max or 2**32 - 1
        self._routes: dict[str, tuple[Buffer, int]] = {}
        self._deadlines: deque[tuple[float, Buffer, int]] = deque()
        self._opened = 0
        self._rank = 0
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
            buffer, cost = self._routes[key]
        except (KeyError, TypeError):
            return None
        if type(data) is not bytes:
            return None
        room = buffer.room - len(data) - cost
        if room < 0 or not buffer.append(key, data):
            return None
        buffer.room = room
        return buffer.delivery

    def remember_route(self, key: str, key_bytes: int, buffer: Buffer) -> None:
        """Let `offer` find the buffer for `key` from now on."""
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()
        self._routes[key] = (buffer, key_bytes + KEY_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES)

    def forget_routes(self) -> None:
        """Send every record through `put` until its route is remembered anew."""
        self._routes.clear()

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
            buffer = self.buffers[place.buffer_id] = Buffer(place, AggregateBuilder(self.bytes_max, self._count_max))
        cost = record_cost(record)
        index = len(buffer)
        if index and not self._reserve(buffer, cost):
            return None
        if index and buffer.append(record.partition_key, record.data, record.explicit_hash_key, record.headers):
            buffer.room -= cost
            return buffer, index
        self.seal(buffer, now)
        if not self._open(buffer, cost, now):
            return None
        buffer.append(record.partition_key, record.data, record.explicit_hash_key, record.headers)
        buffer.room -= cost
        return buffer, 0

    def alone(self, record: Accepted, place: Place, now: float) -> tuple[Delivery, Package] | None:
        """Make a package of one record at once, or return None where there is no room."""
        if not self._share.try_take(record_cost(record) + PACKAGE_OVERHEAD_BYTES, 1):
            return None
        delivery = self._new_delivery(now)
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
        self.sealed.append(package)
        self._reset(buffer)
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
        self._reset(buffer)
        return group

    def open_records(self) -> int:
        """Return how many records are in open aggregates."""
        return sum(map(len, self.buffers.values()))

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _reserve(self, buffer: Buffer, cost: int) -> bool:
        """Make room for `cost` in an open buffer, a good deal at once where the budget has it."""
        if buffer.room >= cost:
            return True
        for grant in (max(cost, _GRANT_BYTES), cost):
            if self._share.try_take(grant):
                buffer.reserved += grant
                buffer.room += grant
                return True
        return False

    def _open(self, buffer: Buffer, cost: int, now: float) -> bool:
        if not self._share.try_take(PACKAGE_OVERHEAD_BYTES):
            return False
        buffer.room = 0
        if not self._reserve(buffer, cost):
            self._share.release(PACKAGE_OVERHEAD_BYTES)
            buffer.room = -1
            return False
        buffer.reserved += PACKAGE_OVERHEAD_BYTES
        self._opened += 1
        buffer.number = self._opened
        buffer.opened_at = now
        buffer.delivery = self._new_delivery(now)
        self._deadlines.append((max(now + self.linger_s * _SEAL_PART, self.hold_until), buffer, self._opened))
        return True

    def _reset(self, buffer: Buffer) -> None:
        buffer.builder.clear()
        buffer.delivery = None
        buffer.reserved = 0
        buffer.room = -1
        buffer.number = 0

    def _chunks(self, groups: list[Group], count_max: int) -> list[_Chunk]:
        chunks: list[_Chunk] = []
        for number, group in enumerate(groups):
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
