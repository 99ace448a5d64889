"""The lazy exports of the packages' `__init__` files."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from shardline.common._lazy import exports


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a package of one good module, `fruit`, and put the package where import finds it."""
    fruit = ModuleType("basket.fruit")
    fruit.__dict__["Apple"] = "an apple"
    monkeypatch.setitem(sys.modules, "basket", ModuleType("basket"))
    monkeypatch.setitem(sys.modules, "basket.fruit", fruit)
    return "basket"


def test_a_name_is_imported_when_it_is_used(package: str) -> None:
    """A name of the table comes from its module, and `dir` lists the table in order."""
    get, names = exports(package, {"Pear": "fruit", "Apple": "fruit"})
    assert get("Apple") == "an apple"
    assert names() == ["Apple", "Pear"]


def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    """A name outside the table fails as on any module, so that `hasattr` and typos behave."""
    get, _ = exports(package, {"Apple": "fruit"})
    with pytest.raises(AttributeError, match="module 'basket' has no attribute 'Plum'"):
        get("Plum")


def test_a_missing_library_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a library of the extra is absent, the error names the library and the pip install."""
    monkeypatch.setitem(sys.modules, "basket.fruit", None)
    get, _ = exports(package, {"Apple": "fruit"}, extra="producer")
    with pytest.raises(ModuleNotFoundError, match=r"basket\.Apple needs .*: run pip install 'shardline\[producer\]'"):
        get("Apple")


def test_a_missing_module_of_ours_is_no_missing_extra() -> None:
    """A fault of ours is not explained away as a missing library."""
    get, _ = exports("shardline.common", {"Apple": "no_such_module"}, extra="producer")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'shardline\.common\.no_such_module'"):
        get("Apple")


def test_importing_the_packages_imports_nothing_else() -> None:
    """Importing all five packages loads no module of ours but the helper, and none of the heavy standard ones."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import shardline.common, shardline.producer, shardline.consumer, shardline.local, shardline.cli\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    # -S: without `site`, whose .pth files import half the library in an editable install.
    bare = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n{code}"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", bare], check=True, capture_output=True, text=True
    ).stdout.split()
    ours = [name for name in loaded if name.startswith("shardline.")]
    assert ours == [
        "shardline.cli",
        "shardline.common",
        "shardline.common._lazy",
        "shardline.consumer",
        "shardline.local",
        "shardline.producer",
    ]
    assert {"asyncio", "dataclasses", "inspect", "logging"}.isdisjoint(loaded)
