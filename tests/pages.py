"""The documentation as tests read it: a page's programs, and how one is run that stands in a coroutine."""

from __future__ import annotations

import ast
import re
from typing import Any

from tools.rings import ROOT

__all__ = ["PAGES", "page", "program_below", "programs", "run_in_coroutine"]

_DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").iterdir())
PAGES = ("README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md", "SECURITY.md", *_DOCS)


def page(name: str) -> str:
    """Return a page's text."""
    return (ROOT / name).read_text()


def programs(name: str) -> list[str]:
    """Return the Python programs of a page, in their order."""
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


def program_below(name: str, heading: str) -> str:
    """Return the first Python program below a heading of a page."""
    section = page(name).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return section.split("```python\n", 1)[1].split("```", 1)[0]


async def run_in_coroutine(program: str, name: str) -> dict[str, Any]:
    """Run a program that may await at its top level; return its names."""
    names: dict[str, Any] = {"__name__": "example"}
    code = compile(program, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    answer = eval(code, names)
    if answer is not None:
        await answer
    return names
