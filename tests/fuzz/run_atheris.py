"""The process that fuzzes: atheris around `check_input`. tests/fuzz/__main__.py starts it, with libFuzzer's options."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

atheris: Any = import_module("atheris")  # It has no types.

with atheris.instrument_imports(include=["shardline.common"]):
    import_module("shardline.common.deaggregation")

if __name__ == "__main__":
    from tests.fuzz.target import check_input

    atheris.Setup(sys.argv, check_input)
    atheris.Fuzz()
