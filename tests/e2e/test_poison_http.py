"""Poison records over HTTP (story 3): blobs that look like aggregates go through real adapters, harming no other."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from shardline.common import Connection, Credentials
from shardline.consumer import (
    DeliveryConfig,
    FileLot,
    LeaseConfig,
    Record,
    TableConfig,
    Worker,
    WorkerConfig,
    park_record,
    per_key,
)
from shardline.consumer.config import Malformed
from shardline.local.http.endpoint import LocalEndpoint
from shardline.local.moto.dispatch import reset

from tests.common.aggregates import blob, key, record
from tests.consumer.rows import aggregate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

GOOD = (b"1", b"2", b"3")
WHOLE = aggregate(*(("a", data) for data in GOOD))
POISON = {
    "empty": blob(key("a")),
    "index": blob(key("a") + record(0) + record(7) + record(0)),
    "wire": blob(key("a") + record(0) + b"\x0b"),
    "required": blob(key("a") + record(0, data=None)),
}
BLOBS = [one for poison in POISON.values() for one in (WHOLE, poison, b"plain")]
KEYS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


async def handled(endpoint: LocalEndpoint, delivery: DeliveryConfig, expected: int, **how: Any) -> list[bytes]:
    """Run a worker until it has handled as many records; return their data."""
    seen: list[bytes] = []

    async def handle(given: Record) -> None:
        seen.append(given.data)

    worker = Worker(
        "billing",
        streams="orders",
        start="TRIM_HORIZON",
        connection=Connection(
            region_name="us-east-1",
            endpoint_url=endpoint.url,
            insecure_plain_http=True,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),
        ),
        config=WorkerConfig(
            table=TableConfig(deletion_protection=False), leases=LeaseConfig(failover_s=3.0), delivery=delivery
        ),
    )
    worker.add_handler(handle, **how)
    async with worker, asyncio.timeout(60):
        while len(seen) < expected:  # noqa: ASYNC110 - over HTTP nothing sets an event here.
            await asyncio.sleep(0.1)
    return seen


@pytest.mark.parametrize("lanes", [1, 3])
def test_poison_comes_whole_between_its_neighbours_or_is_parked_whole(tmp_path: Path, lanes: int) -> None:
    """By default each is delivered as the blob that it is, in its place; asked to, parked whole with its reason."""
    how: dict[str, Any] = {"concurrency": per_key(lanes) if lanes > 1 else None}
    for turn, malformed in enumerate((Malformed.DELIVER_RAW, Malformed.PARK)):
        reset()  # Each turn is another stream's first, not a stream that was created again.
        with LocalEndpoint({"orders": 1}) as endpoint:
            kinesis = boto3.client("kinesis", endpoint_url=endpoint.url, **KEYS)
            for data in BLOBS:
                kinesis.put_record(StreamName="orders", Data=data, PartitionKey="a")
            kinesis.close()
            lot = FileLot(tmp_path / f"parked-{turn}")
            policy = park_record(lot, attempts=1)
            expected = [*GOOD, b"plain"] if malformed is Malformed.PARK else None
            wanted = [one for poison in POISON.values() for one in (expected or [*GOOD, poison, b"plain"])]
            delivery = DeliveryConfig(malformed=malformed)
            seen = asyncio.run(handled(endpoint, delivery, len(wanted), on_failure=policy, **how))
        assert seen == wanted
        parked = lot.path.read_text().splitlines() if lot.path.exists() else []
        reasons = [json.loads(line)["reason"] for line in parked]
        named = [f"MalformedAggregate: {reason}" for reason in POISON]
        assert reasons == (named if malformed is Malformed.PARK else [])
