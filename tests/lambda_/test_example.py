"""The Lambda example, invoked as the event source mapping would."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lambda_.events import ALL_DONE, Context, aggregate, event, record
from tests.lambda_.mapping import Mapping
from tools.rings import ROOT

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = ROOT / "examples" / "lambda"


@pytest.fixture
def app() -> ModuleType:
    """Load the example's module anew."""
    spec = importlib.util.spec_from_file_location("lambda_example", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["lambda_example"] = module
    spec.loader.exec_module(module)
    return module


def order(number: int, cents: int = 100) -> bytes:
    """Return an order as its producer writes it."""
    return json.dumps({"id": number, "customer": f"c{number % 3}", "cents": cents}).encode()


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("bisect", [False, True])
def test_orders_are_charged_once_each(app: ModuleType, lanes: int, bisect: bool) -> None:
    """Batches, retries, bisection and lanes: each order that can be charged is, and only the bad one is discarded."""
    records = [
        (
            number,
            aggregate(*(order(10 * number + sub, -1 if number == 4 and sub == 1 else 100) for sub in range(3))),
            key,
        )
        for number, key in enumerate("abcabcab", 1)
    ]
    mapping = Mapping(
        app.handler, records, passed=lambda _number: None, batch_max=3, lanes=lanes, bisect=bisect, attempts_max=8
    )
    mapping.run(Context(60_000))
    charged = {key.rpartition(":")[0].rpartition(":")[2] + ":" + key.rpartition(":")[2] for key in app.CHARGED}
    expected = {f"{number}:{sub}" for number, _, _ in records for sub in range(3) if number not in mapping.discarded}
    assert expected <= charged
    assert 4 in mapping.discarded


def test_one_line_per_invocation(app: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The tally is printed for a metric filter."""
    assert app.handler(event(order(1), aggregate(order(2), order(3))), Context(60_000)) == ALL_DONE
    assert capsys.readouterr().out == "processed=3 failed=0 malformed=0\n"


def test_totals_of_a_window(app: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """State goes through the invocations of a window, and the last one prints it."""
    window: dict[str, Any] = {"window": {"start": "12:00", "end": "12:05"}, "shardId": "s", "eventSourceARN": "a"}
    first = app.totals(event(aggregate(order(1), order(2)), state={}, **window), Context(60_000))
    last = app.totals(
        event(record(order(3)), state=first["state"], isFinalInvokeForWindow=True, **window), Context(60_000)
    )
    assert last == {"state": {"count": 3, "cents": 300}, "batchItemFailures": []}
    assert capsys.readouterr().out == "12:00 to 12:05: 3 orders, 300 cents\n"


def test_the_template_reports_partial_failures() -> None:
    """Both functions ask Lambda to read their answers; without it an answer is ignored and failures are lost."""
    template = (FOLDER / "template.yaml").read_text()
    assert template.count("Type: AWS::Serverless::Function") == template.count("[ReportBatchItemFailures]") == 2
