"""Steered fleets: whatever is paused and sought, nothing is lost but what was skipped on purpose, and told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from shardline.common.ports.kinesis import StartAt, StartKind
from shardline.common.records import SHARD_END
from shardline.consumer.driver.reading import Reading
from shardline.consumer.steering import Course, Read

from tests.sim.knobs import draw
from tests.sim.planting import Bug, planted
from tests.sim.scene import FIRST, Scene
from tests.sim.steersman import SteeredWorld

ACTS = ("pause", "back", "record", "skip")


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("profile", ["healthy", "swarm", "reshard storm", "lost replies", "blackout"])
def test_steered_worlds_break_nothing(profile: str) -> None:
    """Pauses, seeks and skips amid crashes and reshards: every invariant holds, and each act happened."""
    acts, reached = Counter[str](), Counter[str]()
    for seed in range(1, 4):
        knobs = replace(draw(seed, profile), healthy=False, calm=False, settle_s=0.0, chaos_s=300.0)
        result = SteeredWorld(knobs).run()
        assert not result.failed, (seed, [str(one) for one in result.violations[:3]], result.error)
        assert result.lost == 0
        acts += result.counts
        reached += result.reached
    assert all(acts[f"steered: {act}"] for act in ACTS), acts
    assert reached["sought"] > 0
    assert reached["skipped on purpose"] > 0 or profile != "healthy"


def _resumed_at_latest(_: Any) -> Any:
    def go_on(self: Course) -> Read:
        del self
        return Read(StartAt(StartKind.LATEST))

    return go_on


def _nothing_left_out(original: Any) -> Any:
    def go_on(self: Course) -> Read:
        return original(self)._replace(after=None)  # type: ignore[no-any-return]  # the original is of any type

    return go_on


BUGS = {
    "a seek forward is taken for one back": Bug(((Course, "_ahead", lambda _: lambda *_: False),), ("healthy",)),
    "a skip is not told": Bug(((Reading, "_tell", lambda _: lambda *_: None),), ("healthy",)),
    "a pause goes on at the tip": Bug(((Course, "_go_on", _resumed_at_latest),), ("healthy",)),
    "a pause delivers the last record again": Bug(((Course, "_go_on", _nothing_left_out),), ("healthy",)),
}


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_of_steering_are_caught(name: str) -> None:
    """Each broken rule of steering breaks an invariant within a few worlds."""
    caught = ""
    with planted(BUGS[name]):
        for seed in range(1, 9):
            knobs = replace(draw(seed, "healthy"), healthy=False, calm=False, settle_s=0.0, chaos_s=300.0)
            result = SteeredWorld(knobs).run()
            if result.violations:
                caught = result.violations[0].invariant
                break
    assert caught in {"I1", "I2", "I3", "I6"}


def test_a_skip_that_is_not_told_is_a_loss() -> None:
    """The oracle takes a skipped range for parked, and nothing beyond it (I1, I3)."""
    scene = Scene()
    users = scene.put("a") + scene.put("b") + scene.put("c")
    oracle = scene.oracle
    assert oracle.pending() == 3
    oracle.skipped(FIRST, users[0][1], users[2][1])
    assert oracle.pending() == 2
    oracle.skipped(FIRST, None, SHARD_END)
    assert oracle.pending() == 0
    assert oracle.violations == []


def test_only_a_sought_range_may_come_again() -> None:
    """I6 leaves out what a seek led back to: deliveries below it are a violation as before."""
    scene = Scene()
    (user, position), (later, behind) = scene.put("a")[0], scene.put("b")[0]
    oracle = scene.oracle
    for one, at in ((user, position), (later, behind)):
        oracle.delivered("A", FIRST, at, 1, one)
        oracle.processed("A", FIRST, at, 1, one)
    oracle.sought("A", FIRST, 1, behind)
    oracle.delivered("A", FIRST, behind, 1, later)
    oracle.processed("A", FIRST, behind, 1, later)
    assert oracle.violations == []
    oracle.delivered("A", FIRST, position, 1, user)
    assert [one.invariant for one in oracle.violations] == ["I6"]
