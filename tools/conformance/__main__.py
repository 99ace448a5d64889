"""`make conformance`: the script against every backend, a table, and each difference with its explanation.

    python -m tools.conformance [--only TEXT]

Exit status 0 when our own doors do everything as the service does and every difference of the others is explained.
Writes out/conformance.json: `backends`, `steps` (service, step, and per backend "same", "differs" or "skipped"),
`differences` (backend, step, expected, got, explanation), `ours` (differences of our doors), `unexplained`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shardline.common.ports.lease_store import TableSpec

from tools.conformance import backends
from tools.conformance.drivers import Failed
from tools.conformance.dynamodb_steps import CALL_S, T
from tools.conformance.dynamodb_steps import STEPS as DYNAMODB
from tools.conformance.explanations import EXPLANATIONS
from tools.conformance.kinesis_steps import STEPS as KINESIS
from tools.rings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from shardline.common.ports.services import Services

    from tools.conformance.drivers import Kinesis
    from tools.conformance.dynamodb_steps import DynamoStep
    from tools.conformance.kinesis_steps import Step

OUT = ROOT / "out"
OURS = ("in process", "http")


class Outcome(NamedTuple):
    """What came of one step on one backend."""

    service: str
    step: str
    backend: str
    expected: object
    got: object

    @property
    def same(self) -> bool:
        """Say whether it is what the service does."""
        return bool(self.got == self.expected)


def run_kinesis(name: str, opened: AbstractContextManager[Kinesis], steps: list[Step]) -> list[Outcome]:
    """Run the Kinesis script on one backend."""
    with opened as kinesis:
        return [
            Outcome("kinesis", step.name, name, step.expected, _attempt(kinesis, step, number))
            for number, step in enumerate(steps)
        ]


def _attempt(kinesis: Kinesis, step: Step, number: int) -> object:
    try:
        return step.act(kinesis, f"conformance-{number}")
    except Failed as failed:
        return f"refused: {failed.code}"
    except (LookupError, TypeError, ValueError, StopIteration) as error:
        return f"broke: {type(error).__name__}"  # An answer without the shape that the step reads.


def run_dynamodb(name: str, opened: AbstractContextManager[Services], steps: list[DynamoStep]) -> list[Outcome]:
    """Run the DynamoDB script on one backend, each step on a fresh table."""

    async def whole(services: Services) -> list[Outcome]:
        outcomes: list[Outcome] = []
        async with services.lease_store() as store:
            for step in steps:
                await store.create_table(TableSpec(name=T, key_attribute="leaseKey"), timeout_s=CALL_S)
                outcomes.append(Outcome("dynamodb", step.name, name, step.expected, await step.act(store)))
                await store.delete_table(T, timeout_s=CALL_S)
        return outcomes

    with opened as services:
        return asyncio.run(whole(services))


def all_outcomes(only: str) -> tuple[list[Outcome], dict[str, str]]:
    """Return the outcomes of every backend that can run, and why others cannot."""
    kinesis_steps = [s for s in KINESIS if only in s.name]
    dynamodb_steps = [s for s in DYNAMODB if only in s.name]
    openers: dict[str, Callable[[], AbstractContextManager[Kinesis]]] = {
        OURS[0]: backends.in_process,
        OURS[1]: backends.over_http,
        "moto": backends.moto,
        backends.REFEREE: lambda: backends.referee(OUT / "npm"),
    }
    outcomes: list[Outcome] = []
    skipped: dict[str, str] = {}
    for name, opener in openers.items():
        try:
            outcomes += run_kinesis(name, opener(), kinesis_steps)
        except backends.Skipped as reason:
            skipped[name] = str(reason)
            print(f"SKIPPED {name}: {reason}")
    outcomes += run_dynamodb(OURS[0], backends.tables_in_process(), dynamodb_steps)
    outcomes += run_dynamodb("moto", backends.tables_of_moto(), dynamodb_steps)
    return outcomes, skipped


def show(outcomes: list[Outcome], names: list[str]) -> None:
    """Print one line per step with a mark per backend, then the differences."""
    width = max(len(o.step) for o in outcomes)
    print(f"{'':{width}}  {'  '.join(names)}")
    for service, step in dict.fromkeys((o.service, o.step) for o in outcomes):
        of_step = {o.backend: o for o in outcomes if (o.service, o.step) == (service, step)}
        marks = [("same" if of_step[n].same else "DIFF") if n in of_step else "-" for n in names]
        line = "  ".join(f"{m:^{len(n)}}" for m, n in zip(marks, names, strict=True))
        print(f"{step:{width}}  {line}")
    print()
    for o in (o for o in outcomes if not o.same):
        print(f"{o.backend}: {o.step}\n    got {_short(o.got)} for {_short(o.expected)}\n    {explanation(o)}")


def explanation(outcome: Outcome) -> str:
    """Return why a backend differs; an empty text where nobody knows."""
    if outcome.backend in OURS:
        return "OURS: a bug"
    return EXPLANATIONS.get((outcome.backend, outcome.step), "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."  # noqa: PLR2004 - a line's width.


def report(outcomes: list[Outcome], names: list[str], skipped: dict[str, str]) -> dict[str, Any]:
    """Return what goes into out/conformance.json."""
    different = [o for o in outcomes if not o.same]
    steps = [
        {
            "service": service,
            "step": step,
            **{o.backend: "same" if o.same else "differs" for o in outcomes if (o.service, o.step) == (service, step)},
        }
        for service, step in dict.fromkeys((o.service, o.step) for o in outcomes)
    ]
    return {
        "backends": names,
        "skipped": skipped,
        "steps": steps,
        "differences": [
            {
                "backend": o.backend,
                "step": o.step,
                "expected": repr(o.expected),
                "got": _short(o.got),
                "explanation": explanation(o),
            }
            for o in different
        ],
        "ours": sum(o.backend in OURS for o in different),
        "unexplained": sum(not explanation(o) for o in different),
    }


def main() -> int:
    """Run the script; return 0 when nothing of ours differs and nothing is unexplained."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", metavar="TEXT", help="only steps whose name contains TEXT")
    options = parser.parse_args()
    outcomes, skipped = all_outcomes(options.only)
    if not outcomes:
        parser.error(f"--only {options.only}: no step has such a name")
    names = list(dict.fromkeys(o.backend for o in outcomes))
    show(outcomes, names)
    found = report(outcomes, names, skipped)
    OUT.mkdir(exist_ok=True)
    Path(OUT / "conformance.json").write_text(json.dumps(found) + "\n")
    print(f"{len(found['steps'])} steps, {len(found['differences'])} differences: {found['ours']} ours,", end=" ")
    print(f"{found['unexplained']} unexplained")
    return 1 if found["ours"] or found["unexplained"] else 0


if __name__ == "__main__":
    sys.exit(main())
