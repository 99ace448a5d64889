"""The conformance script on our own doors: a difference of ours is a bug; `make conformance` runs the others too."""

from __future__ import annotations

import pytest

from tools.conformance import backends
from tools.conformance.__main__ import Outcome, explanation, report, run_dynamodb, run_kinesis
from tools.conformance.dynamodb_steps import STEPS as DYNAMODB
from tools.conformance.explanations import EXPLANATIONS
from tools.conformance.kinesis_steps import STEPS as KINESIS


@pytest.mark.parametrize("door", ["in process", "http"])
def test_our_kinesis_does_what_the_service_does(door: str) -> None:
    """Every step of the script comes out as the service's documentation and model say."""
    opener = {"in process": backends.in_process, "http": backends.over_http}[door]
    assert [o for o in run_kinesis(door, opener(), KINESIS) if not o.same] == []


def test_our_tables_do_what_dynamodb_does() -> None:
    """The in-memory tables judge every step as DynamoDB does."""
    assert [o for o in run_dynamodb("in process", backends.tables_in_process(), DYNAMODB) if not o.same] == []


def test_explanations_are_of_steps_that_exist() -> None:
    """No explanation outlives its step, and none excuses a door of ours."""
    names = {step.name for step in KINESIS} | {step.name for step in DYNAMODB}
    assert {step for _, step in EXPLANATIONS} <= names
    assert {backend for backend, _ in EXPLANATIONS} <= {"moto", backends.REFEREE}


def test_a_difference_of_ours_or_without_a_reason_is_counted() -> None:
    """The report counts what is ours and what nobody explains."""
    known = next(iter(EXPLANATIONS))
    outcomes = [
        Outcome("kinesis", "a", "http", 1, 2),
        Outcome("kinesis", "a", "moto", 1, 2),
        Outcome("kinesis", known[1], known[0], 1, 2),
        Outcome("kinesis", "a", "in process", 1, 1),
    ]
    found = report(outcomes, ["in process", "http", "moto"], {"kinesis-local": "no node"})
    assert (found["ours"], found["unexplained"], len(found["differences"])) == (1, 1, 3)
    assert explanation(outcomes[2]) == EXPLANATIONS[known]
