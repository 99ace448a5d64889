"""The oracles of single promises: each predicate is broken by hand once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.hashing import HashRange
from shardline.common.records import TRIM_HORIZON, Position
from shardline.local.sim.network import Sender, Service
from shardline.local.sim.oracles.balance import Balance
from shardline.local.sim.oracles.blobs import Blobs
from shardline.local.sim.oracles.leaving import Leaving
from shardline.local.sim.oracles.memory import Memory
from shardline.local.sim.oracles.secrets import CANARY, Secrets
from shardline.local.sim.oracles.storms import Storms

from tests.sim.scene import FIRST, Scene

if TYPE_CHECKING:
    from shardline.local.sim import Simulation


@pytest.fixture
def scene() -> Scene:
    """Return a fresh scene."""
    return Scene()


def test_a_lease_that_stands_still_in_a_calm_fleet_is_found(scene: Scene) -> None:
    """An owner that is there renews in time; one that has not begun to hold its lease does not count."""
    scene.oracle.calm = True
    scene.wait(5)
    scene.write("A")
    assert scene.broken == set()
    scene.wait(8)
    scene.write("A")
    assert scene.broken == {"churn"}


def test_a_producer_that_holds_too_much_is_found(scene: Scene) -> None:
    """I8: unresolved records beyond the memory, or the number of records, and an account that does not end at zero."""
    memory = Memory(scene.oracle, bytes_max=100, records_max=2)
    memory.accepted("p", "a", 40)
    memory.accepted("p", "b", 40)
    memory.resolved("p", "a")
    memory.resolved("p", "early")
    memory.accepted("p", "early", 90)
    memory.accounted("p", 50, 100, 100)
    assert scene.broken == set()
    memory.accepted("p", "c", 70)
    assert scene.broken == {"I8"}
    again = Scene()
    memory = Memory(again.oracle, records_max=1)
    memory.accepted("p", "a", 1)
    memory.accounted("p", 1, 1, 2, closed=True)
    memory.accepted("p", "b", 1)
    assert len(again.oracle.violations) == 2


def test_a_record_is_held_until_an_answer_names_its_place(scene: Scene) -> None:
    """I8: being in the stream is not enough, for the producer does not know; lying in a wrong shard is not either."""
    memory = Memory(scene.oracle, records_max=1)
    ((user, position),) = scene.put("a")
    memory.accepted("p", user.id, 1)
    memory.acknowledged(one.id for one in scene.oracle.rightly_placed(FIRST, position.sequence_number))
    memory.accepted("p", "b", 1)
    assert scene.broken == set()
    again = Scene()
    again.oracle.ranges[FIRST] = HashRange(0, 0)
    ((user, position),) = again.put("a")
    memory = Memory(again.oracle, records_max=1)
    memory.accepted("p", user.id, 1)
    memory.acknowledged(one.id for one in again.oracle.rightly_placed(FIRST, position.sequence_number))
    memory.accepted("p", "b", 1)
    assert again.broken == {"I8"}


def test_a_worker_that_reads_too_far_ahead_is_found(scene: Scene) -> None:
    """I8: what was read and not delivered is bounded; delivering makes room."""
    memory = Memory(scene.oracle, read_ahead_max=2)
    numbers = [scene.put(name)[0][1].sequence_number for name in "abc"]
    memory.read("A", FIRST, numbers[0], numbers[1])
    memory.delivered("A", FIRST, Position(numbers[1], 0))
    memory.read("A", FIRST, numbers[1], numbers[2])
    memory.done("A", FIRST, numbers[1])  # What no handler gets makes room as well,
    memory.forget("A", FIRST)  # and so does the loss of the lease.
    assert scene.broken == set()
    memory.read("A", FIRST, numbers[0], numbers[2])
    assert scene.broken == {"I8"}


def test_a_fleet_that_does_not_rest_is_found(scene: Scene) -> None:
    """I12: no lease moves while nothing changes, and counted holdings differ by one at most."""
    balance = Balance(scene.oracle)
    balance.begin()
    balance.end(["A"], by_count=True)
    assert scene.broken == set()
    scene.write("B", leaseOwner="B")
    balance.end(["A", "B"], by_count=True)
    assert scene.broken == {"I12"}
    uneven = Scene(shards=2)
    balance = Balance(uneven.oracle)
    balance.begin()
    balance.end(["A", "B"], by_count=False)
    assert uneven.broken == set()
    balance.end(["A", "B"], by_count=True)
    assert uneven.broken == {"I12"}


def test_a_worker_that_leaves_badly_is_found(scene: Scene) -> None:
    """I13: too slow, a lease kept, work not stored; I18: something that runs on."""
    leaving = Leaving(scene.oracle)
    leaving.left("B", took_s=1, within_s=2)
    leaving.stored()
    assert scene.broken == set()
    leaving.left("B", took_s=3, within_s=2)
    leaving.left("A", took_s=1, within_s=2)
    assert [violation.where for violation in scene.oracle.violations] == ["B", FIRST]
    again = Scene()
    (one,) = again.put("a")
    again.handle("A", one)
    Leaving(again.oracle).stored()
    assert again.broken == {"I13"}


@pytest.mark.parametrize(("hung_s", "broken"), [(None, {"I13"}), (2.0, {"I13"}), (6.0, set[str]())])
def test_the_lease_of_a_call_that_hangs_runs_out(hung_s: float | None, broken: set[str]) -> None:
    """I13: it alone is not given back, if the call hung since the worker has had the lease."""
    scene = Scene()
    scene.wait(5.0)
    scene.write("B", leaseOwner="B")
    scene.wait(5.0)
    scene.write("B")
    stuck = {} if hung_s is None else {FIRST: hung_s}
    Leaving(scene.oracle).left("B", took_s=1, within_s=2, stuck=stuck)
    assert scene.broken == broken


def test_what_is_left_behind_is_found(scene: Scene) -> None:
    """I18: a task, a timer, a thread or a subscription of a host whose program has returned."""
    leaving, host = Leaving(scene.oracle), scene.hosts["A"]
    leaving.gone(host)
    assert scene.broken == set()
    leaving.gone(host, threads=1)
    leaving.gone(host, subscriptions=1)

    async def main(_: Simulation) -> None:
        async def beside() -> None:
            await asyncio.sleep(1000)

        host.spawn(beside(), name="runaway")
        await asyncio.sleep(1)
        leaving.gone(host)

    with scene.sim:
        scene.sim.run(main)
    assert [violation.what.split()[-1] for violation in scene.oracle.violations] == [
        "behind",
        "behind",
        "runaway",
        "behind",
    ]


def test_calls_that_do_not_decay_are_found(scene: Scene) -> None:
    """I17: a host that goes on calling a service that is out, and a rush of all when it is back."""
    storms = Storms(scene.oracle, Service.KINESIS, floor=3, spike=2, settle_s=10)
    storms.begin(60)

    def call(at_s: float, host: str = "A") -> None:
        storms.sent(Sender(scene.hosts[host], Service.KINESIS, "GetRecords", at_s))

    for at_s in (1, 2, 3, 4, 5, 20, 24, 28, 31):
        call(at_s)
    call(61, "A")
    call(61, "B")
    assert scene.broken == set()
    assert (storms.most, storms.spike) == (3, 2)
    call(33)
    assert [violation.where for violation in scene.oracle.violations] == ["A"]
    call(61)
    assert [violation.where for violation in scene.oracle.violations] == ["A", "kinesis"]


def test_a_text_that_shows_a_key_is_found(scene: Scene) -> None:
    """I19: whatever leaves the product is searched for the canary that every key and payload holds."""
    secrets = Secrets(scene.oracle)
    assert secrets.check("event", "12 bytes") == "12 bytes"
    assert scene.broken == set()
    secrets.check("event", f"key {CANARY}-1")
    assert scene.broken == {"I19"}


def test_a_malformed_record_in_part_or_not_at_all_is_found(scene: Scene) -> None:
    """I14: what looks like an aggregate and is none comes as the bytes it is."""
    blobs = Blobs(scene.oracle)
    blobs.stored(FIRST, 7, b"whole")
    blobs.stored(FIRST, 8, b"never")
    blobs.stored(FIRST, 3, b"gone with retention")
    blobs.skipped(FIRST, -1, 4)
    blobs.delivered(FIRST, Position(7, 0), b"whole")
    blobs.processed(FIRST, Position(7, 0))
    assert (scene.broken, blobs.pending()) == (set(), 1)
    blobs.finish()
    blobs.delivered(FIRST, Position(8, 0), b"part")
    assert [violation.invariant for violation in scene.oracle.violations] == ["I14", "I14"]


def test_a_malformed_record_is_done_before_a_checkpoint_covers_it(scene: Scene) -> None:
    """I14: what retention takes after it was passed by was dropped all the same."""
    blobs = Blobs(scene.oracle)
    blobs.stored(FIRST, 7, b"whole")
    blobs.delivered(FIRST, Position(7, 0), b"whole")
    for checkpoint in (TRIM_HORIZON, Position(6, 3)):
        blobs.covered(FIRST, checkpoint)
    assert scene.broken == set()
    blobs.covered(FIRST, Position(7, 0))
    blobs.skipped(FIRST, -1, 8)
    assert scene.broken == {"I14"}
