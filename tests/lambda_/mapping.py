"""A model of Lambda's event source mapping for Kinesis: batches, retries, bisection, partial answers, lanes.

After the Lambda Developer Guide ("Using Lambda with Kinesis", "Reporting batch item failures"): records of a shard come
in order; with a parallelisation factor they are spread over lanes by the hash of their (outer) partition key; an
exception or an answer it cannot read fails the whole batch; a named sequence number is the new checkpoint, and the rest
comes again; bisection halves a failed batch; after `attempts_max` a batch is discarded to the destination. The model
checks I21 itself: whatever an answer lets it move past must have been processed.
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, Any

from tests.lambda_.events import event, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Mapping:
    """One shard's records, driven through a handler until nothing is left."""

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        records: Sequence[tuple[int, bytes, str]],
        *,
        passed: Callable[[int], None],
        batch_max: int = 10,
        lanes: int = 1,
        bisect: bool = False,
        attempts_max: int = 1000,
    ) -> None:
        self.handler = handler
        self.batch_max = batch_max
        self.bisect = bisect
        self.attempts_max = attempts_max
        self.passed = passed  # Told of every sequence number that an answer lets the mapping move past.
        self.discarded: list[int] = []
        self.invocations = 0
        self.failures = 0
        self._lanes: list[list[tuple[int, bytes, str]]] = [[] for _ in range(lanes)]
        for one in records:
            self._lanes[md5(one[2].encode()).digest()[0] % lanes].append(one)

    def run(self, context: Any = None) -> None:
        """Deliver everything, lanes taking turns."""
        while any(self._lanes):
            for lane in self._lanes:
                if lane:
                    batch = lane[: self.batch_max]
                    del lane[: len(batch)]
                    self._deliver(batch, context, 1)

    def _deliver(self, batch: list[tuple[int, bytes, str]], context: Any, attempt: int) -> None:
        """Bring one batch to its end: processed, or discarded."""
        while batch:
            left = self._invoke(batch, context)
            for number, _, _ in batch[: len(batch) - len(left)]:
                self.passed(number)
            progress = len(left) < len(batch)
            batch = left
            if not batch:
                return
            self.failures += 1
            if attempt >= self.attempts_max:
                self.discarded += [number for number, _, _ in batch]
                return
            if self.bisect and len(batch) > 1 and not progress:
                half = len(batch) // 2
                self._deliver(batch[:half], context, attempt + 1)
                batch = batch[half:]
            attempt += 1

    def _invoke(self, batch: list[tuple[int, bytes, str]], context: Any) -> list[tuple[int, bytes, str]]:
        """Return what of the batch must come again."""
        self.invocations += 1
        try:
            answer = self.handler(event(*(record(data, number, key=key) for number, data, key in batch)), context)
        except Exception:  # noqa: BLE001 - Lambda takes any exception for a failed batch.
            return batch
        if answer is None or not answer.get("batchItemFailures"):
            return []
        names = [one.get("itemIdentifier") for one in answer["batchItemFailures"]]
        numbers = [number for number, _, _ in batch]
        if any(not isinstance(name, str) or not name.isdigit() or int(name) not in numbers for name in names):
            return batch
        lowest = min(int(name) for name in names)
        return [one for one in batch if one[0] >= lowest]
