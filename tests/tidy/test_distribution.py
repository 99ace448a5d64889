"""The distribution as users get it: built once, looked into, installed without dependencies away from the sources."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from typing import TYPE_CHECKING

import pytest

from tools.rings import PACKAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel built from that sdist by the locked back end."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=240,
    )
    return out


def only(folder: Path, pattern: str) -> Path:
    """Return the one file of the folder that matches."""
    (path,) = folder.glob(pattern)
    return path


def test_wheel_holds_the_five_packages_and_nothing_else(built: Path) -> None:
    """The wheel has each package with `py.typed`, no namespace `__init__`, and no tests, benches or tools."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        names = wheel.namelist()
    assert {name for name in names if name.endswith("py.typed")} == {f"shardline/{p}/py.typed" for p in PACKAGES}
    assert {f"shardline/{package}/__init__.py" for package in PACKAGES} <= set(names)
    assert "shardline/__init__.py" not in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"shardline"}


def test_wheel_declares_no_dependency_outside_the_extras(built: Path) -> None:
    """`pip install shardline` installs shardline alone; everything else hangs on an extra."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = wheel.read(name).decode()
    requires = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert requires
    assert [line for line in requires if "extra ==" not in line] == []


def test_sdist_holds_what_the_tests_need(built: Path) -> None:
    """The sdist has sources, tests, locks and the Makefile, so that a packager can run `make test` from it."""
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "requirements/check.txt", "tests/conftest.py"}
    assert wanted <= names
    assert {f"{package}/shardline/{package}/py.typed" for package in PACKAGES} <= names
    assert [name for name in names if name.startswith(("out/", ".venv/", "dist/"))] == []


def test_installed_wheel_works_without_dependencies(built: Path, tmp_path: Path) -> None:
    """In a bare environment the wheel installs alone, and deaggregation works from it, not from the sources."""
    venv.create(tmp_path / "bare", with_pip=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", str(only(built, "*.whl"))]
    subprocess.run(install, check=True, capture_output=True, cwd=tmp_path, timeout=240)
    code = (
        "import shardline.common, shardline.producer, shardline.consumer, shardline.local, shardline.cli\n"
        "from shardline.common.deaggregation import deaggregate\n"
        "assert [record.data for record in deaggregate(b'payload', 'key')] == [b'payload']\n"
        "print(*shardline.__path__)"
    )
    run = subprocess.run(
        [python, "-I", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert run.stdout.strip().startswith(str(tmp_path))
    assert str(ROOT) not in run.stdout
