"""What newcomers get wrong with a worker: refused by name, before anything is sent, never done silently otherwise."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.errors import Closed, InvalidInput
from shardline.common.finished import check_finished
from shardline.consumer import (
    DeliveryConfig,
    FormerStreams,
    LeaseConfig,
    PollingSettings,
    ShardProcessor,
    TableConfig,
    TrackingConfig,
    Worker,
    WorkerConfig,
    park_record,
    stop_worker,
)
from shardline.consumer.blocking import ShardProcessor as BlockingProcessor
from shardline.consumer.blocking import on_threads
from shardline.consumer.config import Fleet, Malformed, Retrieval
from shardline.consumer.events import HandlerFailed
from shardline.consumer.spec import HandlerSpec
from shardline.local.sim.simulation import Simulation, run

from tests.consumer.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from shardline.consumer import Batch, Checkpointer, Record


def check_refused(field: str, call: Any, *arguments: object, **named: object) -> None:
    """Check that a call is refused for an argument."""
    with pytest.raises(InvalidInput) as error:
        call(*arguments, **named)
    assert error.value.field == field


worker = functools.partial(Worker, streams="orders", start="LATEST")


@pytest.mark.parametrize(
    ("field", "application", "named"),
    [
        ("application", "", {}),
        ("application", None, {}),
        ("application", "my billing", {}),
        ("application", "b", {}),
        ("config", "billing", {"config": {"failover_s": 3}}),
        ("connection", "billing", {"connection": "eu-west-1"}),
        ("listeners", "billing", {"listeners": print}),
        ("start", "billing", {"start": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("start", "billing", {"start": "latest"}),
        ("streams", "billing", {"streams": 3}),
    ],
)
def test_what_no_worker_can_be_made_of(field: str, application: Any, named: dict[str, Any]) -> None:
    """The constructor refuses it."""
    check_refused(field, worker, application, **named)


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [
        ("retrieval", WorkerConfig, "poling"),
        ("leases", WorkerConfig, {"failover_s": 3}),
        ("polling", WorkerConfig, 5),
        ("worker_id", WorkerConfig, 7),
        ("consumer_name", WorkerConfig, 7),
        ("metrics", WorkerConfig, True),
        ("fleet", LeaseConfig, "kcl4"),
        ("strategy", LeaseConfig, "even"),
        ("failover_s", LeaseConfig, "3"),
        ("call_timeout_s", LeaseConfig, "1"),
        ("clean_up", LeaseConfig, "no"),
        ("metrics_table", LeaseConfig, "a b"),
        ("malformed", DeliveryConfig, "skip"),
        ("retry", DeliveryConfig, 5),
        ("handler_timeout_s", DeliveryConfig, None),
        ("batch_records", DeliveryConfig, 1.5),
        ("idle_s", PollingSettings, "1"),
        ("page_records", PollingSettings, True),
    ],
)
def test_settings_of_another_kind(field: str, kind: Any, value: object) -> None:
    """A wrong type is refused as a wrong value is: by its name."""
    check_refused(field, kind, **{field: value})


def test_tables_and_tracking() -> None:
    """Groups name themselves in front of their fields."""
    check_refused("table.tags", TableConfig, tags=["a"])
    check_refused("table.deletion_protection", TableConfig, deletion_protection="no")
    check_refused("tracking.poll_s", TrackingConfig, poll_s="60")
    check_refused("tracking.former", TrackingConfig, former="delete")


def test_a_choice_may_be_given_as_its_text() -> None:
    """What reads like a choice is that choice: compared by identity, text would silently mean something else."""
    assert WorkerConfig(retrieval="polling").retrieval is Retrieval.POLLING  # type: ignore[arg-type]  # Text on purpose.
    assert LeaseConfig(fleet="kcl2").fleet is Fleet.KCL2  # type: ignore[arg-type]  # Text on purpose.
    assert DeliveryConfig(malformed="park").malformed is Malformed.PARK  # type: ignore[arg-type]  # Text on purpose.
    former = TrackingConfig(former="NO_STREAMS_LEASES_DELETION").former  # type: ignore[arg-type]  # Text on purpose.
    assert former is FormerStreams.KEEP


async def asynchronous(record: Record) -> None:
    """Take a record."""


def forgetful(record: Record) -> Coroutine[Any, Any, None]:
    """Forget to await."""
    return asynchronous(record)


def generating(record: Record) -> Iterator[Record]:
    """Do nothing when called."""
    yield record


async def generating_too(record: Record) -> AsyncIterator[Record]:
    """Do nothing when called."""
    yield record


@pytest.mark.parametrize(
    ("field", "function", "named"),
    [
        ("handler", 3, {}),
        ("handler", lambda: None, {}),
        ("handler", generating, {}),
        ("handler", generating_too, {}),
        ("on_failure", asynchronous, {"on_failure": "park"}),
        ("on_failure", asynchronous, {"on_failure": park_record}),
        ("concurrency", asynchronous, {"concurrency": 4}),
        ("processes", asynchronous, {"processes": "2"}),
    ],
)
def test_handlers_that_would_do_nothing(field: str, function: Any, named: dict[str, Any]) -> None:
    """A generator's body never runs, a policy that is none never helps: both are refused when registered."""
    check_refused(field, worker("billing").add_handler, function, **named)


def test_lots_and_limits() -> None:
    """A path is no lot; text is no number of attempts."""
    check_refused("lot", park_record, "parked.jsonl", attempts=3)
    check_refused("attempts", stop_worker, attempts="3")
    check_refused("age_s", stop_worker, age_s="3")


class Plain(BlockingProcessor):
    """A processor with plain methods."""

    def process(self, batch: Batch, checkpointer: object) -> None:
        """Do nothing."""


class HalfPlain(ShardProcessor):
    """A processor that forgot `async`."""

    def process(self, batch: Batch, checkpointer: Checkpointer) -> None:  # type: ignore[override]  # The mistake.
        """Do nothing."""


class NoProcessor:
    """A class of something else."""


@pytest.mark.parametrize("processor", [Plain, HalfPlain, NoProcessor, NoProcessor(), "Plain"])
def test_processors_that_cannot_be_awaited(processor: Any) -> None:
    """Their calls would fail each time, after having done their work."""
    check_refused("processor", worker("billing").add_processor, processor)


def test_a_plain_function_that_returns_a_coroutine_fails() -> None:
    """It would count as done without ever having run; the same goes for a lot, whose record would be gone."""
    spec = HandlerSpec.of(forgetful, batch=False)
    assert spec.blocking
    check_refused("handler", spec.function, None)
    check_finished("lot", None)
    check_finished("lot", "anything else")
    for answer in (iter(()), iter([1])):
        check_finished("lot", answer)
    check_refused("lot", check_finished, "lot", (one for one in (1, 2)))


def test_such_a_handler_holds_its_shard() -> None:
    """No checkpoint covers what was never run."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(3)
        world.start("w0", forgetful)
        await asyncio.sleep(60)
        await world.stop()
        (row,) = world.rows().values()
        assert row.checkpoint.sequence_number == 0 or str(row.checkpoint) == "TRIM_HORIZON"

    run(main, until=600)


class Asynchronous(BlockingProcessor):
    """A blocking processor whose method is a coroutine function after all."""

    async def process(self, batch: Batch, checkpointer: object) -> None:  # type: ignore[override]  # The mistake.
        """Do nothing, since nobody awaits it."""


def test_such_a_processor_holds_its_shard() -> None:
    """A thread would call it, and drop what it returns: that is a failure, told each time."""

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(3)
        world.start("w0", processor=on_threads(Asynchronous))
        await asyncio.sleep(60)
        await world.stop()
        (row,) = world.rows().values()
        assert str(row.checkpoint) == "TRIM_HORIZON"
        assert {event.as_fields()["error"] for event in world.named(HandlerFailed)} == {"InvalidInput"}

    run(main, until=600)


def test_such_a_lot_keeps_the_record_from_being_let_go() -> None:
    """The shard waits until the lot says that it has the record."""

    async def kept(_: object) -> None:
        raise AssertionError("nobody awaits it")

    def lot(parked: object) -> Coroutine[Any, Any, None]:
        return kept(parked)

    async def fails(_: Record) -> None:
        raise ValueError("no")

    async def main(sim: Simulation) -> None:
        world = World(sim, shards=1)
        await world.create()
        world.put(1)
        world.start("w0", fails, on_failure=park_record(lot, attempts=1))
        await asyncio.sleep(60)
        await world.stop()
        (row,) = world.rows().values()
        assert str(row.checkpoint) == "TRIM_HORIZON"

    run(main, until=600)


def test_run_inside_a_loop_says_what_to_write() -> None:
    """`run` starts a loop of its own."""

    async def main() -> None:
        with pytest.raises(Closed, match="async with worker"):
            worker("billing").run()

    asyncio.run(main())
