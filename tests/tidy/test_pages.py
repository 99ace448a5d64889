"""Every program that the documentation shows is run by a test: a page that nobody runs is wrong one day."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.pages import PAGES, page, programs
from tools.rings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

# Page -> for each of its Python programs, in their order, the test that runs it.
RUN_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "README.md": (
        "e2e/test_readme.py::test_produce_then_consume",
        "e2e/test_readme.py::test_produce_then_consume",
        "e2e/test_readme.py::test_lambda_snippet",
    ),
    "docs/kcl.md": ("consumer/test_blocking_worker.py::test_the_processors_of_the_guide",) * 2,
    "docs/lambda.md": ("lambda_/test_docs.py::test_the_page_s_program",),
    "docs/local.md": (
        "local/test_local_docs.py::test_the_endpoint_for_a_client_of_any_kind",
        "local/test_local_docs.py::test_the_ports_without_a_network",
        "local/test_local_docs.py::test_the_proxy_in_front_of_the_endpoint",
    ),
    "docs/metrics.md": (
        "e2e/test_metrics_page.py::test_cloudwatch_gets_what_producer_and_worker_publish",
        "e2e/test_metrics_page.py::test_cloudwatch_gets_what_producer_and_worker_publish",
        *("e2e/test_metrics_page.py::test_the_other_backends_programs_run",) * 4,
    ),
    "docs/producer.md": ("producer/test_producer_docs.py::test_the_programs_write",) * 2,
    "docs/testing.md": ("sim/test_pytest_plugin.py::test_the_documented_tests_pass",) * 4,
    "docs/worker.md": (
        "consumer/test_worker_docs.py::test_the_handler",
        "consumer/test_worker_docs.py::test_the_subscriber",
        "consumer/test_worker_docs.py::test_the_sink",
        "consumer/test_worker_docs.py::test_the_backfill",
        "consumer/test_worker_docs.py::test_the_pulled_batches",
        "consumer/test_worker_docs.py::test_the_processor",
        "consumer/test_worker_docs.py::test_the_replay",
        "consumer/test_worker_docs.py::test_the_many_streams",
        "consumer/test_blocking_worker.py::test_the_documentation_s_batches",
        "consumer/test_worker_docs.py::test_the_state_of_ones_own",
    ),
}
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", PAGES)
def test_each_program_has_a_test_that_runs_it(name: str) -> None:
    """As many programs as tests are named, and the tests exist."""
    tests = RUN_BY.get(name, ())
    assert len(programs(name)) == len(tests)
    for test in tests:
        file, _, function = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """To files of the repository, and to headings on their pages."""
    for target in LINK.findall(page(name)):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_and_files_that_a_page_names_are_there(name: str) -> None:
    """`make TARGET` in a page is a target; a path in backticks is one of the repository's (or of a test area's)."""
    text = page(name)
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)) <= targets
    text = re.sub(r"`[\w/]*NAME[\w/.]*`", "", text)  # What stands for a name.
    named = set(re.findall(r"`((?:[a-z_]+/)+[\w.]+\.(?:py|md|txt|toml))(?:::\w+)?`", text))
    folders = (ROOT, ROOT / "tests", *ROOT.glob("*/shardline"))
    assert [one for one in sorted(named) if not any((folder / one).exists() for folder in folders)] == []
