"""Worlds: a fixed set of seeds of every profile breaks nothing, replays exactly, and reaches the rare branches."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shardline.local.sim.oracle import INVARIANTS

from tests.sim.bugs import BUGS
from tests.sim.delivery_bugs import DELIVERY_BUGS
from tests.sim.knobs import PROFILES, draw
from tests.sim.mutants import ALL_BUGS, hunt
from tests.sim.planting import Bug, TargetGoneError, planted
from tests.sim.promise_bugs import PROMISE_BUGS, PROOFS
from tests.sim.run import play, replay_line
from tests.sim.shrink import shrink
from tests.sim.stream_bugs import STREAM_BUGS
from tests.sim.world import World

SEEDS = {"swarm": range(1, 13), "parked keys": range(1, 6)}
FAST_BUGS = (
    "validity credited at the reply",
    "validity credited on a re-read",
    "checkpoint conditioned on owner only",
    "checkpoint conditioned on owner and epoch",
    "take without the counter",
    "restart credited from its own send",
    "no local expiry",
    "stale checkpoint at take",
    "child started before one parent",
    "adjacent parent ignored",
    "child at LATEST",
    "initial sync not retried",
    "results paired by position",
    "no children created",
    "empty page taken for shard end",
    "parent row deleted early",
    "first page of ListShards only",
    "flush forgets what is in flight",
    "failure taken for done",
    "process begins without a lease",
    "spurious condition failure taken for a loss",
    "late result of a superseded handler accepted",
    "put takes more than the memory",
    "reading on without room",
    "reads in bursts",
    "subscription runs on after its lease",
    "blocking handler begins without a lease",
    "hung handler keeps its shard",
    "malformed aggregate dropped",
    "misplaced records dropped",
    "failure reported in the handler's words",
    "leases shoved about for ever",
    "leaving without the last checkpoint",
    "leaving without giving leases back",
    "leases of the dead left alone",
    "deleted row not repaired",
    "no back-off",
    *STREAM_BUGS,
)
"""Those that need less than two CPU seconds; `make sim-mutants` hunts all."""


@pytest.mark.slow
@pytest.mark.untraced
@pytest.mark.parametrize("profile", PROFILES)
def test_worlds_break_nothing(profile: str) -> None:
    """Seeds of each profile end with nothing lost, no invariant broken and no exception unseen."""
    for seed in SEEDS.get(profile, range(1, 4)):
        result = play(seed, profile)
        assert not result.failed, replay_line(result)
        assert result.lost == 0
        assert result.records > 50


def test_a_healthy_world_delivers_once() -> None:
    """Without faults, reshards or new members nothing is delivered or stored twice."""
    result = World(replace(draw(2, "healthy"), chaos_s=120.0)).run()
    assert not result.failed
    assert (result.redelivered, result.resent, result.lost) == (0, 0, 0)
    assert result.reached["put delivered"] == result.records


@pytest.mark.slow
def test_a_world_replays_in_another_process() -> None:
    """One seed is one trace, in two processes with different hash seeds (I22)."""
    program = "from tests.sim.run import play; print(play(4, 'swarm').trace)"
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST_BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    """Each of the quick planted bugs is caught within its budget."""
    caught = hunt(name)
    assert caught.by, f"{name} was not caught in {caught.cpu_s:.0f} CPU s"


@pytest.mark.slow
def test_a_failing_world_shrinks_to_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a failing world's knobs those remain that the failure needs: here one shard that is split."""
    with planted(BUGS["no children created"]):
        whole = World(draw(1, "auditor off")).run()
        assert shrink(draw(1, "auditor off")) == 1
    printed = capsys.readouterr().out
    assert whole.violations[0].invariant in {"I1", "I9"}  # Nobody handles some records, or nobody has some shards.
    assert printed.startswith(f"# {whole.violations[0].invariant}\n")
    assert "workers=1, shards=1" in printed
    assert "rates=Rates(reshard=" in printed
    assert "Faults" not in printed


@pytest.mark.parametrize("name", BUGS | DELIVERY_BUGS | PROMISE_BUGS | STREAM_BUGS)
def test_every_planted_bug_still_has_its_target(name: str) -> None:
    """A planted bug whose target was renamed or removed fails here, loudly."""
    bug = ALL_BUGS[name]
    with planted(bug):
        assert bug.worlds or bug.model


def test_every_invariant_has_a_planted_bug() -> None:
    """A new invariant needs a new planted bug that breaks it."""
    assert PROOFS.keys() == INVARIANTS.keys()
    assert set(PROOFS.values()) <= ALL_BUGS.keys()


def test_the_page_names_every_invariant_and_its_bug() -> None:
    """docs/testing.md has a row for each invariant: its sentence, and the planted bug that breaks it."""
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    assert {row[0]: (row[1], row[3]) for row in rows if row[0] in INVARIANTS} == {
        name: (text, PROOFS[name]) for name, text in INVARIANTS.items()
    }


def test_a_missing_target_is_loud() -> None:
    """Planting into a function that does not exist raises, and plants nothing."""
    with pytest.raises(TargetGoneError, match="plant the bug anew"), planted(Bug(((World, "gone", id),), ())):
        pass
