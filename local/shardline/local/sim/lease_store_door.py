"""`LeaseStore` on the faulty network, as a simulated host sees it; reads that need not be consistent show the past."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shardline.local.sim.faults import Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    from shardline.local.doors.lease_store import MemoryLeaseStore
    from shardline.local.sim.network import Network
    from shardline.local.tables.core import LeaseTables

__all__ = ["SimLeaseStore"]


class SimLeaseStore:
    """`LeaseStore` through the network."""

    def __init__(self, network: Network, inner: MemoryLeaseStore) -> None:
        self._network = network
        self._inner = inner

    @property
    def _tables(self) -> LeaseTables:
        return self._inner.tables

    def _stale_s(self, name: str) -> float:
        """Draw how old an eventually consistent read is: fresh in half of the cases."""
        stale_s = min(self._network.faults(Service.DYNAMODB).stale_s, self._tables.options.history_s)
        if stale_s and self._network.chance(0.5, name):
            return self._network.draw_s(stale_s)
        return 0.0

    async def get(self, table: str, key: Key, *, consistent: bool, timeout_s: float) -> Item | None:
        """Return the item or None; see the port."""

        async def apply() -> Item | None:
            options = self._tables.options
            if not consistent:
                self._tables.options = replace(options, get_staleness_s=self._stale_s("stale get"))
            try:
                return await self._inner.get(table, key, consistent=consistent, timeout_s=timeout_s)
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "GetItem", apply, timeout_s)

    async def write(self, write: Write, *, timeout_s: float) -> WriteResult:
        """Carry out one conditional write; see the port."""
        return await self._network.call(
            Service.DYNAMODB, type(write).__name__, lambda: self._inner.write(write, timeout_s=timeout_s), timeout_s
        )

    async def transact(self, writes: Sequence[Write], *, timeout_s: float) -> bool:
        """Carry out the writes together or none; see the port."""
        return await self._network.call(
            Service.DYNAMODB,
            "TransactWriteItems",
            lambda: self._inner.transact(writes, timeout_s=timeout_s),
            timeout_s,
        )

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
        """Return one page of a scan, of the past perhaps; see the port."""

        async def apply() -> Page:
            options = self._tables.options
            if not consistent:
                self._tables.options = replace(options, scan_staleness_s=self._stale_s("stale scan"))
            try:
                return await self._inner.scan_page(
                    table,
                    start=start,
                    segment=segment,
                    total_segments=total_segments,
                    consistent=consistent,
                    timeout_s=timeout_s,
                )
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "Scan", apply, timeout_s)

    async def query_index(
        self,
        table: str,
        index: IndexSpec,
        hash_value: str,
        *,
        start: Mapping[str, Value] | None = None,
        timeout_s: float,
    ) -> Page:
        """Return one page of an index, of the past perhaps; see the port."""

        async def apply() -> Page:
            options = self._tables.options
            self._tables.options = replace(options, index_staleness_s=self._stale_s("stale index"))
            try:
                return await self._inner.query_index(table, index, hash_value, start=start, timeout_s=timeout_s)
            finally:
                self._tables.options = options

        return await self._network.call(Service.DYNAMODB, "Query", apply, timeout_s)

    async def describe_table(self, table: str, *, timeout_s: float) -> TableDescription | None:
        """Return the table as it stands, or None; see the port."""
        return await self._network.call(
            Service.DYNAMODB,
            "DescribeTable",
            lambda: self._inner.describe_table(table, timeout_s=timeout_s),
            timeout_s,
        )

    async def create_table(self, spec: TableSpec, *, timeout_s: float) -> None:
        """Ask for a table; see the port."""
        await self._network.call(
            Service.DYNAMODB, "CreateTable", lambda: self._inner.create_table(spec, timeout_s=timeout_s), timeout_s
        )

    async def create_index(self, table: str, index: IndexSpec, *, timeout_s: float) -> None:
        """Ask for an index; see the port."""
        await self._network.call(
            Service.DYNAMODB,
            "CreateIndex",
            lambda: self._inner.create_index(table, index, timeout_s=timeout_s),
            timeout_s,
        )

    async def enable_point_in_time_recovery(self, table: str, *, timeout_s: float) -> None:
        """Turn on point-in-time recovery; see the port."""
        await self._network.call(
            Service.DYNAMODB,
            "UpdateContinuousBackups",
            lambda: self._inner.enable_point_in_time_recovery(table, timeout_s=timeout_s),
            timeout_s,
        )

    async def delete_table(self, table: str, *, timeout_s: float) -> None:
        """Delete a table; see the port."""
        await self._network.call(
            Service.DYNAMODB, "DeleteTable", lambda: self._inner.delete_table(table, timeout_s=timeout_s), timeout_s
        )
