"""Fixtures of the local endpoint's tests: an endpoint on a thread, and boto3 clients of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from shardline.local import LocalEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Client = Any  # boto3 ships no types.
CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
NO_RETRIES = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)


@pytest.fixture
def endpoint() -> Iterator[LocalEndpoint]:
    """Serve a fresh endpoint without streams."""
    from shardline.local.moto.dispatch import reset

    with LocalEndpoint() as serving:
        yield serving
    reset()


@pytest.fixture
def client(endpoint: LocalEndpoint) -> Iterator[Callable[[str], Any]]:
    """Return a maker of boto3 clients of the endpoint, which do not retry."""
    made: list[Any] = []

    def make(service: str) -> Any:
        made.append(boto3.client(service, endpoint_url=endpoint.url, config=NO_RETRIES, **CREDENTIALS))
        return made[-1]

    yield make
    for one in made:
        one.close()
