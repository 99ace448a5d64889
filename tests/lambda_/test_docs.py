"""What the Lambda page promises stands in the code."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from shardline.consumer import aws_lambda
from shardline.consumer.aws_lambda.handlers import _SETTINGS

from tests.lambda_.events import Context, aggregate, event
from tests.pages import programs, run_in_coroutine
from tools.rings import ROOT

if TYPE_CHECKING:
    import pytest


def test_every_setting_that_the_page_names_exists() -> None:
    """A setting written as `name=` on the page is one of the decorator's (or the drop-in's)."""
    page = (ROOT / "docs" / "lambda.md").read_text()
    named = set(re.findall(r"`(?:\w+\()?([a-z_]+)=", page))
    assert named <= set(_SETTINGS) | {"consumers"}
    assert {"on_error", "resume", "reserve_s", "report", "window", "batch", "observe", "failed"} <= set(
        re.findall(r"`([a-z_]+)(?:=|`)", page)
    )


def test_the_page_s_program(capsys: pytest.CaptureFixture[str]) -> None:
    """It charges each order once, sub-records by ids of their own; what is no order is named."""
    names = asyncio.run(run_in_coroutine(programs("docs/lambda.md")[0], "docs/lambda.md"))
    order = b'{"id": 1, "total": 2.5}'
    given = event(order, aggregate(order, order), b"no order")
    answer = names["handler"](given, Context(9000))
    number = given["Records"][2]["kinesis"]["sequenceNumber"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": number}]}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2.5"] * 3
    assert len(set(lines)) == 3


def test_every_export_can_be_imported() -> None:
    """The names a Lambda imports are there."""
    assert all(hasattr(aws_lambda, name) for name in aws_lambda.__all__)
