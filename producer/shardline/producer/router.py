"""Where a record goes: the predicted shard, a place of its hash key where no map tells, or anywhere (AUTO).

Also the other direction: which of an aggregate's records lie where, when a new map or an answer cuts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shardline.common.hashing import FULL_RANGE
from shardline.producer.accept import accepted_again
from shardline.producer.aggregator import Group
from shardline.producer.places import Place
from shardline.producer.shard_map import MapKeeper, SummaryKeeper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from shardline.common.hashing import HashRange
    from shardline.producer.accept import Accepted
    from shardline.producer.config import StreamSettings
    from shardline.producer.delivery import Part
    from shardline.producer.package import Package

__all__ = ["Router"]

_SUMMARY_EVERY_S: Final = 60.0
"""DescribeStreamSummary: the stream's owner may switch AUTO placement at any time (`kpl.md` 9a)."""
_ANYWHERE: Final = Place(None, None, "anywhere", uniform=False)


class Router:
    """The map, the summary, and the places they lead to."""

    __slots__ = ("_places", "_split_explicit", "keeper", "summary")

    def __init__(self, settings: StreamSettings, random: Random, now: float, *, split_explicit: bool) -> None:
        self.keeper = MapKeeper(settings.shard_map_refresh_s, random, now)
        self.summary = SummaryKeeper(_SUMMARY_EVERY_S, random, now)
        self._split_explicit = split_explicit  # Records with a hash key or headers get aggregates of their own.
        self._places: dict[tuple[str, bool], Place] = {}

    def place(self, record: Accepted) -> Place:
        """Return where a record goes now."""
        key = record.hash_bytes
        if self.summary.auto or key is None:
            return _ANYWHERE
        shard = self.keeper.current.locate(key) if self.keeper.current is not None else None
        explicit = self._split_explicit and (record.explicit_hash_key is not None or record.headers is not None)
        if shard is None:
            return Place(None, None, (key, explicit), uniform=True)
        known = self._places.get((shard.shard_id, explicit))
        if known is None or known.hash_range != shard.hash_range:
            known = Place(shard.shard_id, shard.hash_range, (shard.shard_id, explicit), uniform=False)
            self._places[shard.shard_id, explicit] = known
        return known

    def usual_place(self, key: bytes) -> Place | None:
        """Return where a record without explicit hash key and headers goes, if something went there by this map."""
        shards = self.keeper.current
        shard = None if shards is None or self.summary.auto else shards.locate(key)
        known = None if shard is None else self._places.get((shard.shard_id, False))
        return known if known is None or shard is None or known.hash_range == shard.hash_range else None

    def on_new_map(self) -> None:
        """Forget the places of the old map."""
        self._places.clear()

    def stands(self, place: Place | Package) -> bool:
        """Say whether what was placed there is still placed right by the map in use."""
        if self.summary.auto:
            return place.shard_id is None
        if place.shard_id is None:
            # Placed without a map. A lone hash key is right anywhere; it moves to its shard's lane when there is one.
            return self.keeper.current is None or (place.uniform and not self.keeper.current.complete)
        shard = self.keeper.current.get(place.shard_id) if self.keeper.current is not None else None
        return shard is not None and shard.hash_range == place.hash_range

    def owns(self, package: Package, shard_id: str) -> bool | None:
        """Say whether all of an aggregate belongs to the shard it landed on; None if that cannot be told yet."""
        hash_range = self.keeper.range_of(shard_id)
        if hash_range is None:
            return None
        mine = package.hash_range
        if mine is not None and hash_range.start <= mine.start and mine.end <= hash_range.end:
            return True
        return all(key in hash_range for key in package.hash_keys())

    def sort(self, groups: Sequence[Group]) -> list[tuple[Place, list[Group]]]:
        """Return the groups by the place they go to now; parts are cut where need be, order is kept within each."""
        found: dict[object, tuple[Place, list[Group]]] = {}
        for group in groups:
            for place, piece in self._cut(group):
                found.setdefault(place.buffer_id, (place, []))[1].append(piece)
        return list(found.values())

    def groups_of(self, package: Package) -> list[Group]:
        """Return a package's records as groups, one for each part."""
        records = [
            accepted_again(one.partition_key, one.data, one.explicit_hash_key, one.headers) for one in package.records()
        ]
        if package.explicit_hash_key is not None and not package.aggregated:
            # A lone record carries a hash key that the caller may never have given: routing only needs its value.
            records = [one._replace(hash_bytes=int(package.explicit_hash_key).to_bytes(16, "big")) for one in records]
        groups: list[Group] = []
        at = 0
        for part in package.parts:
            count = len(part.indexes)
            groups.append(Group(part, records[at : at + count]))
            at += count
        return groups

    def _cut(self, group: Group) -> list[tuple[Place, Group]]:
        by_place: dict[object, tuple[Place, list[int]]] = {}
        for at, record in enumerate(group.records):
            place = self.place(record)
            by_place.setdefault(place.buffer_id, (place, []))[1].append(at)
        if len(by_place) == 1:
            ((place, _),) = by_place.values()
            return [(place, group)]
        pieces = [(places, self._narrow(group.part, place)) for place, places in by_place.values()]
        parts = group.part.cut(pieces)
        return [
            (place, Group(part, [group.records[at] for at in places]))
            for part, (place, places) in zip(parts, by_place.values(), strict=True)
        ]

    @staticmethod
    def _narrow(part: Part, place: Place) -> HashRange | None:
        """Return the keys a piece of `part` can hold once it was cut for `place`."""
        old = part.hash_range or FULL_RANGE
        new = place.hash_range or FULL_RANGE
        return type(old)(max(old.start, new.start), min(old.end, new.end))
