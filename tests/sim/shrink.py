"""Reduce a failing world to the knobs that it needs, and print it as a script that can become a regression test."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.sim.knobs import Knobs
from tests.sim.world import Result, run_world

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shrink"]

_GROUPS = ("kinesis", "dynamodb", "rates", "handler")
_SMALLER = {"workers": 1, "shards": 1, "producers": 1, "keys": 1}


def shrink(knobs: Knobs, *, rounds: int = 3) -> int:
    """Print the smallest failing variant found; return 1 if the world fails at all."""
    first = run_world(knobs)
    if not first.failed:
        print(f"seed {knobs.seed} ({knobs.profile}) does not fail")
        return 0
    symptom = _symptom(first)
    for _ in range(rounds):
        before = knobs
        for smaller in _variants(knobs):
            if _symptom(run_world(smaller)) == symptom:
                knobs = smaller
        if knobs == before:
            break
    print(f"# {symptom}")
    print(f"run_world(Knobs({', '.join(_differences(knobs, Knobs(seed=knobs.seed, profile=knobs.profile)))}))")
    return 1


def _symptom(result: Result) -> str:
    if result.violations:
        return result.violations[0].invariant
    return result.error.partition(":")[0]


def _variants(knobs: Knobs) -> Iterator[Knobs]:
    """Yield the world with one thing less, each."""
    for group in _GROUPS:
        value = getattr(knobs, group)
        for one in fields(value):
            if getattr(value, one.name) != one.default:
                yield replace(knobs, **{group: replace(value, **{one.name: one.default})})
    plain = Knobs(seed=knobs.seed, profile=knobs.profile)
    for one in fields(knobs):
        fixed = one.name in {*_GROUPS, "seed", "profile", *_SMALLER}
        if not fixed and getattr(knobs, one.name) != getattr(plain, one.name):
            yield replace(knobs, **{one.name: getattr(plain, one.name)})
    for name, least in _SMALLER.items():
        if getattr(knobs, name) > least:
            yield replace(knobs, **{name: getattr(knobs, name) - 1})


def _differences(value: Any, plain: Any) -> list[str]:
    """Return the fields of a dataclass that differ from a plain one, as arguments."""
    found: list[str] = []
    for one in fields(value):
        mine, theirs = getattr(value, one.name), getattr(plain, one.name)
        if is_dataclass(mine) and mine != theirs:
            found.append(f"{one.name}={type(mine).__name__}({', '.join(_differences(mine, theirs))})")
        elif mine != theirs or one.name in {"seed", "profile"}:
            found.append(f"{one.name}={mine!r}")
    return found
