"""Parked keys over HTTP: DynamoDB as moto serves it, two owners one after another, a replay of both files."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common import Connection, Credentials
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer import (
    FileLot,
    LeaseConfig,
    Record,
    TableConfig,
    Worker,
    WorkerConfig,
    open_parked_keys,
    park_key,
)
from shardline.local.http.endpoint import LocalEndpoint

from tests.e2e.programs import environment_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STREAM = Stream("orders")
CONFIG = WorkerConfig(table=TableConfig(deletion_protection=False), leases=LeaseConfig(failover_s=3.0))


def shardline(connection: Connection, *arguments: str) -> list[dict[str, Any]]:
    """Run the command and return the JSON objects that it prints."""
    run = subprocess.run(
        [sys.executable, "-m", "shardline.cli", *arguments],
        env=environment_of(str(connection.endpoint_url)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def test_a_poison_key_is_parked_kept_and_replayed(tmp_path: Path) -> None:
    """Two owners one after another park into files of their own; a replay of both hands over the key's records once."""
    seen: list[str] = []
    poison = True

    async def handle(record: Record) -> None:
        text = record.data.decode()
        if poison and text == "k1-3":
            raise ValueError("poison")
        seen.append(text)

    async def story(connection: Connection) -> None:
        nonlocal poison
        lots = [FileLot(tmp_path / "0"), FileLot(tmp_path / "1")]
        async with connection.kinesis() as kinesis:
            for owner, lot in enumerate(lots):
                numbers = range(5 * owner, 5 * owner + 5)
                entries = [PutEntry(f"k{key}-{n}".encode(), f"k{key}") for n in numbers for key in range(3)]
                await kinesis.put_records(STREAM, entries, timeout_s=10)
                worker = Worker("billing", streams="orders", start="TRIM_HORIZON", connection=connection, config=CONFIG)
                worker.add_handler(handle, on_failure=park_key(lot, attempts=2))
                async with worker:
                    while len(seen) < 10 * (owner + 1) + 3:  # noqa: ASYNC110 - real processes set no event here.
                        await asyncio.sleep(0.1)
        poison = False
        (shown,) = shardline(connection, "parked", "billing", "--stream", "orders")
        assert (shown["key"], shown["reason"]) == ("k1", "ValueError")
        one = ("parked", "billing", "--stream", "orders", "--key", "k1", "--replay", "builtins:print", "--lot")
        assert shardline(connection, *one, str(lots[0].path))[-1]["released"] is False
        async with open_parked_keys("billing", *lots, connection=connection) as parked:
            (key,) = await parked.keys("orders")
            assert (key.partition_key, key.reason) == ("k1", "ValueError")
            done = await parked.replay("orders", "k1", handle, wait_s=0)
            assert (done.records, done.released) == (5, True)  # The command printed the two of the first file.
            assert await parked.keys() == []

    with LocalEndpoint({"orders": 1}) as endpoint:
        credentials = Credentials(access_key_id="test", secret_access_key="test")
        asyncio.run(
            story(
                Connection(
                    region_name="us-east-1",
                    endpoint_url=endpoint.url,
                    insecure_plain_http=True,
                    credentials=credentials,
                )
            )
        )
    for key in (0, 2):
        assert [text for text in seen if text.startswith(f"k{key}-")] == [f"k{key}-{n}" for n in range(10)]
    assert [text for text in seen if text.startswith("k1-")] == [f"k1-{n}" for n in (0, 1, 2, 5, 6, 7, 8, 9)]
