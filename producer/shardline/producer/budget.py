"""One bound on memory for all streams of a producer, with a share for each.

Two kinds of bytes: *buffered* (records accepted and not yet resolved: payloads, keys, overheads) and *bodies* (requests
in flight). Invariants: buffered + bodies never exceed `bytes_max`; a part is kept free of buffered bytes, so that one
request can always be made and a full buffer always drains; with n streams open, no stream holds more than 2/(n+1) of
the buffer, so that a stalled stream leaves room for the others.
"""

from __future__ import annotations

from typing import Final

from shardline.common.errors import InvalidInput
from shardline.producer.config import BODIES_MIN

__all__ = ["KEY_OVERHEAD_BYTES", "PACKAGE_OVERHEAD_BYTES", "RECORD_OVERHEAD_BYTES", "Budget", "Share"]

RECORD_OVERHEAD_BYTES: Final = 104
"""Of a buffered record beside its data: the bytes object's head (33), three list places with their slack (27), a size
as an integer (32), encoding (up to 12). Measured by tests/producer/test_budget.py."""
KEY_OVERHEAD_BYTES: Final = 176
"""Of a partition key in an open aggregate beside its characters: the text's head (49), a place in a dictionary of
changing fill (up to 100), its index."""
PACKAGE_OVERHEAD_BYTES: Final = 1400
"""Of a sealed package beside its data: package, delivery, part, entries of queues and heaps, a waiting future."""


class Budget:
    """The producer's bound; streams hold a `Share` each."""

    __slots__ = ("bodies", "buffered", "bytes_max", "peak", "reserve", "shares")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.buffered = 0
        self.bodies = 0
        self.reserve = bytes_max // 8  # Kept for bodies.
        self.peak = 0
        self.shares = 0

    @property
    def used(self) -> int:
        """Everything accounted now, in bytes."""
        return self.buffered + self.bodies

    def need_body(self, body_bytes_max: int) -> None:
        """Make sure that a body of that size fits beside a full buffer; raise `InvalidInput` where it cannot."""
        if BODIES_MIN * body_bytes_max > self.bytes_max:
            raise InvalidInput(
                "memory_bytes_max",
                f"at least {BODIES_MIN * body_bytes_max}, for requests of {body_bytes_max} bytes in memory",
                str(self.bytes_max),
            )
        self.reserve = max(self.reserve, 2 * body_bytes_max)

    def try_body(self, body_bytes: int) -> bool:
        """Take the bytes of a request about to be sent, if they fit."""
        if self.buffered + self.bodies + body_bytes > self.bytes_max:
            return False
        self.bodies += body_bytes
        self._note()
        return True

    def give_body_back(self, body_bytes: int) -> None:
        """Give back the bytes of a request that has ended."""
        self.bodies -= body_bytes
        assert self.bodies >= 0, "a body was given back twice"

    def _note(self) -> None:
        used = self.buffered + self.bodies
        if used > self.peak:  # noqa: PLR1730 - a call of max costs as much as all the rest.
            self.peak = used

    def __repr__(self) -> str:
        return f"Budget(buffered={self.buffered}, bodies={self.bodies}, bytes_max={self.bytes_max})"


class Share:
    """What one stream holds of the budget, in bytes and in records."""

    __slots__ = ("budget", "bytes_max", "records", "records_max", "used")

    def __init__(self, budget: Budget, bytes_max: int | None = None, records_max: int | None = None) -> None:
        self.budget = budget
        self.bytes_max = bytes_max
        self.records_max = records_max
        self.used = 0
        self.records = 0
        budget.shares += 1

    @property
    def limit(self) -> int:
        """The bytes this stream may hold now, whatever the others hold."""
        budget = self.budget
        fair = (budget.bytes_max - budget.reserve) * 2 // (budget.shares + 1)
        return fair if self.bytes_max is None else min(fair, self.bytes_max)

    def try_take(self, size: int, records: int = 0) -> bool:
        """Take bytes and places for records if there is room for both, and say so."""
        budget = self.budget
        buffered = budget.buffered + size
        if buffered > budget.bytes_max - budget.reserve or buffered + budget.bodies > budget.bytes_max:
            return False
        if self.used + size > self.limit:
            return False
        if self.records_max is not None and self.records + records > self.records_max:
            return False
        self._add(size, records)
        return True

    def take(self, size: int, records: int = 0) -> None:
        """Take bytes for records that were accepted before and are packed anew; half of the reserve is there for it."""
        self._add(size, records)

    def release(self, size: int, records: int = 0) -> None:
        """Give back bytes and places."""
        self._add(-size, -records)
        assert self.used >= 0, "more bytes were given back than taken"
        assert self.records >= 0, "more records were given back than taken"

    def close(self) -> None:
        """Leave the budget; what is still held is given back."""
        self.release(self.used, self.records)
        self.budget.shares -= 1

    def _add(self, size: int, records: int) -> None:
        self.used += size
        self.records += records
        self.budget.buffered += size
        self.budget._note()  # noqa: SLF001 - the two classes are one account.

    def __repr__(self) -> str:
        return f"Share({self.used} bytes, {self.records} records, limit={self.limit})"
