"""The contract of parking lots: file, stream, S3 and SQS, in process and through the real adapters; at least once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import Ambiguous, InvalidInput, NotFound, Rejected, ServiceError, Unreachable
from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.consumer.config import LeaseConfig, WorkerConfig
from shardline.consumer.parking_aws import S3Lot, SqsLot
from shardline.consumer.policy import park_key, park_record
from shardline.consumer.replaying import open_parked_keys
from shardline.consumer.worker import Worker
from shardline.local import LocalEndpoint
from shardline.local.doors.services import LocalServices
from shardline.local.sim.runtime import SimRuntime
from shardline.local.sim.simulation import Simulation, run

from tests.local.lots import IN_PROCESS, OVER_HTTP, QUEUE, connection_to, http, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from shardline.consumer.handler import Record
    from shardline.consumer.policy import Parked

    from tests.local.lots import Place

CONFIG = WorkerConfig(leases=LeaseConfig(failover_s=3.0, call_timeout_s=1.0))
RECORDS = [
    record(1),
    record(2, key=None, explicit_hash_key=None, data=b"", headers={}),
    record(3, key="\u00fc/../\U0001f600", headers={"traceparent": "00-1", "\u00e9": ""}),
    record(4, sub_sequence_number=0, attempts=0, reason="MalformedAggregate: index"),
]


@pytest.fixture(scope="module")
def serving() -> Iterator[LocalEndpoint]:
    """Serve one endpoint for the lots behind HTTP."""
    from shardline.local.moto.dispatch import reset

    with LocalEndpoint() as endpoint:
        yield endpoint
    reset()


KINDS = [*IN_PROCESS, *(f"http {kind}" for kind in OVER_HTTP)]


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Return what opens each kind of lot."""
    door, _, kind = str(request.param).partition(" ")
    if door == "http":
        return http(request.getfixturevalue("serving"), kind)
    return IN_PROCESS[str(request.param)]


def play(opened: Callable[[Path], Any], path: Path, story: Callable[[Place], Any]) -> None:
    """Open a lot and tell its story."""

    async def main() -> None:
        async with opened(path) as place:
            await story(place)

    asyncio.run(main())


def in_order(found: list[Parked]) -> list[Parked]:
    """Return records by position."""
    return sorted(found, key=lambda parked: int(parked.sequence_number))


def test_a_lot_keeps_records_whole(opened: Callable[[Path], Any], tmp_path: Path) -> None:
    """Bytes, key, headers, position, reason and attempts stand in it as they were, once the call has returned."""

    async def story(place: Place) -> None:
        for parked in RECORDS:
            await place.park(parked)
        assert in_order(await place.read()) == RECORDS

    play(opened, tmp_path, story)


def test_a_lot_that_is_not_there_says_so(opened: Callable[[Path], Any], tmp_path: Path) -> None:
    """It raises, so that the shard waits, and the record is nowhere taken for parked."""

    async def story(place: Place) -> None:
        with pytest.raises((NotFound, OSError, Rejected)):
            await replace(place, lot=place.nowhere).park(record())
        assert await place.read() == []

    play(opened, tmp_path, story)


def test_what_is_parked_again_is_there(opened: Callable[[Path], Any], tmp_path: Path) -> None:
    """After a lost answer the same record comes again: in S3 and in a FIFO queue it is one all the same."""

    async def story(place: Place) -> None:
        for parked in (RECORDS[0], replace(RECORDS[0], attempts=4)):
            await place.park(parked)
        found = await place.read()
        once = isinstance(place.lot, S3Lot) or (isinstance(place.lot, SqsLot) and place.lot.queue_url.endswith("fifo"))
        assert len(found) == (1 if once else 2)
        assert {(one.sequence_number, one.data) for one in found} == {(RECORDS[0].sequence_number, RECORDS[0].data)}

    play(opened, tmp_path, story)


def test_a_large_record_is_kept_or_refused_aloud(opened: Callable[[Path], Any], tmp_path: Path) -> None:
    """A mebibyte of data grows by a third: file and S3 take it, a queue spills it; without a spill it is refused."""

    async def story(place: Place) -> None:
        large = record(5, data=bytes(range(256)) * 4096)
        if place.spills or place.lot.__class__.__name__ == "FileLot":
            await place.park(large)
            assert await place.read() == [large]
            return
        with pytest.raises(ServiceError):
            await place.park(large)
        assert await place.read() == []

    play(opened, tmp_path, story)


def test_a_lot_is_read_back_by_key(serving: LocalEndpoint, tmp_path: Path) -> None:
    """A replay lists one key's folder alone: its records in order of their positions; a queue's copies, too."""

    async def story(place: Place) -> None:
        for number in (30, 4, 200):
            await place.park(record(number))
            await place.park(record(number, key="other"))
        await place.park(record(7, stream="clicks"))
        found = [parked async for parked in place.lot.records("orders", "k8")]  # type: ignore[attr-defined]  # these read back
        assert found == [record(4), record(30), record(200)]

    for opened in (http(serving, "bucket"), http(serving, "copies")):
        play(opened, tmp_path, story)
    for kind in ("bucket", "queue and copies"):
        play(IN_PROCESS[kind], tmp_path, story)


def test_a_queue_without_copies_takes_no_parked_keys() -> None:
    """What could never be replayed in order is refused where it is set up, with the reason and the way out."""
    with pytest.raises(InvalidInput, match=r"park_key's lot must be .* give copies=S3Lot"):
        park_key(SqsLot(QUEUE), attempts=1)
    with pytest.raises(InvalidInput, match="spill must be given without copies"):
        SqsLot(QUEUE, spill=S3Lot("b"), copies=S3Lot("b"))
    assert park_key(SqsLot(QUEUE, copies=S3Lot("b")), attempts=1).lot is not None
    assert park_record(SqsLot(QUEUE), attempts=1).lot is not None

    async def read() -> list[Parked]:
        return [parked async for parked in SqsLot(QUEUE).records("orders", "k8")]

    with pytest.raises(InvalidInput, match="read back"):
        asyncio.run(read())


class Counting(LocalServices):
    """Services that count the clients that are open, and all that were opened."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.open_now = self.opened = 0

    @asynccontextmanager
    async def objects(self) -> AsyncIterator[Any]:
        """Open S3."""
        async with self._counted(), super().objects() as objects:
            yield objects

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Any]:
        """Open SQS."""
        async with self._counted(), super().queue() as queue:
            yield queue

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self.open_now += 1
        self.opened += 1
        yield
        self.open_now -= 1


def test_a_worker_and_a_replay_open_a_lots_clients_once() -> None:
    """However many records are parked and handlers park into it; they are closed when worker or replay ends."""

    async def main(sim: Simulation) -> None:
        services = Counting(sim.runtime.wall)
        for name in ("clicks", "orders"):
            services.state.create_stream(name, 1, now=sim.runtime.wall())
        await asyncio.sleep(5)
        services.sqs.queues[QUEUE] = []
        services.s3.buckets["b"] = {}
        lot = SqsLot(QUEUE, copies=S3Lot("b", connection=services), connection=services)
        for number in range(40):
            name = ("clicks", "orders")[number % 2]
            services.state.put_records(Stream(name), [PutEntry(b"%d" % number, "k")], now=sim.runtime.wall())

        async def fail(given: Record) -> None:
            raise ValueError(given.sequence_number)

        runtime = SimRuntime(sim.host("w0"))
        worker = Worker(
            "app",
            streams=["clicks", "orders"],
            start="TRIM_HORIZON",
            connection=services,
            runtime=runtime,
            config=CONFIG,
        )
        for name in ("clicks", "orders"):
            worker.add_handler(fail, name, on_failure=park_key(lot, attempts=1))
        serving = sim.hosts["w0"].spawn(worker.serve())
        await asyncio.sleep(60)
        assert (services.open_now, services.opened) == (2, 2)
        worker.stop()
        await serving
        assert (services.open_now, len(services.sqs.queues[QUEUE])) == (0, 40)
        replayed: list[int] = []
        async with open_parked_keys("app", lot, connection=services, runtime=runtime) as parked:
            done = await parked.replay("orders", "k", lambda record: replayed.append(int(record.data)))
            assert (services.open_now, services.opened) == (2, 4)
        assert (done.released, services.open_now) == (True, 0)
        assert replayed == list(range(1, 40, 2))

    run(main, until=600)


def test_names_hold_the_position_and_no_key() -> None:
    """An object is named after its record's place, with a digest of the key: asked again, the same object."""
    lot = S3Lot("b", "/parked/")
    name = lot.name_of(record(3))
    assert name == lot.name_of(record(3, attempts=9, reason="other", parked_at_s=77.0))
    assert name.startswith("parked/orders/")
    assert name.endswith(f"/shardId-000000000000/{10**55 + 3:064d}-0000002.json")
    assert "k8" not in name
    assert len({lot.name_of(one) for one in (*RECORDS, record(1, shard_id="shardId-000000000001"))}) == 5
    assert (repr(lot), repr(SqsLot(QUEUE))) == ("S3Lot('b', 'parked/')", "SqsLot('parked')")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: S3Lot(""),
        lambda: SqsLot("parked"),
        lambda: SqsLot(QUEUE, bytes_max=1023),
        lambda: SqsLot(QUEUE, bytes_max=2**20 + 1),
        lambda: SqsLot(QUEUE, bytes_max=True),
    ],
)
def test_settings_of_lots_are_checked(wrong: Callable[[], object]) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput):
        wrong()


def test_a_queue_of_a_lower_limit_spills_too() -> None:
    """What the queue itself refuses goes to the spill; its message says where."""

    async def main() -> None:
        services = LocalServices()
        services.sqs.bytes_max = 2048
        services.sqs.queues[QUEUE] = []
        services.s3.buckets["b"] = {}
        large = record(5, data=b"x" * 4096)
        with pytest.raises(Rejected):
            await SqsLot(QUEUE, connection=services)(large)
        await SqsLot(QUEUE, spill=S3Lot("b", connection=services), connection=services)(large)
        assert len(services.sqs.queues[QUEUE]) == len(services.s3.buckets["b"]) == 1

    asyncio.run(main())


def test_an_endpoint_that_is_away_is_told_as_not_sent() -> None:
    """Nothing was sent where no connection was made."""

    async def main() -> None:
        with LocalEndpoint() as endpoint:
            connection, url = connection_to(endpoint), endpoint.url
        with pytest.raises(Unreachable):
            await S3Lot("b", connection=connection)(record())
        with pytest.raises(Unreachable):
            await SqsLot(f"{url}/1/parked", connection=connection)(record())

    asyncio.run(main())


class Losing(LocalServices):
    """Services whose S3 and SQS lose every other answer, before or after they have done what was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._random = Random(5)

    def fault(self) -> str:
        """Draw what goes wrong with the next call."""
        return self._random.choice(("before", "fine", "after", "fine"))

    @asynccontextmanager
    async def objects(self) -> AsyncIterator[Any]:
        """Open S3."""
        yield _Losing(self, self.s3, "put")

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Any]:
        """Open SQS."""
        yield _Losing(self, self.sqs, "send")


class _Losing:
    def __init__(self, services: Losing, inner: Any, name: str) -> None:
        self._services = services
        self._inner = inner
        setattr(self, name, self._call)
        self._name = name

    async def _call(self, *arguments: Any, **options: Any) -> None:
        fault = self._services.fault()
        if fault == "before":
            raise Ambiguous("CallTimeout")
        await getattr(self._inner, self._name)(*arguments, **options)
        if fault == "after":
            raise Ambiguous("CallTimeout")


@pytest.mark.parametrize("kind", ["bucket", "queue", "fifo", "spill"])
def test_a_worker_parks_in_spite_of_lost_answers(kind: str) -> None:
    """Each poison record stands in the lot before the shard goes on, however often an answer is lost (P1, P4)."""

    async def main(sim: Simulation) -> None:
        services = Losing(sim.runtime.wall)
        services.state.create_stream("orders", 1, now=sim.runtime.wall())
        await asyncio.sleep(5)
        url = QUEUE + (".fifo" if kind == "fifo" else "")
        services.sqs.queues[url] = []
        services.s3.buckets["b"] = {}
        bucket = S3Lot("b", connection=services)
        lot = bucket if kind == "bucket" else SqsLot(url, connection=services)
        if kind == "spill":
            lot = SqsLot(url, spill=bucket, bytes_max=1024, connection=services)
        for number in range(30):
            data = b"%d " % number + b"." * (2000 if number % 3 else 0)
            services.state.put_records(Stream("orders"), [PutEntry(data, "k")], now=sim.runtime.wall())
        seen: list[int] = []

        async def handle(given: Record) -> None:
            number = int(given.data.split()[0])
            if number % 5 == 0:
                raise ValueError(number)
            seen.append(number)

        worker = Worker(
            "app",
            streams="orders",
            start="TRIM_HORIZON",
            connection=services,
            runtime=SimRuntime(sim.host("w0")),
            config=CONFIG,
        )
        worker.add_handler(handle, on_failure=park_record(lot, attempts=2))
        serving = sim.hosts["w0"].spawn(worker.serve())
        await asyncio.sleep(120)
        worker.stop()
        await serving
        assert seen == [number for number in range(30) if number % 5]
        kept = len(services.s3.buckets["b"])
        sent = len(services.sqs.queues[url])
        assert (kept, sent >= 6) == {"bucket": (6, False), "spill": (4, True)}.get(kind, (0, True))
        assert sent == 6 or kind != "fifo"

    run(main, until=600)
