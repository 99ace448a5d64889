"""Secrets: no payload and no partition key in anything that is logged, raised, measured or shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shardline.local.sim.judge import Judge

__all__ = ["CANARY", "INVARIANTS", "Secrets"]

INVARIANTS: Final = {
    "I19": "No payload and no partition key appears in an event, an error, a repr or a health report.",
}
CANARY: Final = "canary"
"""What every partition key (and with it every payload) of a test contains."""


class Secrets:
    """Judges texts; `seen` counts them."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.seen = 0

    def check(self, where: str, text: str) -> str:
        """Judge a text that left the product, and return it."""
        self.seen += 1
        if CANARY in text:
            at = text.index(CANARY)
            self._judge.violate("I19", where, f"shows what it carries: {text[max(0, at - 60) : at + 20]}")
        return text
