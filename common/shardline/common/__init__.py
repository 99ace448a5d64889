"""What producer and consumer share: records, errors, the aggregation codec, limits, ports.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from shardline.common._lazy import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shardline.common.connection import Connection, Credentials, ServiceSettings
    from shardline.common.ports.lease_store import Update
    from shardline.common.ports.state_store import StateItem, StateKey, StateStore
    from shardline.common.state import FencedState

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "Connection": "connection",
    "Credentials": "connection",
    "FencedState": "state",
    "ServiceSettings": "connection",
    "StateItem": "ports.state_store",
    "StateKey": "ports.state_store",
    "StateStore": "ports.state_store",
    "Update": "ports.lease_store",
}

__all__ = [
    "Connection",
    "Credentials",
    "FencedState",
    "ServiceSettings",
    "StateItem",
    "StateKey",
    "StateStore",
    "Update",
]

__getattr__, __dir__ = exports(__name__, _EXPORTS)
