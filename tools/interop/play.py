"""The play: Java alone, ours joins, a reshard, a KPL writes, the Java worker is killed, another comes, ours leaves.

Each act ends when the lease table says that it has come to rest, or is given up after a bounded time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from shardline.cli.demo.settings import ProcessSettings
from shardline.common.errors import NotFound, ShardlineError

from tools.interop.company import Company
from tools.interop.report import Act, Outcome, complaints
from tools.interop.rows import Owners, Shapes, Table, differences
from tools.interop.writer import Writer
from tools.jvm import KPL, command_of, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from shardline.cli.demo.place import OwnStream
    from shardline.cli.demo.report import Ledger
    from shardline.common.connection import Connection
    from shardline.common.hashing import Shard
    from shardline.common.ports.lease_store import LeaseStore

    from tools.jvm import Program

__all__ = ["KPL_RECORDS", "STREAM", "Places", "Play"]

STREAM: Final = "shardline-interop"
KPL_RECORDS: Final = 4_000
_LOOK_S: Final = 0.5
_TICK_S: Final = 0.05
_ACT_S_MAX: Final = 300.0
_QUIET_S: Final = 3.0
_LAG_S: Final = 3
_CALL_S: Final = 10.0
_STOP_S_MAX: Final = 60.0
_OURS: Final = "shardline.cli.demo.worker_process"


class Places:
    """Where the endpoint is: one state behind two doors."""

    def __init__(self, http: str, https: str, ca_bundle: str) -> None:
        self.http = http
        self.https = https
        self.ca_bundle = ca_bundle


class Play:
    """One run, on a stream that exists and a store that is open; `close` ends the processes."""

    def __init__(
        self,
        places: Places,
        connection: Connection,
        stream: OwnStream,
        store: LeaseStore,
        ledger: Ledger,
        *,
        kcl: Program,
        java_first: bool,
        failover_s: float,
        rate: int,
        ids_max: int,
        logs: Path,
    ) -> None:
        self._places = places
        self._stream = stream
        self._store = store
        self._ledger = ledger
        self._kcl = kcl
        self._java_first = java_first
        self._failover_s = failover_s
        self._folder = logs
        self._kpl_first = ids_max
        self._writer = Writer(STREAM, connection, ledger, rate=rate, ids_max=ids_max)
        self._pending_max = rate * _LAG_S
        self._open_shards: frozenset[str] = frozenset()
        self._company = Company(ledger, environment(), kpl_first=ids_max)
        self._owners = Owners()
        self._shapes = Shapes()
        self._table = Table({}, None, (), ())
        self._acts: list[Act] = []
        self._faults: list[str] = []
        self._compared = 0
        self._changed = 0.0
        self._logs: list[Path] = []
        self._started = time.monotonic()

    async def run(self) -> Outcome:
        """Play all acts; a fault found ends the play and is in the outcome."""
        writing = asyncio.create_task(self._writer.run())
        try:
            await self._all_acts()
        except ShardlineError as error:
            self._faults.append(str(error))
        self._writer.stop()
        await writing
        return self._outcome(await self._stream.shards())

    async def _all_acts(self) -> None:
        if self._java_first:
            self._start_java("java-1")
            await self._act("Java alone", self._settled("java-1"))
            self._start_ours("ours-1")
            await self._act("ours joins", self._settled("java-1", "ours-1"), self._rest_s)
        else:
            self._start_ours("ours-1")
            await self._act("ours alone", self._settled("ours-1"))
            self._start_java("java-1")
            await self._act("Java joins", self._settled("java-1", "ours-1"), self._rest_s)
        await self._compare("java-1")
        await self._reshard()
        await self._act("split and merge", self._settled("java-1", "ours-1"), self._rest_s)
        await self._compare("java-1")
        await self._kpl_writes()
        self._company.members["java-1"].kill()
        await self._act("Java killed, ours rescues", self._settled("ours-1"))
        self._start_java("java-2")
        await self._act("another Java worker comes", self._settled("java-2", "ours-1"), self._rest_s)
        await self._compare("java-2")
        self._company.members["ours-1"].send("stop")
        await self._act("ours leaves gracefully", self._settled("java-2"))
        self._writer.stop()
        await self._act("drain", lambda: self._ledger.pending == 0 and self._idle())
        self._company.members["java-2"].send("stop")
        await self._act("Java stops gracefully", lambda: "java-2" in self._company.done)

    # --- the members -------------------------------------------------------------------------------------------------

    def _start_java(self, name: str) -> None:
        log = self._folder / f"{name}.log"
        log.unlink(missing_ok=True)
        self._logs.append(log)
        settings: dict[str, object] = {
            "name": name,
            "work": "tell",
            "url": self._places.http,
            "stream": STREAM,
            "application": STREAM,
            "failover_ms": int(self._failover_s * 1000),
            "shard_sync_ms": 1_000,
            "parent_poll_ms": 1_000,
        }
        self._company.start(name, command_of(self._kcl, log), settings)

    def _start_ours(self, name: str) -> None:
        settings = ProcessSettings(
            name=name,
            stream=STREAM,
            region="us-east-1",
            kinesis_url=self._places.http,
            other_url=self._places.http,
            rate=0,
            seconds=0,
            seed=0,
            local=True,
            retrieval="polling",
            failover_s=self._failover_s,
            fleet="kcl2" if self._kcl.version.startswith("2.") else "auto",
        )
        self._company.start(name, _OURS, settings.as_fields())

    async def _kpl_writes(self) -> None:
        host, _, port = self._places.https.removeprefix("https://").partition(":")
        settings: dict[str, object] = {
            "host": host,
            "port": int(port),
            "ca_bundle": self._places.ca_bundle,
            "stream": STREAM,
            "first_id": self._kpl_first,
            "folder": str(self._folder / "kpl"),
        }
        self._ledger.sent(self._kpl_first + KPL_RECORDS)
        kpl = self._company.start("kpl", command_of(KPL, self._folder / "kpl.log"), settings)
        kpl.send(f"go {KPL_RECORDS}")
        kpl.send("stop")
        await self._act("a KPL writes beside us", lambda: "kpl" in self._company.done and self._idle())

    async def _reshard(self) -> None:
        """Split the widest open shard and merge two others that lie side by side."""
        opened = sorted(
            (one for one in await self._stream.shards() if one.is_open), key=lambda one: one.hash_range.start
        )
        first, *_, left, right = opened
        await self._stream.split(first.shard_id, first.hash_range.start + first.hash_range.width // 2)
        await self._stream.merge(left.shard_id, right.shard_id)
        self._note(f"split {first.shard_id}, merged {left.shard_id} and {right.shard_id}")

    # --- acts --------------------------------------------------------------------------------------------------------

    def _settled(self, *workers: str) -> Callable[[], bool]:
        """Return the condition: these workers share all open shards, and what was put a while ago is processed."""
        return lambda: self._table.settled_on(workers, self._open_shards) and self._idle()

    @property
    def _rest_s(self) -> float:
        """How long nothing must change hands before two workers are balanced: a leader balances every third run."""
        return 3 * 2 * self._failover_s + _QUIET_S

    def _idle(self) -> bool:
        return self._ledger.pending <= self._pending_max

    async def _act(self, name: str, over: Callable[[], bool], quiet_s: float = _QUIET_S) -> None:
        """Wait until an act is over, and nothing has changed hands for `quiet_s`.

        Raises `ShardlineError` where a process breaks or it takes too long.
        """
        begun, duplicates = time.monotonic(), self._ledger.duplicates
        looked = held_since = 0.0
        while True:
            now = time.monotonic()
            self._company.tick()
            if now - looked >= _LOOK_S:
                looked = now
                await self._look()
            held_since = max(held_since or now, self._changed) if over() else 0.0
            if held_since and now - held_since >= quiet_s:
                break
            if self._company.broken:
                raise ShardlineError(f"in '{name}': {self._company.broken[0]}")
            if now - begun > _ACT_S_MAX:
                raise ShardlineError(
                    f"'{name}' did not come to rest in {_ACT_S_MAX:.0f} s: {dict(self._table.counts())}"
                )
            await asyncio.sleep(_TICK_S)
        counts, leader = dict(self._table.counts()), self._table.leader
        seconds = held_since - begun
        self._acts.append(
            Act(
                name=name,
                seconds=round(seconds, 1),
                duplicates=self._ledger.duplicates - duplicates,
                owners=counts,
                leader=leader,
            )
        )
        self._note(f"{name}: {seconds:.1f} s, {counts}, leader {leader}")

    async def _look(self) -> None:
        """Look at the stream and the table, and tell what changed hands."""
        self._open_shards = frozenset(one.shard_id for one in await self._stream.shards() if one.is_open)
        self._table = await self._scan()
        changes = self._owners.look(self._table, round(time.monotonic() - self._started, 1))
        for change in changes:
            self._changed = time.monotonic()
            self._note(f"{change.lease}: {change.before} -> {change.after}")
        self._faults += [
            fault for one in self._table.unreadable if (fault := f"unreadable by us: {one}") not in self._faults
        ]

    async def _scan(self) -> Table:
        try:
            page = await self._store.scan_page(STREAM, consistent=True, timeout_s=_CALL_S)
        except NotFound:
            return Table({}, None, (), ())
        assert page.next_start is None, "the table of a few shards is one page"
        self._shapes.look(page.items)
        return Table.of(page.items)

    async def _compare(self, java: str) -> None:
        """Have a KCL read the table with its own code, and compare what it sees with what we do."""
        before = (await self._scan()).leases
        seen = len(self._company.notes)
        self._company.members[java].send("rows")
        until = time.monotonic() + _CALL_S
        while time.monotonic() < until:
            self._company.tick()
            for name, text in self._company.notes[seen:]:
                if name == java and text.startswith("rows "):
                    after = (await self._scan()).leases
                    self._faults += differences(text.removeprefix("rows "), before, after)
                    self._compared += 1
                    return
            await asyncio.sleep(_TICK_S)
        raise ShardlineError(f"{java} did not tell how it reads the table")

    def _note(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:7.1f} s  {text}", flush=True)

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process that still runs."""
        self._company.close()

    def _outcome(self, shards: Sequence[Shard]) -> Outcome:
        self._company.close()
        text = [line for log in self._logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
        processed: Counter[str] = Counter()
        for (name, _), count in self._company.processed.items():
            processed[name] += count
        return Outcome(
            versions={"KCL": self._kcl.version, "KPL": KPL.version},
            first="java" if self._java_first else "ours",
            failover_s=self._failover_s,
            acts=tuple(self._acts),
            changes=tuple(self._owners.changes),
            processed=dict(processed),
            kpl_processed=dict(self._company.kpl_processed),
            compared=self._compared,
            shapes=self._shapes.differences(),
            report=self._ledger.report({shard.shard_id: shard.parent_shard_ids for shard in shards}),
            complaints=dict(complaints(text, "ERROR")),
            warnings=dict(complaints(text, "WARN")),
            faults=tuple(self._faults),
        )
