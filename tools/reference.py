"""Writes docs/api.md and docs/events.md from the sources: `python -m tools.reference`; a tidy test compares.

What is public is what the packages below export, and what their classes define without a leading underscore. A line is
the first sentence of a docstring: whoever finds one that says too little here mends it there.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from shardline.common.events import Event

from tools.rings import ROOT, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PACKAGES", "api_page", "events", "events_page", "exported", "members"]

PACKAGES: Final = (
    "shardline.producer",
    "shardline.producer.blocking",
    "shardline.consumer",
    "shardline.consumer.blocking",
    "shardline.consumer.kclpy",
    "shardline.consumer.aws_lambda",
    "shardline.consumer.aws_lambda.powertools",
    "shardline.common",
    "shardline.common.errors",
    "shardline.common.events",
    "shardline.common.metrics",
    "shardline.common.codec",
    "shardline.common.deaggregation",
    "shardline.common.compat",
    "shardline.local",
    "shardline.local.sim",
)
_OURS: Final = frozenset(
    ("bind", "lane", "new_part", "open", "replace", "resolve", "settle", "undelivered", "wake", "measurements")
)
"""Methods without an underscore that only our own drivers call."""


def exported(package: str) -> dict[str, Any]:
    """Return the public names of a package with what they stand for, in alphabetical order."""
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in sorted(module.__all__)}


def members(cls: type) -> dict[str, Any]:
    """Return the public methods and properties that a class (or a base of ours) defines, in the order of the source."""
    found: dict[str, Any] = {}
    for base in reversed([one for one in cls.__mro__ if one.__module__.startswith("shardline.")]):
        for name, value in vars(base).items():
            inner: Any = getattr(value, "__func__", value)  # Of a class method, or a static one.
            if (
                not name.startswith("_")
                and name not in _OURS
                and (inspect.isfunction(inner) or isinstance(inner, property))
            ):
                found[name] = inner
    return found


def events() -> list[type[Event]]:
    """Return every kind of event that shardline emits, by name."""
    for module in sources():
        importlib.import_module(module)
    return sorted({one for one in _below(Event) if "name" in vars(one)}, key=lambda one: one.name)


def _below(cls: type[Event]) -> Iterator[type[Event]]:
    for one in cls.__subclasses__():
        # A dataclass with slots leaves the class that it was made from behind.
        if one.__module__.startswith("shardline.") and getattr(sys.modules[one.__module__], one.__name__) is one:
            yield one
        yield from _below(one)


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring as one line that fits into a table."""
    paragraph = " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph + " ")[0].rstrip(" :").replace("|", "\\|")


def signature(value: Callable[..., object]) -> str:
    """Return a callable's parameters without annotations and without `self`, or nothing where it has none to show."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    shown = [
        one.replace(annotation=inspect.Parameter.empty, default=_default(one.default))
        for name, one in found.parameters.items()
        if name not in {"self", "cls"}
    ]
    return str(found.replace(parameters=shown, return_annotation=inspect.Signature.empty))


class _Shown:
    """A default as it is written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _default(value: object) -> object:
    if isinstance(value, Enum):
        return _Shown(f"{type(value).__name__}.{value.name}")
    if value in (inspect.Parameter.empty, None, ()) or isinstance(value, bool | int | float | str):
        return value
    return _Shown("...")


def _entry(name: str, value: Any) -> Iterator[str]:  # noqa: ANN401 - a class or a function, whatever is exported.
    if inspect.isclass(value) and issubclass(value, Enum):
        yield f"### `{name}`: {', '.join(f'`{one.name}`' for one in value)}"
    elif inspect.isclass(value):
        is_error = issubclass(value, BaseException) or issubclass(value, Event)
        yield f"### `{name}{'' if is_error or inspect.isabstract(value) else signature(value)}`"
    else:
        yield f"### `{name}{signature(value)}`"
    yield from ("", first_sentence(value.__doc__), "")
    if inspect.isclass(value):
        rows = [
            f"- `{one}{'' if isinstance(what, property) else signature(what)}`: {first_sentence(what.__doc__)}"
            for one, what in members(value).items()
            if what.__doc__
        ]
        yield from rows
        if rows:
            yield ""


def api_page() -> str:
    """Return docs/api.md."""
    lines = [
        "# The public names",
        "",
        "Written by `python -m tools.reference` from the docstrings, which say more: what is returned, what is raised",
        "and when, what cancellation does. `help(name)` shows them.",
        "",
    ]
    for package in PACKAGES:
        lines += [f"## `{package}`", ""]
        for name, value in exported(package).items():
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("shardline."):
                lines += _entry(name, value)
    return "\n".join(lines).rstrip() + "\n"


def events_page() -> str:
    """Return docs/events.md."""
    lines = [
        "# The events",
        "",
        "Written by `python -m tools.reference` from the sources. Listeners get every event; `LogListener` logs it",
        "under its name and at its level; what it measures stands in [metrics.md](metrics.md). Names and fields are",
        "stable. No field holds a payload, a partition key or a credential.",
    ]
    for title, part in (("Producer", "producer"), ("Worker", "consumer"), ("Both", "common")):
        lines += ["", f"## {title}", "", "| event | level | says | fields |", "|---|---|---|---|"]
        for one in events():
            if one.__module__.split(".")[1] == part:
                named = ", ".join(f"`{field.name}`" for field in fields(one))
                lines.append(f"| `{one.name}` | {one.level} | {first_sentence(one.__doc__)} | {named} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(api_page())
    (ROOT / "docs" / "events.md").write_text(events_page())
