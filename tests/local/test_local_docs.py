"""The programs of docs/local.md, run as they stand."""

from __future__ import annotations

import asyncio

import pytest

from shardline.common.errors import Closed

from tests.pages import programs, run_in_coroutine


@pytest.mark.slow
def test_the_endpoint_for_a_client_of_any_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """boto3 lists the shards of a stream on the endpoint."""
    asyncio.run(run_in_coroutine(programs("docs/local.md")[0], "docs/local.md"))
    assert capsys.readouterr().out.count("'ShardId'") == 4


def test_the_ports_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    """A producer writes to a stream of this process."""
    asyncio.run(run_in_coroutine(programs("docs/local.md")[1], "docs/local.md"))
    assert "shardId-00000000000" in capsys.readouterr().out


@pytest.mark.slow
def test_the_proxy_in_front_of_the_endpoint() -> None:
    """It takes its fault; after leaving it has no address any more, and says so."""
    names = asyncio.run(run_in_coroutine(programs("docs/local.md")[2], "docs/local.md"))
    assert "to_client" in repr(names["proxy"])
    with pytest.raises(Closed):
        _ = names["proxy"].url
