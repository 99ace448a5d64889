"""DESIGN.md against the tree: its file map names every module once, and nothing that is not there."""

from __future__ import annotations

import re

import pytest

from tools.rings import ROOT, sources

DESIGN = (ROOT / "DESIGN.md").read_text()
FILE_MAP = DESIGN.split("\n## File map\n", 1)[1].split("\n## ", 1)[0]
# "### `folder`: what it does", and the text up to the next heading.
SECTION = re.compile(r"^### `([\w/]+)`.*?$(.*?)(?=^### |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS: dict[str, str] = dict(SECTION.findall(FILE_MAP))


def rows(text: str) -> list[str]:
    """Return the names that stand in the first column of a section's table."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w/.]+)`", cell)]


def modules() -> set[str]:
    """Return the modules as files without suffix; a package's `__init__` is its folder's, and needs no row."""
    files = [path.relative_to(ROOT).with_suffix("") for path in sources().values()]
    return {str(path) for path in files if path.name != "__init__"}


def test_every_module_stands_in_the_file_map_once() -> None:
    """A module without a row is a module that nobody is told about; a row without a module tells of what is gone."""
    named = [f"{folder}/{name}" for folder, text in SECTIONS.items() for name in rows(text)]
    assert sorted(named) == sorted(modules())


@pytest.mark.parametrize("folder", rows(FILE_MAP.split("\n### The rest\n", 1)[1]))
def test_every_other_folder_is_there(folder: str) -> None:
    """The folders outside the five packages exist."""
    assert (ROOT / folder).is_dir()
