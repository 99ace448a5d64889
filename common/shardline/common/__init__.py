"""What producer and consumer share: records, errors, the aggregation codec, limits, ports.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from shardline.common._lazy import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shardline.common.connection import Connection, Credentials, ServiceSettings

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {
    "Connection": "connection",
    "Credentials": "connection",
    "ServiceSettings": "connection",
}

__all__ = ["Connection", "Credentials", "ServiceSettings"]

__getattr__, __dir__ = exports(__name__, _EXPORTS)
