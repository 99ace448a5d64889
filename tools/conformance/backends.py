# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""What the script runs against: our state by both doors, moto, and kinesis-local where Node can run it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import urllib3
from botocore.config import Config
from moto import mock_aws

from shardline.common.clock import AsyncioRuntime
from shardline.common.connection import Connection, Credentials
from shardline.local import InProcessKinesis, KinesisState, LocalEndpoint, LocalServices
from shardline.local.moto.dispatch import reset

from tools.conformance.drivers import Boto, InProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shardline.common.ports.services import Services

    from tools.conformance.drivers import Kinesis

REFEREE = "kinesis-local"
REFEREE_VERSION = "0.6.2"
START_S = 30.0
KEYS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
CONFIG = Config(retries={"total_max_attempts": 1}, read_timeout=30, parameter_validation=False)


class Skipped(Exception):
    """A backend cannot run here; the message says why."""


def _client(url: str | None) -> Any:  # noqa: ANN401 - boto3 ships no types.
    return boto3.client("kinesis", endpoint_url=url, config=CONFIG, **KEYS)


@contextmanager
def in_process() -> Iterator[Kinesis]:
    """Open our state without a network."""
    state, clock = KinesisState(), AsyncioRuntime().wall
    yield InProcess(InProcessKinesis(state, clock), state, clock)


@contextmanager
def over_http() -> Iterator[Kinesis]:
    """Open our state over HTTP."""
    with LocalEndpoint() as endpoint:
        yield Boto(_client(endpoint.url))


@contextmanager
def moto() -> Iterator[Kinesis]:
    """Open moto in this process."""
    with mock_aws():
        yield Boto(_client(None))


@contextmanager
def referee(folder: Path) -> Iterator[Kinesis]:
    """Install and start kinesis-local; raises `Skipped` where there is no Node, or no package."""
    port, tls_port = _free_port(), _free_port()
    package = _installed(folder)
    environment = {
        **os.environ,
        "KINESIS_MOCK_PLAIN_PORT": str(port),
        "KINESIS_MOCK_TLS_PORT": str(tls_port),
        "LOG_LEVEL": "ERROR",
        "SHARD_LIMIT": "1000",
        **{f"{name}_DURATION": "10ms" for name in ("CREATE_STREAM", "DELETE_STREAM", "MERGE_SHARDS", "SPLIT_SHARD")},
        **{f"{name}_DURATION": "10ms" for name in ("UPDATE_SHARD_COUNT", "REGISTER_STREAM_CONSUMER")},
    }
    # Started in its own folder, or it does not find its server.json.
    with subprocess.Popen(
        [shutil.which("node") or "node", "main.js"],
        cwd=package,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process)
            yield Boto(_client(url))
        finally:
            process.terminate()


def _installed(folder: Path) -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Skipped("there is no node and npm on PATH")
    package = folder / "node_modules" / REFEREE
    if not (package / "main.js").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
        installed = subprocess.run(
            [*command, f"{REFEREE}@{REFEREE_VERSION}"], check=False, capture_output=True, timeout=180
        )
        if installed.returncode != 0 or not (package / "main.js").exists():
            raise Skipped(f"npm could not install {REFEREE}@{REFEREE_VERSION} (exit status {installed.returncode})")
    return package


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    with urllib3.PoolManager() as pool:
        while time.monotonic() < until and process.poll() is None:
            try:
                pool.request("GET", f"{url}/healthcheck", retries=False, timeout=1.0)
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
            else:
                return
    raise Skipped(f"{REFEREE} did not start within {START_S:g} s")


@contextmanager
def tables_in_process() -> Iterator[Services]:
    """Open our lease tables without a network."""
    yield LocalServices()


@contextmanager
def tables_of_moto() -> Iterator[Services]:
    """Open moto's DynamoDB through our HTTP door and the SDK's adapter."""
    with LocalEndpoint() as endpoint:
        reset()
        yield Connection(
            region_name="us-east-1",
            endpoint_url=endpoint.url,
            insecure_plain_http=True,
            credentials=Credentials(access_key_id="test", secret_access_key="test"),  # noqa: S106 - a dummy for loopback.
        )
        reset()
