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
        for group, name, value in _steps(knobs):
            failing = _failing(_changed(knobs, group, name, value), symptom)
            knobs = failing or knobs
        if knobs == before:
            break
    print(f"# {symptom}")
    print(f"run_world(Knobs({', '.join(_differences(knobs, Knobs(seed=knobs.seed, profile=knobs.profile)))}))")
    return 1


def _symptom(result: Result) -> str:
    if result.violations:
        return result.violations[0].invariant
    return result.error.partition(":")[0]


def _failing(smaller: Knobs, symptom: str) -> Knobs | None:
    """Return the smaller world with a seed that still shows the symptom: less to draw draws otherwise."""
    for seed in dict.fromkeys((smaller.seed, 1, 2, 3)):
        candidate = replace(smaller, seed=seed)
        if _symptom(run_world(candidate)) == symptom:
            return candidate
    return None


def _steps(knobs: Knobs) -> Iterator[tuple[str, str, Any]]:
    """Yield (group or empty, knob, smaller value) for everything that can be taken away."""
    for group in _GROUPS:
        for one in fields(getattr(knobs, group)):
            if getattr(getattr(knobs, group), one.name) != one.default:
                yield group, one.name, one.default
    plain = Knobs(seed=knobs.seed, profile=knobs.profile)
    for one in fields(knobs):
        fixed = one.name in {*_GROUPS, "seed", "profile", *_SMALLER}
        if not fixed and getattr(knobs, one.name) != getattr(plain, one.name):
            yield "", one.name, getattr(plain, one.name)
    for name, least in _SMALLER.items():
        for value in range(least, getattr(knobs, name)):
            yield "", name, value


def _changed(knobs: Knobs, group: str, name: str, value: Any) -> Knobs:
    if group:
        return replace(knobs, **{group: replace(getattr(knobs, group), **{name: value})})
    return replace(knobs, **{name: value}) if value < getattr(knobs, name) or name not in _SMALLER else knobs


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
