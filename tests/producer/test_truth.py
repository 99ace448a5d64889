"""I7 and I15 in simulation: whatever the network and the stream do, every outcome told is true, and told once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from shardline.local.sim.network import Faults, Service
from shardline.producer.config import Consumers, OnGap, Ordering, ProducerSettings, StreamSettings
from shardline.producer.delivery import Part
from shardline.producer.ordering import KeyGate
from shardline.producer.outcome import Delivered, Fault, NotWritten, Unknown
from shardline.producer.package import Package
from shardline.producer.router import Router

from tests.producer.producer_world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.producer.awaitable import RecordDelivery
    from shardline.producer.outcome import Outcome
    from shardline.producer.producer import Producer

MIB = 1024 * 1024


@dataclass
class Run:
    """One world's story: what was sent, in order, by key; what became of it."""

    world: World
    sent: list[tuple[str, bytes, RecordDelivery]] = field(default_factory=list)

    def told(self) -> dict[bytes, Outcome | None]:
        """Return the outcome of each record by its data."""
        return {data: one.outcome for _, data, one in self.sent}


def random_faults(random: Random) -> Faults:
    """Return a mixture of faults: some seeds have hardly any, some many of one kind."""

    def share(most: float) -> float:
        return random.choice((0.0, 0.0, most / 4, most)) * random.random()

    return Faults(
        request_lost=share(0.1),
        reply_lost=share(0.2),
        late=share(0.1),
        twice=share(0.1),
        throttled=share(0.1),
        slow=share(0.1),
        hung=share(0.05),
        error_before=share(0.1),
        error_after=share(0.1),
        unreachable=share(0.1),
        entries=share(0.4),
        shards_hidden=share(0.3),
        shards_doubled=share(0.3),
        late_s=random.choice((1.0, 20.0)),
        latency_s=random.choice((0.005, 0.05)),
    )


def random_settings(random: Random, **more: object) -> StreamSettings:
    """Return settings within the useful range."""
    values: dict[str, object] = {
        "linger_s": random.choice((0.0, 0.01, 0.1)),
        "ttl_s": random.choice((2.0, 10.0, 30.0)),
        "request_timeout_s": random.choice((0.5, 3.0)),
        "aggregate_bytes_max": random.choice((200, 2_000, 51_200)),
        "request_entries_max": random.choice((2, 20, 500)),
        "aggregation": random.random() < 0.85,
        "shard_map_refresh_s": random.choice((5.0, 300.0)),
        **more,
    }
    return StreamSettings(**values)  # type: ignore[arg-type]  # A mapping of settings by name.


async def reshard(world: World, random: Random, stop: asyncio.Event) -> None:
    """Split and merge now and then until told to stop."""
    while not stop.is_set():
        await asyncio.sleep(random.random() * 4)
        shards = len(world.state.streams["orders"].open)
        if shards < 6 and random.random() < 0.6:
            world.split(random.randrange(shards))
        elif shards > 1:
            world.merge(random.randrange(shards - 1))


async def load(run: Run, producer: Producer, random: Random, count: int, keys: int) -> None:
    """Put `count` records of `keys` keys at a changing pace."""
    for number in range(count):
        key = f"k{random.randrange(keys)}"
        data = b"%s:%d:" % (key.encode(), number) + b"x" * random.choice((0, 10, 300))
        run.sent.append((key, data, await producer.send(data, key)))
        if random.random() < 0.2:
            await asyncio.sleep(random.random() * 0.2)


def live(seed: int, **more: object) -> Run:
    """Live through one world: faults and resharding while records are put, then quiet, then the end."""
    random = Random(seed)
    world = World(seed, shards=random.choice((1, 2, 4)))
    run = Run(world)
    settings = random_settings(random, **more)

    async def main() -> None:
        producer = world.producer(settings, ProducerSettings(memory_bytes_max=32 * MIB), close_timeout_s=300)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group, producer:
            world.network.set_faults(Service.KINESIS, random_faults(random))
            group.create_task(reshard(world, random, stop))
            await load(run, producer, random, 400, random.choice((1, 5, 40)))
            await asyncio.sleep(random.random() * 3)
            world.network.heal()
            stop.set()
            await producer.flush()
        await asyncio.sleep(60)  # Late requests land.

    world.run(main)
    return run


@pytest.mark.parametrize("seed", range(40))
def test_outcomes_are_true(seed: int) -> None:
    """Faults, lost replies, late applies and reshards: delivered is there for a KCL, not written is not there."""
    run = live(seed)
    assert run.world.lies(run.told()) == []


@pytest.mark.parametrize("seed", range(100, 110))
def test_outcomes_are_true_for_any_consumers(seed: int) -> None:
    """The same where consumers do not check hash ranges: nothing is sent again for its shard."""
    run = live(seed, consumers=Consumers.ANY)
    assert run.world.lies(run.told(), consumers_check=False) == []
    assert run.world.named("producer.misplaced") == []


def first_copies(run: Run) -> dict[str, list[int]]:
    """Return, by key, the numbers of its records in the order of their first copies that a KCL delivers."""
    order: dict[str, dict[int, None]] = {}
    copies = [(int(one.sequence_number), one.sub_sequence_number, one.data) for one in run.world.stored if one.kept]
    for _, _, data in sorted(copies):
        key, number, _ = data.split(b":", 2)
        order.setdefault(key.decode(), {}).setdefault(int(number))
    return {key: list(numbers) for key, numbers in order.items()}


@pytest.mark.parametrize("on_gap", OnGap)
@pytest.mark.parametrize("seed", [*range(200, 212), 420, 450, 453, 455, 457])
def test_order_by_key(seed: int, on_gap: OnGap) -> None:
    """By key: first copies stand in call order, keys of unknown outcome aside; failures stop their successors."""
    run = live(seed, ordering=Ordering.BY_KEY, on_gap=on_gap)
    assert run.world.lies(run.told()) == []
    copies = first_copies(run)
    by_key: dict[str, list[tuple[int, Outcome | None]]] = {}
    for key, data, one in run.sent:
        by_key.setdefault(key, []).append((int(data.split(b":", 2)[1]), one.outcome))
    for key, outcomes in by_key.items():
        if any(isinstance(outcome, Unknown) for _, outcome in outcomes):
            continue
        assert copies.get(key, []) == [number for number, outcome in outcomes if isinstance(outcome, Delivered)]
        if on_gap is OnGap.STOP:
            fates = [isinstance(outcome, NotWritten) for _, outcome in outcomes]
            assert fates == sorted(fates)


@pytest.mark.parametrize("on_gap", OnGap)
@pytest.mark.parametrize("seed", range(300, 312))
def test_order_by_shard(seed: int, on_gap: OnGap) -> None:
    """By shard: keys keep their order too, for each key lies within one shard at a time, and outcomes are true."""
    run = live(seed, ordering=Ordering.BY_SHARD, on_gap=on_gap)
    assert run.world.lies(run.told()) == []
    copies = first_copies(run)
    by_key: dict[str, list[tuple[int, Outcome | None]]] = {}
    for key, data, one in run.sent:
        by_key.setdefault(key, []).append((int(data.split(b":", 2)[1]), one.outcome))
    for key, outcomes in by_key.items():
        if not any(isinstance(outcome, Unknown) for _, outcome in outcomes):
            assert copies.get(key, []) == [number for number, outcome in outcomes if isinstance(outcome, Delivered)]


def test_healthy_worlds_send_once() -> None:
    """Without faults and reshards nothing is sent twice, whatever the order that is kept."""
    for ordering in Ordering:
        world = World(7, shards=3)
        run = Run(world)
        settings = StreamSettings(linger_s=0.01, ordering=ordering)

        async def main(world: World = world, run: Run = run, settings: StreamSettings = settings) -> None:
            async with world.producer(settings) as producer:
                await load(run, producer, Random(7), 1000, 40)

        world.run(main)
        data = world.data()
        assert len(data) == len(set(data)) == 1000
        assert not any(isinstance(one, NotWritten | Unknown) for one in run.told().values())


# ---- planted bugs: the oracle must see each of them ---


def acknowledge_misplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every aggregate for well placed."""
    monkeypatch.setattr(Router, "owns", lambda *_: True)


def forget_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lost answer for a failure."""
    monkeypatch.setattr(Fault, "doubtful", False)


def judge_records_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledge an aggregate if its first record is well placed (what the KPL does, record by record)."""

    def owns(self: Router, package: Package, shard_id: str) -> bool | None:
        hash_range = self.keeper.range_of(shard_id)
        return None if hash_range is None else package.hash_keys()[0] in hash_range

    monkeypatch.setattr(Router, "owns", owns)


def pair_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an aggregate's records the numbers of their neighbours."""
    real = Part.outcome_at
    monkeypatch.setattr(Part, "outcome_at", lambda self, place: real(self, place + 1))


def give_up_in_flight_as_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say "not written" whatever may have happened."""
    monkeypatch.setattr(Package, "failed", lambda self, reason, code: NotWritten(reason, code, self.attempts))


@pytest.mark.parametrize(
    "plant",
    [acknowledge_misplaced, forget_doubt, judge_records_singly, pair_wrongly, give_up_in_flight_as_not_written],
)
def test_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each planted bug makes an outcome untrue in one of the worlds above."""
    plant(monkeypatch)
    for seed in range(40):
        run = live(seed)
        if run.world.lies(run.told()):
            return
    pytest.fail("no world shows it")


def test_retry_that_overtakes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order by key without waiting for busy keys shows as records out of order."""
    monkeypatch.setattr(KeyGate, "busy", lambda *_: False)
    monkeypatch.setattr(KeyGate, "on_settled", lambda *_, **__: ([], []))
    for seed in range(200, 240):
        run = live(seed, ordering=Ordering.BY_KEY)
        if any(numbers != sorted(numbers) for numbers in first_copies(run).values()):
            return
    pytest.fail("no world shows it")
