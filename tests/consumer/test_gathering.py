"""A leader waits for the workers of a new fleet, and for nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shardline.consumer.fleet.gathering import Gathering
from shardline.consumer.fleet.model import ObservedLease

FRESH = ObservedLease("a", None, None, 0)
GIVEN_BACK = ObservedLease("b", None, None, 7)
FAILOVER_S = 10.0


def test_the_first_look_waits_and_the_second_assigns() -> None:
    """One worker is there, a second comes, then nobody: new leases are assigned at the third look, to both."""
    gathering = Gathering(FAILOVER_S)
    waited = []
    for now, workers in ((0.0, ["w0"]), (2.0, ["w0", "w1"]), (4.0, ["w1", "w0"])):
        gathering.on_look(workers, now)
        waited.append(gathering.waits([FRESH], now))
    assert waited == [True, True, False]
    assert (gathering.take_grown(), gathering.take_grown()) == (True, False)


def test_a_lease_that_was_owned_waits_for_nobody() -> None:
    """What a dead or leaving worker left behind is assigned at the first look."""
    gathering = Gathering(FAILOVER_S)
    gathering.on_look(["w0"], 0.0)
    assert not gathering.waits([FRESH, GIVEN_BACK], 0.0)
    assert not gathering.waits([ObservedLease("c", "dead", None, 0)], 0.0)


def test_who_leaves_is_not_waited_for() -> None:
    """A smaller fleet is no reason to look again."""
    gathering = Gathering(FAILOVER_S)
    gathering.on_look(["w0", "w1"], 0.0)
    gathering.on_look(["w0"], 2.0)
    assert not gathering.waits([FRESH], 2.0)


@given(st.lists(st.frozensets(st.sampled_from("abcdef")), min_size=12, max_size=40))
def test_nothing_waits_longer_than_the_fail_over_time(looks: list[frozenset[str]]) -> None:
    """However workers come and go, among looks of ten seconds there is one that does not wait."""
    gathering = Gathering(FAILOVER_S)
    waited = []
    for number, workers in enumerate(looks):
        gathering.on_look(workers, 2.0 * number)
        waited.append(gathering.waits([FRESH], 2.0 * number))
    assert all(not all(waited[at : at + 6]) for at in range(len(waited) - 5))
