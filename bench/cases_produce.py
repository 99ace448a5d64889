# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""Producing, end to end over TLS: user records into the null endpoint, ours beside boto3 and aws-kinesis-agg.

Ours runs as a user would run it: results shared, retries, limiter, shard check and metrics on; only the rate is lifted
(`rate_share`), for the endpoint has no limit. "record" keeps a result per record, "blocking" puts from a plain thread.
Counted is the CPU (user and system) of the client's process, all its threads.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.harness import AGGREGATE_BYTES_MAX, Case, Goal, cpu_seconds, user_records
from bench.null_kinesis import STREAM, null_kinesis

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.connection import Connection, Wire

    from bench.null_kinesis import Null

SIZES = (100, 1024)
OURS = {100: 100_000, 1024: 40_000}
PEERS = {100: 30_000, 1024: 15_000}
TURNS = 8
"""Ours puts its records so many times, and once before: the peers' one connection is opened before the clock runs as
well, and ours opens several only when there is much to send."""
ENTRIES_MAX = 500


def connection(null: Null, wire: Wire) -> Connection:
    """Return our way to the endpoint."""
    from shardline.common.connection import Connection, Credentials

    return Connection(
        region_name="us-east-1",
        endpoint_url=null.url,
        ca_bundle=null.ca_bundle,
        credentials=Credentials(access_key_id="a", secret_access_key="b"),
        wire=wire,
    )


def ours(size: int, wire: Wire, kind: str) -> float:
    """Return CPU seconds per record of our asyncio producer: "shared" or "record" results."""
    from shardline.common.events import Events
    from shardline.common.metrics.accumulator import Accumulator, AccumulatorSettings
    from shardline.common.metrics.measure import measurements_of
    from shardline.producer import Producer, StreamSettings

    records = user_records(OURS[size], size)
    accumulator = Accumulator(AccumulatorSettings())
    events = Events(lambda event: accumulator.add(measurements_of(event)))

    async def measured(null: Null) -> float:
        settings = StreamSettings(rate_share=1e6)
        async with Producer(STREAM, settings, connection=connection(null, wire), events=events) as producer:

            async def put(some: list[tuple[str, bytes]]) -> None:
                if kind == "shared":
                    for key, data in some:
                        await producer.put(data, key)
                else:
                    kept = [await producer.send(data, key) for key, data in some]
                    for one in kept:
                        await one
                await producer.flush()

            await put(records)
            seconds = [await _cpu_of(lambda: put(records)) for _ in range(TURNS)]
            return sum(seconds) / TURNS

    with null_kinesis() as null:
        return asyncio.run(measured(null)) / len(records)


async def _cpu_of(work: Callable[[], Any]) -> float:
    import gc
    import time

    gc.collect()
    gc.freeze()
    start = time.process_time()
    await work()
    return time.process_time() - start


def blocking(size: int, wire: Wire) -> float:
    """Return CPU seconds per record of our blocking producer, both its threads."""
    from shardline.producer import StreamSettings
    from shardline.producer.blocking import Producer

    records = user_records(OURS[size], size)
    settings = StreamSettings(rate_share=1e6)
    with null_kinesis() as null, Producer(STREAM, settings, connection=connection(null, wire)) as producer:

        def put(some: list[tuple[str, bytes]]) -> None:
            for key, data in some:
                producer.put(data, key)
            producer.flush()

        put(records)
        return sum(cpu_seconds(lambda: put(records)) for _ in range(TURNS)) / TURNS / len(records)


def client(null: Null) -> Any:  # noqa: ANN401 - boto3 makes its clients' classes as it goes.
    """Return boto3's client for the endpoint."""
    import boto3

    return boto3.client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url=null.url,
        verify=null.ca_bundle,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


def boto3_put_records(size: int) -> float:
    """Return CPU seconds per record of PutRecords with 500 records each."""
    records = user_records(PEERS[size], size)
    with null_kinesis() as null:
        kinesis = client(null)

        def put(some: list[tuple[str, bytes]]) -> None:
            for start in range(0, len(some), ENTRIES_MAX):
                entries = [{"Data": data, "PartitionKey": key} for key, data in some[start : start + ENTRIES_MAX]]
                kinesis.put_records(StreamName=STREAM, Records=entries)

        put(records[:ENTRIES_MAX])
        return cpu_seconds(lambda: put(records)) / len(records)


def agg_put_records(size: int) -> float:
    """Return CPU seconds per record of aws-kinesis-agg and PutRecords with 20 aggregates each (1 MB)."""
    from aws_kinesis_agg.aggregator import RecordAggregator

    records = user_records(PEERS[size], size)
    with null_kinesis() as null:
        kinesis = client(null)

        def put(some: list[tuple[str, bytes]]) -> None:
            aggregator = RecordAggregator(AGGREGATE_BYTES_MAX)
            entries: list[dict[str, object]] = []

            def add(aggregate: Any) -> None:  # noqa: ANN401 - the peer has no types.
                key, hash_key, data = aggregate.get_contents()
                entry = {"Data": data, "PartitionKey": key}
                entries.append(entry if hash_key is None else {**entry, "ExplicitHashKey": hash_key})
                if len(entries) == 20:
                    kinesis.put_records(StreamName=STREAM, Records=entries)
                    entries.clear()

            for key, data in some:
                if full := aggregator.add_user_record(key, data):
                    add(full)
            if rest := aggregator.clear_and_get():
                add(rest)
            if entries:
                kinesis.put_records(StreamName=STREAM, Records=entries)

        put(records[:ENTRIES_MAX])
        return cpu_seconds(lambda: put(records)) / len(records)


PUT_RECORDS, AGG = "boto3 put_records", "aws-kinesis-agg + boto3"
GOALS = {
    (100, "json"): (Goal(PUT_RECORDS, 0.12), Goal(AGG, 0.27)),
    (100, "cbor"): (Goal(PUT_RECORDS, 0.10), Goal(AGG, 0.22)),
    (1024, "json"): (Goal(PUT_RECORDS, 0.45), Goal(AGG, 0.45)),
    (1024, "cbor"): (Goal(PUT_RECORDS, 0.35), Goal(AGG, 0.35)),
}


def _cases() -> list[Case]:
    found: list[Case] = []
    for size in SIZES:
        peer = partial(Case, work="produce", bytes=size, wire="json", tls=True)
        found.append(peer(who=PUT_RECORDS, measure=partial(boto3_put_records, size)))
        found.append(peer(who=AGG, measure=partial(agg_put_records, size)))
        for wire in ("json", "cbor"):
            case = partial(Case, work="produce", bytes=size, wire=wire, tls=True)
            awaited = f"shardline {wire}"
            twice = (Goal(awaited, 2.0),)
            found.append(case(who=awaited, measure=partial(ours, size, wire, "shared"), goals=GOALS[size, wire]))
            found.append(case(who=f"{awaited}, record", measure=partial(ours, size, wire, "record")))
            found.append(case(who=f"{awaited}, blocking", measure=partial(blocking, size, wire), goals=twice))
    return found


CASES = _cases()
