"""Repairs over a stream's life: what was read to its end never comes back, what somebody deleted does (I6, I9)."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.hashing import FULL_RANGE, HashRange, Shard
from shardline.common.ports.kinesis import ChildShard
from shardline.common.records import SHARD_END, TRIM_HORIZON
from shardline.consumer.lineage import (
    FINISHED_KEPT_S,
    Start,
    blocking_parents,
    initial_leases,
    may_clean_up,
    missing_leases,
    unknown_parents,
)

from tests.consumer.rows import at, lease

if TYPE_CHECKING:
    from shardline.common.records import Position
    from shardline.consumer.leases.row import LeaseRow

STARTS: tuple[str | float, ...] = ("TRIM_HORIZON", "LATEST", 5.0)


class Life:
    """A stream that is resharded, and the lease rows as workers by the book read, finish and clean up its shards."""

    def __init__(self, start: str | float) -> None:
        self.start = Start.of(start)
        self.shards = {"0": Shard("0", FULL_RANGE, None, None, "1", None)}
        self.rows: dict[str, LeaseRow] = {}
        self.kept: set[str] = set()
        """Finished shards whose leases stay for now."""

    def begin(self) -> None:
        """Create the first leases: the oldest shards, or those that are open now."""
        horizon = self.start.point == "TRIM_HORIZON"
        first = [s for s in self.shards.values() if (not s.parent_shard_ids if horizon else s.is_open)]
        for new in initial_leases(first, self.start, pin=1.0):
            self._add(new.shard_id, new.checkpoint)

    def _add(self, name: str, checkpoint: Position = TRIM_HORIZON) -> None:
        self.rows[name] = lease(name, checkpoint=checkpoint, parents=self.shards[name].parent_shard_ids)

    def _open(self, hash_range: HashRange, *parents: str) -> None:
        name = str(len(self.shards))
        for parent in parents:
            self.shards[parent] = self.shards[parent]._replace(ending_sequence_number="9")
        second = parents[1] if len(parents) > 1 else None
        self.shards[name] = Shard(name, hash_range, parents[0], second, str(len(self.shards) + 1), None)

    def reshard(self, pick: int, *, merge: bool) -> None:
        """Split an open shard, or merge it with its neighbour."""
        active = sorted((one for one in self.shards.values() if one.is_open), key=lambda one: one.hash_range)
        one = active[pick % len(active)]
        if merge and one is not active[-1]:
            other = active[active.index(one) + 1]
            self._open(HashRange(one.hash_range.start, other.hash_range.end), one.shard_id, other.shard_id)
            return
        middle = (one.hash_range.start + one.hash_range.end) // 2
        self._open(HashRange(one.hash_range.start, middle), one.shard_id)
        self._open(HashRange(middle + 1, one.hash_range.end), one.shard_id)

    def children(self, name: str) -> list[str]:
        """Return the shards that have this one as a parent."""
        return [one.shard_id for one in self.shards.values() if name in one.parent_shard_ids]

    def read(self, name: str) -> None:
        """Read on in a shard whose parents are finished."""
        if self.rows[name].checkpoint != SHARD_END and not blocking_parents(self.rows[name], self.rows):
            self._add(name, at(5))

    def finish(self, name: str) -> None:
        """Come to a closed shard's end: children first, then SHARD_END."""
        if self.shards[name].is_open or blocking_parents(self.rows[name], self.rows):
            return
        children = [self.shards[child] for child in self.children(name)]
        told = [ChildShard(one.shard_id, one.parent_shard_ids, one.hash_range) for one in children]
        if any(unknown_parents(child, self.rows) for child in told):
            return  # A merge's other parent has no lease yet.
        for child in self.children(name):
            if child not in self.rows:
                self._add(child)
        self._add(name, SHARD_END)
        self.kept.add(name)

    def clean_up(self, name: str) -> None:
        """Delete a finished shard's row where the rule allows it."""
        row, finished_s = self.rows[name], 0.0 if name in self.kept else FINISHED_KEPT_S
        children = {child: self.rows.get(child) for child in self.children(name)}
        parents = {parent: self.rows.get(parent) for parent in row.parents}
        if may_clean_up(row, children, parents, finished_s=finished_s):
            del self.rows[name]

    def step(self, random: Random) -> None:
        """Let one thing happen."""
        act = random.choice(("reshard", "read", "finish", "finish", "clean up", "clean up"))
        if act == "reshard":
            self.reshard(random.randrange(8), merge=random.random() < 0.6)
            return
        name = random.choice(sorted(self.rows, key=int))
        {"read": self.read, "finish": self.finish, "clean up": self.clean_up}[act](name)

    def missing(
        self, shards: list[Shard] | None = None, rows: dict[str, LeaseRow] | None = None
    ) -> dict[str, Position]:
        """Return what a repair would create, by what it saw (None: all as it is): shard id -> checkpoint."""
        listed = self.shards.values() if shards is None else shards
        made = missing_leases(listed, (self.rows if rows is None else rows).values(), self.start, pin=1.0)
        return {one.shard_id: one.checkpoint for one in made}


def _life(random: Random) -> Life:
    life = Life(random.choice(STARTS))
    for _ in range(random.randrange(4)):
        life.reshard(random.randrange(8), merge=random.random() < 0.5)
    life.begin()
    return life


@given(st.integers(0, 2**32))
def test_nothing_is_ever_missing_while_everybody_goes_by_the_book(seed: int) -> None:
    """However shards are split, merged, finished and cleaned up: no repair makes a finished shard's lease again."""
    random = Random(seed)
    life = _life(random)
    for _ in range(60):
        life.kept.clear()
        life.step(random)
        assert life.missing() == {}


@given(st.integers(0, 2**32))
def test_nothing_is_missing_to_who_reads_slowly(seed: int) -> None:
    """The table is read row by row after the shards were listed, while life goes on: nothing finished comes back.

    Whatever finishes meanwhile keeps its lease for longer than a reading takes (`FINISHED_KEPT_S`), so that all that
    may seem to be missing is there by then, and creating it changes nothing.
    """
    random = Random(seed)
    life = _life(random)
    for _ in range(random.randrange(40)):
        life.kept.clear()
        life.step(random)
    life.kept.clear()
    listed, seen = list(life.shards.values()), {}
    names = [str(number) for number in range(80)]
    for name in random.sample(names, len(names)):
        if name in life.rows:
            seen[name] = life.rows[name]
        life.step(random)
    assert set(life.missing(listed, seen)) <= set(life.rows)


@given(st.integers(0, 2**32))
def test_only_the_deleted_lease_comes_back(seed: int) -> None:
    """If somebody deletes a lease, a repair begins at that shard or, its parents' leases gone as well, above it."""
    random = Random(seed)
    life = _life(random)
    for _ in range(random.randrange(40)):
        life.step(random)
    name = random.choice(sorted(life.rows, key=int))
    del life.rows[name]
    if life.rows:
        assert set(life.missing()) <= {name, *_ancestors(life, name)}


def _ancestors(life: Life, name: str) -> set[str]:
    parents = life.shards[name].parent_shard_ids
    return {*parents, *(above for parent in parents for above in _ancestors(life, parent))}


@pytest.mark.parametrize("start", STARTS)
def test_generations_that_were_cleaned_up_stay_away(start: str | float) -> None:
    """Of 0 -> 1 -> 2 -> 3 and 0 -> 4 only 3 and the finished 4 have leases: 0, 1 and 2 were read to their ends."""
    parents = (None, "0", "1", "2", "0")
    shards = [Shard(str(n), FULL_RANGE, up, None, str(n + 1), None if n == 3 else "9") for n, up in enumerate(parents)]
    rows = [lease("3", checkpoint=at(5), parents=("2",)), lease("4", checkpoint=SHARD_END, parents=("0",))]
    assert missing_leases(shards, rows, Start.of(start), pin=1.0) == []


def test_a_row_proves_its_parents_end_before_its_shard_is_listed() -> None:
    """A list from before the reshard does not show the child; its row does, and its parent is not read again."""
    listed = [Shard("0", FULL_RANGE, None, None, "1", None)]
    rows = [lease("1", checkpoint=at(5), parents=("0",)), lease("2", parents=("0",))]
    assert missing_leases(listed, rows, Start.of("TRIM_HORIZON"), pin=1.0) == []
