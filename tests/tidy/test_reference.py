"""The reference pages agree with the code, and every public name says what it gives and what it raises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import pytest

from shardline.common.metrics.names import Kcl, Kpl, metrics_of

from tests.pages import page
from tools.reference import PACKAGES, api_page, events, events_page, exported, members
from tools.rings import sources

WRITE = "write it anew: make format"
NAMES = [(package, name) for package in PACKAGES for name in exported(package)]


@pytest.mark.parametrize(("name", "written"), [("docs/api.md", api_page), ("docs/events.md", events_page)])
def test_a_page_is_as_the_sources_would_have_it(name: str, written: Any) -> None:
    """What is exported, and what is emitted, in the docstrings' words."""
    assert page(name) == written(), WRITE


def test_events_have_names_of_their_own() -> None:
    """A name stands for one event: listeners tell them apart by it."""
    names = [one.name for one in events()]
    assert sorted(set(names)) == names


def test_the_metrics_page_names_events_that_there_are() -> None:
    """Each event that a row, or the text, names; and a metric that nobody measures has no row."""
    text = page("docs/metrics.md")
    known = {one.name for one in events()}
    rows = re.findall(r"^\| `[\w.:]+` \| \w+ \| [SD, ]+\|(.*)\|$", text, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([a-z]+\.[a-z_]+)`", row)} <= known
    code = "".join(path.read_text() for name, path in sources().items() if not name.endswith("metrics.names"))
    kinds = {"Kcl": metrics_of(Kcl), "Kpl": metrics_of(Kpl)}
    used = re.findall(r"\b(Kcl|Kpl)\.([A-Z_]+)\b", code)
    measured = {kinds[kind][one].name for kind, one in used if one in kinds[kind]}
    shown = set(re.findall(r"^\| `([\w.:]+)` \| (?:Count|Bytes|Milliseconds) \|", text, re.MULTILINE))
    assert measured - shown == set()
    assert shown - measured == set()


def public() -> list[tuple[str, Any, str]]:
    """Return (dotted name, function, text that documents it) of every public function and method."""
    found: list[tuple[str, Any, str]] = []
    for package, name in NAMES:
        value = exported(package)[name]
        if inspect.isfunction(value):
            found.append((f"{package}.{name}", value, value.__doc__ or ""))
        elif inspect.isclass(value) and value.__module__.startswith("shardline."):
            beside = value.__doc__ or ""
            for one, what in members(value).items():
                inner = what.fget if isinstance(what, property) else what
                found.append((f"{package}.{name}.{one}", inner, f"{inner.__doc__ or ''} {beside}"))
    return found


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_public_name_is_documented(package: str, name: str) -> None:
    """Classes, functions, methods and properties; an alias or a constant is told by its module."""
    value = exported(package)[name]
    if not (inspect.isclass(value) or inspect.isfunction(value)) or not value.__module__.startswith("shardline."):
        assert value is not None
        return
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        assert [one for one, what in members(value).items() if not what.__doc__] == []


def test_what_a_public_function_raises_is_told() -> None:
    """The name of each typed error that its own body raises stands in its docstring, or its class says it."""
    silent: list[str] = []
    for name, function, told in public():
        if function.__name__ == "<lambda>" or not function.__module__.startswith("shardline."):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                raised = node.exc.func.id
                if raised[0].isupper() and raised not in told and raised != "AssertionError":
                    silent.append(f"{name}: {raised}")
    assert silent == []
