"""The process that fuzzes: atheris around `check_input`. tests/fuzz/__main__.py starts it, with libFuzzer's options."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["shardline.common"]):
    import shardline.common.deaggregation  # noqa: F401 - instrumented here, before the target imports it.

from tests.fuzz.target import check_input

if __name__ == "__main__":
    atheris.Setup(sys.argv, check_input)
    atheris.Fuzz()
