"""Going on inside a half-done aggregate: a small store remembers how far it came (peers.md 4.3).

Lambda's answer can only name a whole Kinesis record. When an aggregate fails after its fifth sub-record, all of it
comes again; a store that survives the invocation lets the handler skip the five that are done. It is asked once for
each aggregate and written only when one was left half-done.

Invariant: losing the store's content costs repetition, never a record; only a prefix that was processed is skipped.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from shardline.common.envelopes import Origin

    class ResumeStore(Protocol):
        """Where progress inside aggregates is kept; any table with a key and a number will do."""

        def load(self, key: str, /) -> int | None:
            """Return how many sub-records are done, or None; what it raises fails the record: it comes again."""
            ...

        def save(self, key: str, done: int, /) -> None:
            """Remember that the first `done` sub-records are done; what it raises costs only repetition."""
            ...

        def discard(self, key: str, /) -> None:
            """Forget a finished aggregate; what it raises is ignored (let items expire with the retention)."""
            ...

else:

    class ResumeStore:
        """Where progress inside aggregates is kept: `load(key)`, `save(key, done)`, `discard(key)`."""


__all__ = ["ResumeStore", "key_of"]


def key_of(origin: Origin) -> str:
    """Return the key of an aggregate: unique over streams and shards, the same on every delivery."""
    return f"{origin.stream_arn}/{origin.shard_id}/{origin.sequence_number}"
