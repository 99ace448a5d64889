"""The clickstream workload: page views and actions of a thousand users, keyed by user.

Pure: chance is a `random.Random`, time an argument. Each event carries an `id` that the demo counts by.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["ACTIONS", "COUNTRIES", "DEVICES", "PAGES", "Clickstream", "PageViews", "parse_event"]

PAGES = ("/home", "/products", "/cart", "/checkout", "/profile")
ACTIONS = ("view", "click", "scroll", "submit")
DEVICES = ("mobile", "desktop", "tablet")
COUNTRIES = ("KR", "US", "JP", "DE")
_USERS = 1000
_SESSIONS = 100


class Clickstream:
    """Makes events one after the other, numbered from 0; the same `rng` state gives the same users and actions."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.next_id = 0

    def next_event(self, wall_s: float) -> tuple[str, bytes]:
        """Return (partition key, JSON bytes) of the next event at epoch seconds `wall_s`."""
        rng = self._rng
        user = f"user-{rng.randint(1, _USERS)}"
        event = {
            "id": self.next_id,
            "user_id": user,
            "page": rng.choice(PAGES),
            "action": rng.choice(ACTIONS),
            "session_id": f"sess-{rng.randint(1, _SESSIONS)}",
            "timestamp": datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "device": rng.choice(DEVICES),
            "country": rng.choice(COUNTRIES),
        }
        self.next_id += 1
        return user, json.dumps(event, separators=(",", ":")).encode()


def parse_event(data: bytes, partition_key: str | None) -> tuple[int, str, str]:
    """Return (id, page, action) of an event; the id is -1 where the bytes are not an event of that key."""
    try:
        event = json.loads(data)
        if event["user_id"] == partition_key:
            return int(event["id"]), str(event["page"]), str(event["action"])
    except (ValueError, KeyError, TypeError):
        pass
    return -1, "", ""


class PageViews:
    """The consumer's own work: views per page, and alarms for each `submit` at `/checkout`."""

    def __init__(self) -> None:
        self.views: Counter[str] = Counter()
        self.alarms = 0

    def add(self, page: str, action: str) -> None:
        """Count one event."""
        if action == "view":
            self.views[page] += 1
        elif action == "submit" and page == "/checkout":
            self.alarms += 1
