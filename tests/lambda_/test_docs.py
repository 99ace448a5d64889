"""What the Lambda page promises stands in the code."""

from __future__ import annotations

import re

from shardline.consumer import aws_lambda
from shardline.consumer.aws_lambda.handlers import _SETTINGS

from tools.rings import ROOT


def test_every_setting_that_the_page_names_exists() -> None:
    """A setting written as `name=` on the page is one of the decorator's (or the drop-in's)."""
    page = (ROOT / "docs" / "lambda.md").read_text()
    named = set(re.findall(r"`(?:\w+\()?([a-z_]+)=", page))
    assert named <= set(_SETTINGS) | {"consumers"}
    assert {"on_error", "resume", "reserve_s", "report", "window", "batch", "observe", "failed"} <= set(
        re.findall(r"`([a-z_]+)(?:=|`)", page)
    )


def test_every_export_can_be_imported() -> None:
    """The names a Lambda imports are there."""
    assert all(hasattr(aws_lambda, name) for name in aws_lambda.__all__)
