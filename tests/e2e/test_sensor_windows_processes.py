"""The windows example as real processes: one is killed, and every reading is in exactly one window all the same."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from shardline.common import Connection, Credentials
from shardline.common.ports.state_store import StateItem
from shardline.consumer import open_state
from shardline.local.http.endpoint import LocalEndpoint

from tests.e2e.programs import EXAMPLES, environment_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "sensors_windows.py"
READINGS = 600
SENSORS = 7
DEADLINE_S = 120.0


def until(found: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.5)


def printed(*files: Path) -> list[dict[str, Any]]:
    """Return the distinct lines; what a kill tore is passed over."""
    texts = dict.fromkeys(text for file in files for text in file.read_text().splitlines(keepends=True))
    return [json.loads(text) for text in texts if text.endswith("}\n")]


async def still_open(connection: Connection) -> Counter[str]:
    """Return the readings per sensor in windows that are not over, from the state table."""
    found: Counter[str] = Counter()
    async with open_state("sensors", connection=connection) as state:
        for item in (await state.page(timeout_s=10)).items:
            if isinstance(item, StateItem) and isinstance(counts := item.fields.get("counts"), bytes):
                for window in json.loads(counts)["open"].values():
                    found.update({sensor: int(values[0]) for sensor, values in window.items()})
    return found


def test_a_killed_worker_loses_and_doubles_no_window(tmp_path: Path) -> None:
    """What all processes printed, and what is still open, adds up to what was measured, sensor by sensor."""
    with LocalEndpoint({"readings": 2}) as endpoint:
        environment = environment_of(endpoint.url)
        connection = Connection(
            region_name="us-east-1",
            endpoint_url=endpoint.url,
            insecure_plain_http=True,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),
        )
        client = boto3.client(
            "kinesis",
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        outputs = [tmp_path / "0", tmp_path / "1"]
        processes: list[subprocess.Popen[bytes]] = []

        def begin(output: Path) -> None:
            with output.open("wb") as file:
                command = [sys.executable, str(EXAMPLE), "readings", "2"]
                processes.append(subprocess.Popen(command, env=environment, stdout=file))

        put: Counter[str] = Counter()

        def measure(first: int) -> None:
            for number in range(first, first + READINGS // 10):
                sensor = f"s-{number % SENSORS}"
                data = json.dumps({"sensor_id": sensor, "temperature": 20 + number % 5})
                client.put_record(StreamName="readings", Data=data.encode(), PartitionKey=sensor)
                put[sensor] += 1

        begin(outputs[0])
        for part in range(10):
            measure(part * READINGS // 10)
            if part == 4:  # It has both shards, and is in the middle of them.
                until(lambda: bool(printed(outputs[0])))
                processes[0].send_signal(signal.SIGKILL)
                processes[0].wait()
                begin(outputs[1])
            time.sleep(0.3)

        def counted() -> Counter[str]:
            closed = Counter[str]()
            for line in printed(*(output for output in outputs if output.exists())):
                if "sensor" in line:
                    closed[line["sensor"]] += line["count"]
            return closed + asyncio.run(still_open(connection))

        until(lambda: counted().total() >= put.total())
        processes[1].send_signal(signal.SIGTERM)
        assert processes[1].wait(60) == 0
        client.close()
        assert counted() == put
    windows = Counter((line["sensor"], line["window"], line["shard"]) for line in printed(*outputs) if "sensor" in line)
    assert set(windows.values()) == {1}
