"""What the pages claim of settings, tests, planted bugs and identifiers is so: each name leads to what it names."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from shardline.common.connection import Connection, ServiceSettings
from shardline.common.limits import MIB, PUT_RECORDS_BYTES_MAX
from shardline.common.metrics import MetricsSettings
from shardline.consumer import (
    DeliveryConfig,
    LeaseConfig,
    PollingSettings,
    TableConfig,
    TrackingConfig,
    Worker,
    WorkerConfig,
)
from shardline.consumer.aws_lambda.handlers import _SETTINGS
from shardline.consumer.kcl_properties import KCL_KEYS
from shardline.consumer.lineage import FINISHED_KEPT_S
from shardline.consumer.parked_keys import KEYS_MAX
from shardline.local.faults.plan import Action
from shardline.producer import Producer, ProducerSettings, StreamSettings
from shardline.producer.config import request_bytes
from shardline.producer.kpl_properties import KPL_KEYS
from shardline.producer.outcome import Reason

from tests.pages import PAGES, page
from tests.sim.knobs import PROFILES
from tests.sim.mutants import ALL_BUGS
from tools.rings import ROOT

if TYPE_CHECKING:
    from enum import StrEnum

HOLDERS: dict[str, type] = {
    one.__name__: one
    for one in (
        *(DeliveryConfig, LeaseConfig, PollingSettings, TableConfig, TrackingConfig, WorkerConfig, Worker),
        *(ProducerSettings, StreamSettings, Producer, Connection, ServiceSettings, MetricsSettings),
    )
}


def parameters(name: str) -> set[str]:
    """Return what can be said to a class of settings, or of worker and producer."""
    return set(inspect.signature(HOLDERS[name]).parameters)


@pytest.mark.parametrize("name", PAGES)
def test_settings_that_a_page_names_exist(name: str) -> None:
    """`LeaseConfig.failover_s` and `Worker(streams=...)`: class and setting."""
    text = page(name)
    for holder, setting in re.findall(r"\b(\w+(?:Config|Settings)|Connection)\.([a-z_]+)", text):
        if holder in HOLDERS:
            assert setting in parameters(holder) or hasattr(HOLDERS[holder], setting), f"{holder}.{setting}"
    for holder, arguments in re.findall(r"`(\w+)\(([^`]*?)\)?`", text):
        if holder in HOLDERS:
            own = re.sub(r"\w\(.*", "", arguments)  # What stands within another call is that one's.
            named = set(re.findall(r"\b([a-z_]+)=(?!=)", own))
            assert named <= parameters(holder), f"{holder}: {named - parameters(holder)}"


def test_the_kpl_s_table_names_settings_of_ours() -> None:
    """A key that has a meaning stands beside the setting that it becomes; the new ones are settings, too."""
    text = page("docs/producer.md")
    rows = dict(re.findall(r"^\| ([A-Z]\w+) \| `(\w+)` \|", text, re.MULTILINE))
    ours = parameters("StreamSettings") | parameters("ProducerSettings")
    assert rows.items() >= {
        (key, meant.field.partition(".")[2])
        for key, meant in KPL_KEYS.items()
        if meant.field is not None and meant.field.partition(".")[0] in {"stream", "producer"}
    }
    assert {name for name in rows.values() if name != "codec"} <= ours
    news = re.search(r"New here: (.*)\.", text)
    assert news is not None
    assert set(re.findall(r"`(\w+)`", news[1])) <= ours


def test_the_kcl_s_table_names_the_setting_that_a_key_becomes() -> None:
    """What the page says of a key is what the code makes of it."""
    row = re.compile(r"^\| `(\w+(?:\.\w+)?)` \| `\w+\.(\w+)` \|", re.MULTILINE)
    rows = dict(row.findall(page("docs/kcl.md")))
    assert len(rows) > 30
    for key, name in rows.items():
        field = KCL_KEYS[key].field
        assert field is not None
        if field.startswith("worker."):
            assert field.rpartition(".")[2] == name


@cache
def identifiers() -> frozenset[str]:
    """Return every word of the repository's Python files and of its Makefile, and the files' names."""
    files = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    texts = (path.read_text() for path in (*files, ROOT / "Makefile"))
    return frozenset(path.stem for path in files).union(*(re.findall(r"\w+", text) for text in texts))


@pytest.mark.parametrize("name", PAGES)
def test_identifiers_in_backticks_are_the_repository_s(name: str) -> None:
    """A name with an underscore that the code does not know was renamed, or mistyped."""
    text = re.sub(r"```.*?```|test_story_\d+", "", page(name), flags=re.DOTALL)
    words = {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\b[A-Za-z]\w*_\w+\b", span)}
    assert sorted(words - identifiers()) == []


def test_stories_and_invariants_name_tests_and_bugs_that_there_are() -> None:
    """The tables of docs/testing.md: tests of stories, planted bugs, profiles."""
    text = page("docs/testing.md")
    files = ("test_stories.py", "test_delivery_stories.py")
    stories = "".join((ROOT / "tests" / "sim" / file).read_text() for file in files)
    numbers = set(re.findall(r"`test_story_(\d+)`", text))
    assert numbers == set(re.findall(r"def test_story_(\d+)_", stories))
    assert len(numbers) >= 15
    table = text.split("## Stories", 1)[1].split("### What is judged", 1)[0]
    checked = 0
    for kinds, known in (("planted bugs?", set(ALL_BUGS)), ("profiles?", set(PROFILES))):
        for listed in re.findall(rf'{kinds} ((?:"[^"]+"(?:, (?:and )?| and )?)+)', table):
            for one in re.findall(r'"([^"]+)"', listed):
                checked += 1
                prefix = one.removesuffix(" ...")
                assert any(name == one or (prefix != one and name.startswith(prefix)) for name in known), one
    assert checked >= 12


@pytest.mark.parametrize(("name", "kind"), [("docs/producer.md", Reason), ("docs/local.md", Action)])
def test_a_page_lists_all_that_there_is(name: str, kind: type[StrEnum]) -> None:
    """Each reason for which a record is not delivered, each fault that can be scripted: as the code writes it."""
    assert [one.value for one in kind if f"`{one.value}`" not in page(name)] == []


STATED: list[tuple[str, str, object, object]] = [
    ("docs/producer.md", "`memory_bytes_max` (64 MiB)", ProducerSettings().memory_bytes_max, 64 * MIB),
    ("docs/producer.md", "`linger_s` | same 100 ms", StreamSettings().linger_s, 0.1),
    ("docs/producer.md", "default 2 MiB (less", request_bytes(StreamSettings(), 64 * MIB), 2 * MIB),
    ("docs/producer.md", "at most the service's 10 MiB", PUT_RECORDS_BYTES_MAX, 10 * MIB),
    ("docs/producer.md", "1.0 instead of 150 %", StreamSettings().rate_share, 1.0),
    ("docs/worker.md", "(`handler_timeout_s`, 300)", DeliveryConfig().handler_timeout_s, 300.0),
    ("docs/worker.md", "At most 256 keys are parked per shard", KEYS_MAX, 256),
    (
        "docs/kcl.md",
        "from 0.2 s, doubling to 30 s",
        (DeliveryConfig().retry.first_s, DeliveryConfig().retry.max_s),
        (0.2, 30),
    ),
    ("docs/kcl.md", "a third of the fail-over time, 3 s at most", LeaseConfig(failover_s=60).times.timeout_s, 3.0),
    ("docs/metrics.md", "`final_timeout_s` (5 s)", MetricsSettings().final_timeout_s, 5.0),
    ("docs/lambda.md", "`reserve_s` (1 s)", _SETTINGS["reserve_s"], 1.0),
    ("docs/runbook.md", "the fail-over time (10 s by default)", LeaseConfig().failover_s, 10.0),
    ("DESIGN.md", "kept for two minutes (`FINISHED_KEPT_S`)", FINISHED_KEPT_S, 120.0),
]


@pytest.mark.parametrize(("name", "said", "value", "stated"), STATED, ids=[said for _, said, _, _ in STATED])
def test_defaults_and_ranges_are_as_stated(name: str, said: str, value: object, stated: object) -> None:
    """The page still says it, and it is so."""
    assert said in page(name)
    assert value == stated
