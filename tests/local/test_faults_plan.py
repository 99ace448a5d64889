"""The plan of faults alone: matching, counting, chance, time, and what wrong rules say."""

from __future__ import annotations

from random import Random

import pytest

from shardline.common.errors import InvalidInput
from shardline.local.faults.plan import Action, FaultPlan, FaultRule, When


def plan(*rules: FaultRule, seed: int = 0) -> FaultPlan:
    made = FaultPlan(Random(seed))
    made.set(rules, 0.0)
    return made


def met(made: FaultPlan, times: int, now: float = 0.0, operation: str = "PutRecords") -> str:
    return "".join("x" if made.take("kinesis", operation, "orders", now) else "." for _ in range(times))


def test_a_rule_acts_once_unless_told_otherwise() -> None:
    """By default the first matching request meets the fault; `skip`, `times` and None count."""
    assert met(plan(FaultRule(action=Action.DROP)), 4) == "x..."
    assert met(plan(FaultRule(action=Action.DROP, skip=1, times=2)), 5) == ".xx.."
    assert met(plan(FaultRule(action=Action.DROP, times=None)), 4) == "xxxx"


def test_rules_match_service_operation_and_resource() -> None:
    """Each of the three is a pattern; a request that does not match is not counted."""
    made = plan(FaultRule(action=Action.DROP, service="kinesis", operation="Put*", resource="ord*", skip=1))
    assert made.take("dynamodb", "PutItem", "orders", 0) is None
    assert made.take("kinesis", "GetRecords", "orders", 0) is None
    assert made.take("kinesis", "PutRecords", "other", 0) is None
    assert met(made, 3) == ".x."


def test_the_first_rule_with_something_left_takes_the_request() -> None:
    """Rules are asked in order, and one that is used up lets the next act."""
    made = plan(FaultRule(action=Action.DROP), FaultRule(action=Action.HANG))
    taken = [made.take("kinesis", "PutRecords", "", 0) for _ in range(3)]
    assert [r.action if r else None for r in taken] == [Action.DROP, Action.HANG, None]
    made.add(FaultRule(action=Action.STALE), 0)
    assert made.looks_back()
    assert made.take("dynamodb", "GetItem", "", 0) is None
    assert [(r["seen"], r["met"]) for r in made.report()] == [(1, 1), (1, 1), (0, 0)]


def test_chance_is_the_seed() -> None:
    """The same seed gives the same requests the same fate."""
    rule = FaultRule(action=Action.DROP, times=None, probability=0.5)
    first, second, third = (met(plan(rule, seed=s), 40) for s in (1, 1, 2))
    assert first == second != third
    assert "x" in first
    assert "." in first


def test_a_storm_ends_with_its_time() -> None:
    """`for_s` bounds a rule in time, from when it was set."""
    made = plan(FaultRule(action=Action.THROTTLE, times=None, for_s=10))
    assert (met(made, 2, now=10), met(made, 2, now=10.1)) == ("xx", "..")
    assert not plan()


def test_entries_fail_by_index_or_by_period() -> None:
    """`entries` names indexes, `every` counts from one."""
    rule = FaultRule(action=Action.FAIL_ENTRIES, entries=(0, 4), every=3)
    assert [i for i in range(9) if rule.fails(i)] == [0, 2, 4, 5, 8]


def test_rules_are_read_from_json() -> None:
    """Names of fields and members are the rule's own."""
    rule = FaultRule.from_json({"action": "error", "when": "after", "code": "X", "entries": [1]})
    assert rule == FaultRule(action=Action.ERROR, when=When.AFTER, code="X", entries=(1,))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "fault"),
        ({}, "fault"),
        ({"action": "explode"}, "action"),
        ({"action": "error", "when": "later"}, "when"),
        ({"action": "error", "wen": "after"}, "fault.wen"),
        ({"action": "error", "skip": -1}, "skip"),
        ({"action": "error", "delay_s": True}, "delay_s"),
        ({"action": "error", "times": 0}, "times"),
        ({"action": "error", "probability": 1.5}, "probability"),
        ({"action": "error", "for_s": -1}, "for_s"),
        ({"action": "error", "status": 200}, "status"),
        ({"action": "error", "entries": [-1]}, "entries"),
    ],
)
def test_wrong_rules_name_the_field(value: object, field: str) -> None:
    """A wrong rule is refused with the field's name."""
    with pytest.raises(InvalidInput) as refused:
        FaultRule.from_json(value)
    assert refused.value.field == field
