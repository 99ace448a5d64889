"""The exhaustive check of the lease protocol: the design's rules hold, and each broken one is found out."""

from __future__ import annotations

import time

import pytest

from tests.sim.lease_model import KNOWN_BROKEN, SOUND, Rules, explore


@pytest.mark.parametrize("name", KNOWN_BROKEN)
def test_a_broken_rule_is_found_out(name: str) -> None:
    """Each rule that is known to be wrong breaks the invariant that it is known to break, within a second."""
    rules, invariant = KNOWN_BROKEN[name]
    begin = time.process_time()
    result = explore(rules)
    print(f"{name}: {result.states} states, {time.process_time() - begin:.2f} CPU s, {result.violation}")
    assert result.violation is not None
    assert result.violation.invariant == invariant


def test_the_shortest_way_to_a_checkpoint_that_moves_backwards() -> None:
    """The finding that shaped the design: one late request of the same owner, on an epoch condition, in eight steps."""
    violation = explore(KNOWN_BROKEN["checkpoint on owner and epoch"][0]).violation
    assert violation is not None
    assert violation.steps == (
        "A delivers",
        "A sends checkpoint 1",
        "A gives up waiting",
        "A reads the row",
        "A delivers",
        "A sends checkpoint 2",
        "A's checkpoint arrives",
        "A's checkpoint arrives",
    )


@pytest.mark.slow
@pytest.mark.untraced
def test_the_rules_hold_in_every_reachable_state() -> None:
    """No reachable state of the design's protocol, late applies and lost replies included, breaks I4a, I4b or I11."""
    begin = time.process_time()
    result = explore(Rules())
    print(f"{result.states} states, {time.process_time() - begin:.1f} CPU s")
    assert result.violation is None
    assert result.states > 200_000


def test_the_larger_checks_are_named() -> None:
    """Restarts under the same name and assignment by a leader are checked by `make sim-mutants`, which has the time."""
    assert {"the design's rules", "restarts under the same name", "a leader assigns"} == set(SOUND)
