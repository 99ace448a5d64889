"""The producer's metrics, from put to PutMetricData, in virtual time; and that publishing them costs only metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shardline.common.errors import InvalidInput
from shardline.common.metrics.settings import MetricsSettings
from shardline.local.sim.network import Faults, Service
from shardline.producer.config import ProducerSettings, StreamSettings
from shardline.producer.outcome import Delivered

from tests.common.broken_metrics import Broken
from tests.producer.producer_world import World

if TYPE_CHECKING:
    from shardline.producer.producer import Producer

CANARY = "canary-7f3a"


def settings(**fields: object) -> ProducerSettings:
    """Return a producer's settings with metrics."""
    return ProducerSettings(metrics=MetricsSettings(**fields))  # type: ignore[arg-type]  # each test names its own.


def sums(world: World) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]]:
    """Return sample counts and sums over all uploads, by name and dimensions."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, float]] = {}
    for _, one in world.services.cloudwatch.sent:
        count, total = found.get((one.name, one.dimensions), (0.0, 0.0))
        found[one.name, one.dimensions] = (count + one.sample_count, total + one.sum)
    return found


def test_every_kpl_metric_is_published_with_its_sums() -> None:
    """1,000 records on two shards: the counts add up at the shards, at the stream and at the root."""
    world = World()

    async def main(producer: Producer) -> None:
        for number in range(1000):
            await producer.put(b"x" * 100, f"key-{number}")
            if number % 100 == 0:
                await asyncio.sleep(1)
        await producer.flush()

    world.run_with(main, producer_settings=settings())
    found = sums(world)
    stream = (("StreamName", "orders"),)
    shards = [(*stream, ("ShardId", one)) for one in sorted({one.shard_id for one in world.stored})]
    assert len(shards) == 2
    per_shard = [sum((*stream, ("ShardId", one.shard_id)) == place for one in world.stored) for place in shards]
    for place, count in [((), 1000), (stream, 1000), *zip(shards, per_shard, strict=True)]:
        assert found["UserRecordsPut", place] == (count, count)
        assert found["RetriesPerRecord", place] == (count, 0)
        assert found["BufferingTime", place][0] == count
    blobs = len({(one.shard_id, one.sequence_number) for one in world.stored})
    assert found["UserRecordsReceived", stream] == (1000, 1000)
    assert found["KinesisRecordsPut", ()] == (blobs, blobs)
    assert found["AllErrors", ()] == (blobs, 0)
    assert found["UserRecordsPerKinesisRecord", ()] == (blobs, 1000)
    assert found["KinesisRecordsPerPutRecordsRequest", stream][1] == blobs
    assert found["UserRecordsPerPutRecordsRequest", stream][1] == 1000
    assert found["UserRecordsDataPut", ()][1] == found["KinesisRecordsDataPut", ()][1] > 1000 * 100
    assert found["RequestTime", stream][0] == found["KinesisRecordsPerPutRecordsRequest", stream][0]
    assert ("UserRecordsPending", stream) in found
    assert not {name for name, _ in found} & {"ErrorsByCode", "UserRecordExpired", "UserRecordsUnknown"}
    assert {namespace for namespace, _ in world.services.cloudwatch.sent} == {"KinesisProducerLibrary"}


def test_uploads_come_at_the_interval_and_once_more_on_leaving() -> None:
    """The data carry the time of their upload: every `upload_s` where there was something, and at the end."""
    world = World()
    start = world.sim.wall_s

    async def main(producer: Producer) -> None:
        for _ in range(5):
            await producer.send_and_wait(b"x", "k")
            await asyncio.sleep(7)
        await producer.put(b"last", "k")

    world.run_with(main, producer_settings=settings(upload_s=10.0))
    times = sorted({round(one.timestamp_s - start) for _, one in world.services.cloudwatch.sent})
    assert times[:3] == [10, 20, 30]
    assert 35 <= times[-1] <= 37


def test_expired_records_and_failed_requests_count() -> None:
    """An endpoint that is away: the record fails once, expired; every failed request counts under its code."""
    world = World()
    stream = (("StreamName", "orders"),)

    async def main(producer: Producer) -> None:
        await asyncio.sleep(1)
        world.network.outage(Service.KINESIS, 60.0)
        delivery = await producer.put(b"x", "k")
        await delivery.wait()
        assert not isinstance(delivery.result_at(0), Delivered)
        await producer.flush()

    world.run_with(main, StreamSettings(ttl_s=10.0), settings(granularity="stream"))
    found = sums(world)
    failed = len(world.named("producer.request_failed"))
    assert found["UserRecordsPut", stream] == (1, 0)
    assert found["UserRecordExpired", stream] == (1, 1)
    assert found["AllErrors", stream] == (failed, failed)
    assert found["ErrorsByCode", ()] == (failed, failed)
    codes = {place[0] for name, place in found if name == "ErrorsByCode" and place}
    assert {name for name, _ in codes} == {"ErrorCode"}
    assert not [place for _, place in found if "ShardId" in dict(place)]


def test_failed_entries_count_by_code_and_retries_by_record() -> None:
    """Entries that fail one by one: each is an error under its code, each re-sent record a retry."""
    world = World(shards=1)
    place = (("StreamName", "orders"), ("ShardId", "shardId-000000000000"))

    async def main(producer: Producer) -> None:
        world.network.set_faults(Service.KINESIS, Faults(entries=0.2))
        for number in range(2500):
            await producer.put(b"x" * 10, f"{number}")
        await producer.flush()

    world.run_with(main, StreamSettings(aggregation=False), settings())
    found = sums(world)
    codes = [place for name, place in found if name == "ErrorsByCode" and len(place) == 3]
    refused = sum(found["ErrorsByCode", one][1] for one in codes)
    assert refused > 0
    assert {one[1:] for one in codes} == {place}
    assert found["AllErrors", place] == (2500 + refused, refused)
    assert found["KinesisRecordsPut", place] == (2500 + refused, 2500)
    assert found["RetriesPerRecord", place] == (2500, refused)
    assert found["UserRecordsPut", place] == (2500, 2500)


@pytest.mark.parametrize("way", ["denied", "bug", "hangs"])
def test_a_broken_metrics_service_never_disturbs(way: str) -> None:
    """Whatever it does: every record is delivered, leaving is bounded, and what was lost is said."""
    world = World()
    sink = Broken(way)
    left_s: list[float] = []

    async def main(producer: Producer) -> None:
        for number in range(30):
            assert isinstance(await producer.send_and_wait(b"%d" % number, "k"), Delivered)
            await asyncio.sleep(1)
        left_s.append(world.sim.now)

    world.run_with(main, producer_settings=settings(sink=sink, upload_s=10.0, final_timeout_s=3.0))
    assert len(world.data()) == 30
    assert sink.calls >= 3
    assert world.sim.now - left_s[0] <= 4.0
    assert {event.as_fields()["code"] for event in world.named("metrics.lost")} <= {
        "AccessDenied",
        "ZeroDivisionError",
        "TimeoutError",
        "Cancelled",
    }
    assert world.named("metrics.lost")


def test_a_metrics_service_that_cannot_be_opened_never_disturbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened by the first upload, so opening fails there, is said, and is tried again."""
    world = World()
    opened: list[float] = []

    def refuse() -> None:
        opened.append(world.sim.now)
        raise InvalidInput("region", "configured")

    async def main(producer: Producer) -> None:
        await producer.send_and_wait(b"1", "k")
        await asyncio.sleep(15)
        await producer.send_and_wait(b"2", "k")

    monkeypatch.setattr(world.services, "metrics", refuse)
    world.run_with(main, producer_settings=settings(upload_s=10.0))
    assert len(world.data()) == 2
    assert len(opened) == 2
    assert {event.as_fields()["code"] for event in world.named("metrics.lost")} == {"InvalidInput"}


def test_nothing_is_published_unless_asked_for() -> None:
    """Metrics are off by default."""
    world = World()

    async def main(producer: Producer) -> None:
        await producer.send_and_wait(b"1", "k")

    world.run_with(main)
    assert world.services.cloudwatch.sent == []


def test_payloads_and_keys_are_in_no_datum_and_no_event() -> None:
    """A canary in data, key, header and code path shows up in no metric, event or repr, failures included (I19)."""
    world = World()

    async def main(producer: Producer) -> None:
        await producer.put(f"{CANARY}-data".encode(), f"{CANARY}-key", headers={f"{CANARY}-h": f"{CANARY}-v"})
        await producer.flush()
        world.network.outage(Service.KINESIS, 60.0)
        await (await producer.put(f"{CANARY}-lost".encode(), f"{CANARY}-key")).wait()
        await producer.flush()

    world.run_with(main, StreamSettings(ttl_s=10.0), settings())
    assert world.services.cloudwatch.sent
    assert CANARY not in repr(world.services.cloudwatch.sent)
    assert CANARY not in repr([(event, event.as_fields()) for event in world.events])


def test_one_seed_is_one_set_of_metrics() -> None:
    """The publisher reaches clock and tasks through the runtime only, so a run repeats exactly (I22)."""

    def once() -> object:
        world = World(seed=5)

        async def main(producer: Producer) -> None:
            for number in range(200):
                await producer.put(b"x", f"{number}")
                await asyncio.sleep(0.5)

        world.run_with(main, producer_settings=settings(upload_s=10.0))
        return world.services.cloudwatch.sent

    assert once() == once()


def test_settings_of_another_kind_are_refused() -> None:
    """What is no `MetricsSettings` is refused by name, before anything is sent."""
    with pytest.raises(InvalidInput, match="metrics"):
        ProducerSettings(metrics={"namespace": "x"})  # type: ignore[arg-type]  # the point of the test.
