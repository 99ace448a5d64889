"""Multi-stream mode as real processes: two workers start at once on no table, and follow a list of streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from shardline.common.aws.items import from_item
from shardline.local.http.endpoint import LocalEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("streams_worker.py")
DEADLINE_S = 120.0


def until(found: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.5)


def test_two_workers_start_at_once_and_follow_the_list(tmp_path: Path) -> None:
    """Every record of every listed stream is handled, a stream comes and one goes; both leave cleanly."""
    with LocalEndpoint({"orders": 2, "refunds": 1, "returns": 1}) as endpoint:
        access = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        kinesis = boto3.client("kinesis", endpoint_url=endpoint.url, region_name="us-east-1", **access)
        dynamodb = boto3.client("dynamodb", endpoint_url=endpoint.url, region_name="us-east-1", **access)
        environment = {
            **os.environ,
            **{name.upper(): value for name, value in access.items()},
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
        }
        listed = tmp_path / "streams"
        listed.write_text("orders refunds")
        outputs = [tmp_path / "0", tmp_path / "1"]
        put: Counter[str] = Counter()

        def send(*streams: str) -> None:
            for stream in streams:
                for number in range(20):
                    data = str(put[stream] + number).encode()
                    kinesis.put_record(StreamName=stream, Data=data, PartitionKey=f"k{number}")
                put[stream] += 20

        def handled() -> Counter[str]:
            lines = {line for output in outputs for line in output.read_text().splitlines()}
            return Counter(line.split()[0] for line in lines)

        def leases() -> list[Mapping[str, Any]]:
            items = dynamodb.scan(TableName="several", ConsistentRead=True)["Items"]
            return [item for item in map(from_item, items) if item.get("entityType") == "LEASE"]

        processes: list[subprocess.Popen[bytes]] = []
        try:
            for output in outputs:
                with output.open("wb") as file:
                    command = [sys.executable, str(WORKER), str(listed)]
                    processes.append(subprocess.Popen(command, env=environment, stdout=file))
            send("orders", "refunds")
            until(lambda: handled() >= put)
            send("returns")
            listed.write_text("orders returns")  # One comes, one goes.
            send("orders")
            until(lambda: handled() >= put)
            until(
                lambda: (
                    {"leaseOwner" in one for one in leases() if one["streamName"].split(":")[1] == "refunds"} == {False}
                )
            )
            for process in processes:
                process.send_signal(signal.SIGTERM)
            assert [process.wait(60) for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        rows = leases()
        assert sorted(one["streamName"].split(":")[1] for one in rows) == ["orders", "orders", "refunds", "returns"]
        for one in rows:
            assert one["leaseKey"] == f"{one['streamName']}:{one['shardId']}"
            assert "leaseOwner" not in one
            assert one["checkpoint"] != "TRIM_HORIZON"
