"""What tests that run programs share: where the examples are, and the environment that leads them to an endpoint."""

from __future__ import annotations

import os
from typing import Final

from tools.rings import ROOT

__all__ = ["EXAMPLES", "TIMEOUT_S", "environment_of"]

EXAMPLES: Final = ROOT / "examples"
TIMEOUT_S: Final = 120


def environment_of(url: str) -> dict[str, str]:
    """Return the environment of a program whose AWS is the endpoint at `url`."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
