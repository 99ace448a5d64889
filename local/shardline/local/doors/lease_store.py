"""`MemoryLeaseStore`: the `LeaseStore` port on `LeaseTables`, deterministic given its clock; no threads of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shardline.local.doors.translate import translate
from shardline.local.state.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shardline.common.ports.lease_store import (
        IndexSpec,
        Item,
        Key,
        Page,
        TableDescription,
        TableSpec,
        Value,
        Write,
        WriteResult,
    )
    from shardline.local.tables.core import LeaseTables

__all__ = ["MemoryLeaseStore"]


class MemoryLeaseStore:
    """Lease tables without a network; `clock` gives epoch seconds. Time-outs never fire: an answer is there at once.

    May be used from several threads: calls take turns under one lock per door.
    """

    def __init__(self, tables: LeaseTables, clock: Callable[[], float], lock: threading.RLock | None = None) -> None:
        self.tables = tables
        self._clock = clock
        self._lock = lock or threading.RLock()

    @contextmanager
    def _turn(self) -> Iterator[float]:
        with self._lock:
            try:
                yield self._clock()
            except Refusal as refusal:
                raise translate(refusal) from refusal

    async def get(self, table: str, key: Key, *, consistent: bool, timeout_s: float) -> Item | None:
        """Return the item or None; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.get(table, key, now, consistent=consistent)

    async def write(self, write: Write, *, timeout_s: float) -> WriteResult:
        """Carry out one conditional write; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.write(write, now)

    async def transact(self, writes: Sequence[Write], *, timeout_s: float) -> bool:
        """Carry out the writes together or none; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.transact(writes, now)

    async def scan_page(
        self,
        table: str,
        *,
        start: Mapping[str, Value] | None = None,
        segment: int = 0,
        total_segments: int = 1,
        consistent: bool = False,
        timeout_s: float,
    ) -> Page:
        """Return one page of a scan; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.scan_page(
                table, now, start=start, segment=segment, total_segments=total_segments, consistent=consistent
            )

    async def query_index(
        self,
        table: str,
        index: IndexSpec,
        hash_value: str,
        *,
        start: Mapping[str, Value] | None = None,
        timeout_s: float,
    ) -> Page:
        """Return one page of an index; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.query_index(table, index, hash_value, now, start)

    async def describe_table(self, table: str, *, timeout_s: float) -> TableDescription | None:
        """Return the table as it stands, or None; see the port."""
        del timeout_s
        with self._turn() as now:
            return self.tables.describe_table(table, now)

    async def create_table(self, spec: TableSpec, *, timeout_s: float) -> None:
        """Ask for a table; see the port."""
        del timeout_s
        with self._turn() as now:
            self.tables.create_table(spec, now)

    async def create_index(self, table: str, index: IndexSpec, *, timeout_s: float) -> None:
        """Ask for an index; see the port."""
        del timeout_s
        with self._turn() as now:
            self.tables.create_index(table, index, now)

    async def enable_point_in_time_recovery(self, table: str, *, timeout_s: float) -> None:
        """Turn on point-in-time recovery; see the port."""
        del timeout_s
        with self._turn() as now:
            self.tables.enable_point_in_time_recovery(table, now)

    async def delete_table(self, table: str, *, timeout_s: float) -> None:
        """Delete a table; see the port."""
        del timeout_s
        with self._turn() as now:
            self.tables.delete_table(table, now)
