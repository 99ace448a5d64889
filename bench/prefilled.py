"""The local endpoint in a process of its own, with a stream that is full of aggregates: for consumers to race through.

Each shard holds the same page of aggregates again and again, as bytes that are kept once; every user record's key
belongs to its shard, so that a consumer's range check finds nothing.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shardline.common.aggregation import AggregateBuilder
from shardline.common.hashing import ShardMap, hash_key_bytes
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.local.http.endpoint import LocalEndpoint, serve

from bench.harness import AGGREGATE_BYTES_MAX, user_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from shardline.common.hashing import Shard

__all__ = ["SHARDS", "STREAM", "pages", "prefilled_endpoint"]

STREAM = "bench"
SHARDS = 8
_PAGE_RECORDS = {100: 120_000, 1_024: 15_000}  # About 2 MiB for each shard.


def pages(shards: Sequence[Shard], records: int, data_bytes: int) -> dict[str, tuple[list[PutEntry], int]]:
    """Return for each shard whole aggregates of its own records, and how many are in them; `records` are for all."""
    owners = ShardMap(shards)
    builders = {shard.shard_id: AggregateBuilder(AGGREGATE_BYTES_MAX) for shard in shards}
    found: dict[str, tuple[list[PutEntry], int]] = {shard.shard_id: ([], 0) for shard in shards}
    for key, data in user_records(records, data_bytes):
        owner = owners.locate(hash_key_bytes(key))
        assert owner is not None
        builder = builders[owner.shard_id]
        if not builder.try_append(key, data):
            sealed = builder.seal()
            entry = PutEntry(sealed.data, sealed.partition_key, sealed.explicit_hash_key)
            entries, count = found[owner.shard_id]
            found[owner.shard_id] = ([*entries, entry], count + sealed.count)
            builder = builders[owner.shard_id] = AggregateBuilder(AGGREGATE_BYTES_MAX)
            builder.try_append(key, data)
    return found


def _serve(data_bytes: int, records: int, ready: Connection) -> None:
    endpoint = LocalEndpoint({STREAM: SHARDS})
    now, stream = time.time(), Stream(STREAM)
    shards = endpoint.state.list_shards(stream, now=now).shards
    found = pages(shards, _PAGE_RECORDS[data_bytes], data_bytes)
    left = records
    while left > 0:
        for entries, count in found.values():
            endpoint.state.put_records(stream, entries, now=now)
            left -= count
    asyncio.run(serve(endpoint, ready.send))


@contextmanager
def prefilled_endpoint(data_bytes: int, records: int) -> Iterator[str]:
    """Run the endpoint with at least `records` user records in `STREAM`; gives its URL."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(data_bytes, records, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield str(ours.recv())
    finally:
        process.terminate()
        process.join()
