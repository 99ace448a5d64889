"""The metrics page: its programs run as they stand, CloudWatch (moto's) gets what they publish, its tables are true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from shardline.common.metrics.names import Kcl, Kpl, metrics_of
from shardline.local import LocalEndpoint

from tests.pages import page, program_below

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = page("docs/metrics.md")
KEYS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
ROW = re.compile(r"^\| `([\w.:]+)` \| (\w+) \| ([SD, ]+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[LocalEndpoint]:
    """Serve a stream of two shards, and moto's CloudWatch and DynamoDB."""
    from shardline.local.moto.dispatch import reset

    with LocalEndpoint({"orders": 2}) as serving:
        yield serving
    reset()


def run(endpoint: LocalEndpoint, heading: str) -> str:
    """Run the program below a heading in a process of its own, and return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program_below("docs/metrics.md", heading)],
        env=clean | KEYS | {"AWS_ENDPOINT_URL": endpoint.url},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def published(endpoint: LocalEndpoint, namespace: str) -> list[dict[str, Any]]:
    """Return CloudWatch's metrics of a namespace."""
    client: Any = boto3.client(
        "cloudwatch",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    try:
        pages = client.get_paginator("list_metrics").paginate(Namespace=namespace)
        return [metric for page in pages for metric in page["Metrics"]]
    finally:
        client.close()


@pytest.mark.slow
def test_cloudwatch_gets_what_producer_and_worker_publish(endpoint: LocalEndpoint) -> None:
    """Through HTTP and signature: names and dimensions stand in CloudWatch, no payload or key among them (I19)."""
    run(endpoint, "A producer to CloudWatch")
    of_producer = published(endpoint, "KinesisProducerLibrary")
    assert {"UserRecordsPut", "KinesisRecordsPut", "RequestTime", "BufferingTime", "UserRecordsReceived"} <= {
        one["MetricName"] for one in of_producer
    }
    places = {
        tuple(dimension["Name"] for dimension in one["Dimensions"])
        for one in of_producer
        if one["MetricName"] == "UserRecordsPut"
    }
    assert {("Stage",), ("Stage", "StreamName"), ("Stage", "StreamName", "ShardId")} <= places
    run(endpoint, "A worker to CloudWatch")
    of_worker = published(endpoint, "billing")
    assert {"RecordsProcessed", "DataBytesProcessed", "MillisBehindLatest", "Initialize.Success"} <= {
        one["MetricName"] for one in of_worker
    }
    told = json.dumps([of_producer, of_worker])
    assert "an order" not in told
    assert "customer-" not in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "tells"),
    [
        ("Embedded metric format", '"Namespace":"KinesisProducerLibrary"'),
        ("Prometheus", "shardline_user_records_put_total{"),
        ("OpenTelemetry", ""),
        ("Logs", "producer.request_done"),
    ],
)
def test_the_other_backends_programs_run(endpoint: LocalEndpoint, heading: str, tells: str) -> None:
    """Each runs as it stands, prints what it shows, and no payload or key (I19)."""
    printed = run(endpoint, heading)
    assert tells in printed
    assert "an order" not in printed
    assert "customer-" not in printed


def test_the_tables_name_real_metrics_with_their_units_and_levels() -> None:
    """A row that disagrees with the code is refused (`tests/tidy/test_reference.py`: and no metric lacks one)."""
    known = [*metrics_of(Kpl).values(), *metrics_of(Kcl).values()]
    for name, unit, levels in ROW.findall(PAGE):
        found = [metric for metric in known if metric.name == name]
        assert {metric.unit.value for metric in found} == {unit}, name
        assert {metric.level.name[0] for metric in found} == set(levels.replace(",", "").split()), name
