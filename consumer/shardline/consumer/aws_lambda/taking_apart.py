"""`deaggregate(event)` under the name that a Lambda imports it by; the drop-in needs it too, so it lives in common."""

from __future__ import annotations

from shardline.common.dictionaries import Dictionaries, deaggregate

__all__ = ["Dictionaries", "deaggregate"]
