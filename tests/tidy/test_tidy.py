"""The house rules, as tests: what a linter cannot say, or says only about one file at a time.

Which rules a module is under depends on its ring (`[tool.shardline.rings]` in pyproject.toml, with the reasons).
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tools.rings import PACKAGES, RINGS, ROOT, ring_of, sources, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FUNCTION_LINES_MAX = 70
NOT_OURS = {".venv", "out", "dist", "__pycache__", ".hypothesis"} | {
    f".{tool}_cache" for tool in ("mypy", "ruff", "pytest", "import_linter")
}
CORE_TEST_AREAS = {"common", "producer", "consumer", "lambda_"}

# Calls that bypass the Runtime port: banned in cores, drivers and adapters; "edge" modules are where they come from.
BANNED_CALLS = (
    (r"time\.\w+", "time is an argument; drivers ask Runtime.monotonic and Runtime.wall"),
    (r"datetime\.(datetime\.(now|utcnow|today)|date\.today)", "time is an argument"),
    (r"random\.(?!Random$)\w+", "chance is a random.Random given at construction"),
    (r"secrets\.\w+|os\.urandom|uuid\.uuid[14]", "chance is a random.Random given at construction"),
    (r"asyncio\.(create_task|ensure_future|to_thread|run)", "tasks and threads come from the Runtime"),
    (r"~(\w+\.)*\w*loop\.(create_task|run_in_executor)", "tasks and threads come from the Runtime"),
    (r"asyncio\.get_(running|event)_loop\(\)\.(create_task|run_in_executor|time)", "they come from the Runtime"),
    (r"threading\.(Thread|Timer)|concurrent\.futures\.ThreadPoolExecutor", "threads come from the Runtime"),
    (r"print", "the command line prints; the rest emits events"),
)
# Cores are plain synchronous code besides: no lock, no log handler.
BANNED_CALLS_CORES = (
    (r"threading\.\w+", "a core has one owner; its driver locks"),
    (r"(logging|structlog)\.\w+", "a core returns events"),
    (r"open", "a core does no I/O"),
)


def tracked() -> list[Path]:
    """Return every file under version control or about to be, existing on disk; in an unpacked sdist, every file."""
    if not (ROOT / ".git").exists():
        return [
            path for path in ROOT.rglob("*") if path.is_file() and NOT_OURS.isdisjoint(path.relative_to(ROOT).parts)
        ]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    """Return the repository's Python files."""
    return [path for path in tracked() if path.suffix == ".py"]


def text_files() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each tracked file that is text."""
    for path in tracked():
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return local name -> full dotted name, of every import in the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def called_name(call: ast.Call, names: dict[str, str]) -> str:
    """Return the called expression, an imported first name spelled out, that of a local object marked with "~"."""
    if not isinstance(call.func, ast.Name | ast.Attribute):
        return ""
    head, dot, rest = ast.unparse(call.func).partition(".")
    return names.get(head, f"~{head}" if dot else head) + dot + rest


def banned_calls(tree: ast.AST, rules: tuple[tuple[str, str], ...]) -> list[str]:
    """Return "line: call (reason)" for each call in `tree` that a rule of `rules` matches."""
    names = imported_names(tree)
    calls = [(node.lineno, called_name(node, names)) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [f"{line}: {name} ({why})" for line, name in calls for pattern, why in rules if re.fullmatch(pattern, name)]


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the file's syntax tree."""
    return ast.parse(path.read_text())


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of the file, methods and nested ones included."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_namespace_has_no_init() -> None:
    """No `shardline/` folder holds an `__init__.py`: it would hide the other four packages."""
    assert [path for path in python_files() if path.parent.name == "shardline" and path.name == "__init__.py"] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    """Each package says `py.typed`, so that users' type checkers read it."""
    assert (ROOT / package / "shardline" / package / "py.typed").is_file()


def test_rings_are_known_and_reasoned() -> None:
    """Each entry of the table of rings names a module that exists, a ring other than the default, and a reason."""
    rings = table()
    assert {ring for ring, _ in rings.values()} <= set(RINGS[1:])
    assert [prefix for prefix, (_, why) in rings.items() if len(why.split()) < 4] == []
    assert rings.keys() - sources().keys() == set()


def test_functions_are_short() -> None:
    """No function is longer than the hard limit."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files()
        for node in functions(tree_of(path))
        if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_clock_chance_task_or_thread_outside_the_runtime() -> None:
    """Cores, drivers and adapters call no clock, random module, task or thread of their own."""
    rings = table()
    found: list[str] = []
    for module, path in sources().items():
        ring = ring_of(module, rings)
        if ring == "edge":
            continue
        rules = BANNED_CALLS + BANNED_CALLS_CORES if ring == "core" else BANNED_CALLS
        found += [f"{path.relative_to(ROOT)}:{call}" for call in banned_calls(tree_of(path), rules)]
    assert found == []


def test_cores_are_synchronous() -> None:
    """No core awaits anything: it decides, its driver awaits (a Protocol may declare one)."""
    rings = table()
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path in sources().items()
        if ring_of(module, rings) == "core"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert found == []


def test_the_ban_finds_what_it_bans() -> None:
    """The ban's patterns match the calls they are for, and leave the permitted ones alone."""
    banned = (
        "from time import monotonic as tick; from datetime import datetime; import random as dice\n"
        "import time, uuid, os, asyncio, threading\n"
        "tick(); time.time(); datetime.now(); dice.random(); uuid.uuid4(); os.urandom(8); asyncio.create_task(x)\n"
        "self._loop.create_task(x); loop.create_task(x); asyncio.get_running_loop().create_task(x); print(1)\n"
        "asyncio.to_thread(f); threading.Thread()\n"
    )
    permitted = (
        "import asyncio; from random import Random\n"
        "Random(7); random.random(); asyncio.sleep(1); asyncio.timeout(1); runtime.monotonic(); reprint(1)\n"
    )
    assert len(banned_calls(ast.parse(banned), BANNED_CALLS)) == 13
    assert banned_calls(ast.parse(permitted), BANNED_CALLS) == []


def test_no_leftover_markers() -> None:
    """Nothing is left for later in a comment: open ends belong in the tracker."""
    words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
    marker = re.compile(rf"\b({'|'.join(words)})\b")
    found = [
        f"{name}:{number}"
        for name, text in text_files()
        if name != "LICENSE" and not name.startswith(("requirements/", "tests/fuzz/corpus/"))
        for number, line in enumerate(text.splitlines(), 1)
        if marker.search(line)
    ]
    assert found == []


def test_exceptions_to_the_checkers_carry_a_reason() -> None:
    """Each silenced finding names its code and says, beside it, why it is silenced."""
    noqa = re.compile(r"#\s*(?:no" + r"qa|ruff:\s*no" + r"qa)\b(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?(?P<why>.*)")
    ignore = re.compile(r"#\s*(?:ty" + r"pe|pyri" + r"ght):\s*ignore(?:\[[\w, -]+\])?(?P<why>.*)")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in (noqa.search(line) or ignore.search(line),)
        if match is not None and len(match["why"].strip(" #.-")) < 8
    ]
    assert found == []


def test_no_package_host_and_no_machine_path() -> None:
    """No tracked file names a package registry's host or a path of one machine."""
    hosts = ["pypi" + r"\.org", "pythonhosted" + r"\.org", r"registry\.npm" + r"js", "index" + r"-url [a-z]"]
    paths = ["/" + "work/", "/" + r"tmp/[a-z]", "/" + "root/", "/" + r"home/\w", "/" + "farm/", "/" + "Users/"]
    pattern = re.compile("|".join(hosts + paths))
    found = [
        f"{name}:{number}"
        for name, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def asserts_something(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether the test has an assertion: `assert`, `raises`, or a helper whose name says so."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and re.search(
            r"(^|[._])(raises|warns|fail|assert|check|expect)", called_name(node, {})
        ):
            return True
    return False


def test_tests_state_and_prove_a_fact() -> None:
    """Every test has a docstring that states its fact, and asserts something."""
    tests = [
        (path, node)
        for path in python_files()
        if path.is_relative_to(ROOT / "tests") and path.name.startswith("test_")
        for node in functions(tree_of(path))
        if node.name.startswith("test_")
    ]
    assert [f"{path.name}:{node.lineno}" for path, node in tests if not ast.get_docstring(node)] == []
    assert [f"{path.name}:{node.lineno}" for path, node in tests if not asserts_something(node)] == []


def test_core_tests_neither_sleep_nor_mock() -> None:
    """The areas of core tests import no mock and call no `time.sleep`: cores are fed, and their effects compared."""
    found: list[str] = []
    for path in python_files():
        if not path.is_relative_to(ROOT / "tests") or path.relative_to(ROOT / "tests").parts[0] not in CORE_TEST_AREAS:
            continue
        tree = tree_of(path)
        mocks = [name for name in imported_names(tree).values() if re.match(r"(unittest\.)?mock\b", name)]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in mocks]
        found += [f"{path.relative_to(ROOT)}:{call}" for call in banned_calls(tree, ((r"time\.sleep", "a sleep"),))]
    assert found == []


def test_test_files_have_unique_names() -> None:
    """With importmode importlib two test files of one name still confuse people and reports."""
    names = [path.name for path in python_files() if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_agree(package: str) -> None:
    """A package's table of lazy exports, its `__all__` and its TYPE_CHECKING imports name the same things."""
    module = importlib.import_module(f"shardline.{package}")
    tree = ast.parse((ROOT / package / "shardline" / package / "__init__.py").read_text())
    imported = {
        (alias.asname or alias.name, (node.module or "").removeprefix(f"shardline.{package}."))
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(module.__all__) == sorted(module._EXPORTS)
    assert imported == set(module._EXPORTS.items())
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []
