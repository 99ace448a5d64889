"""The worker: leases shards, reads them, hands records to a handler, checkpoints. Also for Lambda.

Nothing is imported until it is used (`shardline.common._lazy`). To export a name: add it to `_EXPORTS`, to the
`TYPE_CHECKING` import and to `__all__`; a tidy test compares the three.
"""

from __future__ import annotations

from shardline.common._lazy import exports

# Exported name -> module of this package.
_EXPORTS: dict[str, str] = {}

__all__: list[str] = []

__getattr__, __dir__ = exports(__name__, _EXPORTS, extra="consumer")
