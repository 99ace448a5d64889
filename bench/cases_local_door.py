# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""The HTTP door of the local endpoint: what it costs beside the client that calls it, empty and full.

A benchmark against an endpoint that is dearer than its client measures the endpoint. The endpoint runs in a process of
its own and tells its CPU time; the request is 500 records of 1 KB.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3

from bench.harness import Case, Figure, cpu_seconds, user_records

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = 500
BYTES = 1000
CALLS = 60
STORED = 400_000
TARGET = "Kinesis_20131202.PutRecords"
SETTINGS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
CASES: list[Case] = []


@contextmanager
def endpoint(*arguments: str) -> Iterator[str]:
    """Start an endpoint with a stream `bench` of four shards and yield its URL."""
    command = [sys.executable, "-m", "shardline.local", "--stream", "bench:4", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


class Caller:
    """A bare HTTP client with a request made once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = HTTPConnection(parts.hostname, parts.port)

    def put(self, body: bytes) -> bytes:
        """Send one PutRecords and return the answer's body."""
        headers = {"x-amz-target": TARGET, "content-type": "application/x-amz-json-1.1"}
        self._connection.request("POST", "/", body, headers)
        return self._connection.getresponse().read()

    def cpu_s(self) -> float:
        """Return the CPU seconds that the endpoint has used."""
        self._connection.request("GET", "/_shardline/health")
        return float(json.loads(self._connection.getresponse().read())["cpu_s"])


def request(data_bytes: int) -> bytes:
    """Return the body of one PutRecords."""
    records = [
        {"Data": base64.b64encode(data).decode(), "PartitionKey": key}
        for key, data in user_records(RECORDS, data_bytes)
    ]
    return json.dumps({"StreamName": "bench", "Records": records}).encode()


def door(stored: int, *arguments: str) -> float:
    """Return the endpoint's CPU milliseconds per call, with `stored` records in it."""
    with endpoint(*arguments) as url:
        caller = Caller(url)
        filler, body = request(100), request(BYTES)
        for _ in range(max(5, stored // RECORDS)):
            assert json.loads(caller.put(filler))["FailedRecordCount"] == 0
        start = caller.cpu_s()
        for _ in range(CALLS):
            caller.put(body)
        return (caller.cpu_s() - start) / CALLS * 1000


def client() -> float:
    """Return boto3's CPU milliseconds for the same call."""
    with endpoint("--null") as url:
        kinesis = boto3.client("kinesis", endpoint_url=url, **SETTINGS)
        records = [{"Data": data, "PartitionKey": key} for key, data in user_records(RECORDS, BYTES)]

        def call() -> None:
            kinesis.put_records(StreamName="bench", Records=records)

        for _ in range(5):
            call()

        def calls() -> None:
            for _ in range(CALLS):
                call()

        return cpu_seconds(calls) / CALLS * 1000


WHAT = "local door: PutRecords 500 x 1 KB"
FIGURES = [
    Figure(what=WHAT, who="boto3 client", unit="ms CPU per call", measure=client),
    Figure(what=WHAT, who="endpoint, empty", unit="ms CPU per call", measure=partial(door, 0)),
    Figure(what=WHAT, who="endpoint, 400,000 stored", unit="ms CPU per call", measure=partial(door, STORED)),
    Figure(what=WHAT, who="endpoint, --null", unit="ms CPU per call", measure=partial(door, 0, "--null")),
]
