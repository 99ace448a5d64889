"""Every module can be imported: what only type checkers import is imported here too."""

from __future__ import annotations

import importlib

import pytest

from tools.rings import sources

MODULES = [name for name in sources() if not name.endswith("__main__")]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports(module: str) -> None:
    """The module is importable as it is named: no import cycle, no name that has moved, nothing missing."""
    assert importlib.import_module(module).__name__ == module
