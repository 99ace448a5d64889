"""The example `sensors_windows.py`: through kills, lost answers and reshards each reading is counted exactly once."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.ports.kinesis import PutEntry, Stream
from shardline.common.ports.state_store import StateItem
from shardline.common.state_items import read_item
from shardline.consumer import open_state
from shardline.local.sim import Simulation
from shardline.local.sim.doors import SimServices
from shardline.local.sim.network import Faults, Network, Service
from shardline.local.state.core import KinesisState
from shardline.local.tables.core import LeaseTables

from tests.consumer.world import World
from tools.rings import ROOT

if TYPE_CHECKING:
    from shardline.common.ports.state_store import StateStore
    from shardline.consumer.handler import Batch
    from shardline.consumer.processor import Checkpointer

pytestmark = pytest.mark.slow

SENSORS = 5
WINDOW_S = 60


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("sensors_windows", ROOT / "examples" / "sensors_windows.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = _load()


class Field:
    """A field of sensors, workers that count them and die, and what they printed."""

    def __init__(self, sim: Simulation, processor: Any = None) -> None:
        self.sim = sim
        self.world = World(sim, shards=2)
        self.network = Network(sim)
        self.services = SimServices(self.network, KinesisState(), LeaseTables())
        self.world.services = self.services  # type: ignore[assignment]  # The same ports, behind a faulty network.
        self.processor = processor or EXAMPLE.Windows
        self.lines: list[str] = []
        self.put: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.last = 0

    def start(self, state: StateStore) -> str:
        """Start a worker on a new host."""
        self.last += 1
        name = f"w{self.last}"
        self.world.start(name, processor=lambda: self.processor(state, self.print, WINDOW_S))
        return name

    def print(self, line: dict[str, Any]) -> None:
        """Take a line as standard output would."""
        self.lines.append(json.dumps(line, sort_keys=True))

    def measure(self, number: int) -> None:
        """Put a reading; each fiftieth is far out."""
        sensor = f"s-{number % SENSORS}"
        temperature = 1000 if number % 250 == 249 else 20 + number % 3
        data = json.dumps({"sensor_id": sensor, "temperature": temperature}).encode()
        self.services.state.put_records(Stream("orders"), [PutEntry(data, sensor)], now=self.sim.wall_s)
        self.put[sensor] += 1
        self.sums[sensor] += temperature

    def differences(self) -> list[str]:
        """Return what is not as it was measured: readings counted twice, never, or in lines that contradict."""
        windows: dict[tuple[str, int, str], set[str]] = {}
        counted: Counter[str] = Counter()
        summed: Counter[str] = Counter()
        for text in dict.fromkeys(self.lines):
            line = json.loads(text)
            if "alarm" in line:
                continue
            windows.setdefault((line["sensor"], line["window"], line["shard"]), set()).add(text)
            counted[line["sensor"]] += line["count"]
            summed[line["sensor"]] += round(line["average"] * line["count"])
        for sensor, count, total in self.open():
            counted[sensor] += count
            summed[sensor] += round(total)
        wrong = [f"{len(texts)} lines for {which}" for which, texts in windows.items() if len(texts) > 1]
        wrong += [f"{sensor}: {counted[sensor]} of {self.put[sensor]}" for sensor in self.put if counted != self.put]
        return wrong + [f"{sensor} sums up to {summed[sensor]}" for sensor in self.put if summed != self.sums]

    def open(self) -> list[tuple[str, int, float]]:
        """Return what open windows hold: sensor, count, sum."""
        page = self.services.tables.scan_page("app-shardline", self.sim.wall_s, consistent=True)
        items = [read_item(item) for item in page.items]
        counts = [EXAMPLE.Counts("", item) for item in items if isinstance(item, StateItem)]
        return [
            (sensor, int(values[0]), values[1])
            for one in counts
            for window in one.open.values()
            for sensor, values in window.items()
        ]


def lived(seed: int, processor: Any = None) -> Field:
    """Let a field live for some minutes, with kills, lost answers and reshards; return it."""
    sim = Simulation(f"sensors {seed}", until_s=3600.0)
    field = Field(sim, processor)

    async def story(_: Simulation) -> None:
        await field.world.create()
        async with open_state("app", connection=field.services, runtime=sim.runtime) as state:
            await unquiet(state)

    async def unquiet(state: StateStore) -> None:
        faults = Faults(reply_lost=0.1, late=0.05, late_s=10.0, error_after=0.05)
        field.network.set_faults(Service.DYNAMODB, faults)
        names = [field.start(state), field.start(state)]
        for number in range(1500):
            field.measure(number)
            await asyncio.sleep(0.2)
            if number % 150 == 149:
                field.world.hosts[names[0]].crash_after(sim.random.randrange(1, 200))
                field.world.leaving.pop(names[0])
                names = [names[1], field.start(state)]
            if number == 700:
                field.world.split()
            if number == 1200:
                field.world.merge()
        field.network.heal()
        await asyncio.sleep(120)
        await field.world.stop()

    with sim:
        sim.run(story)
    return field


@pytest.mark.parametrize("seed", range(3))
def test_each_reading_is_counted_once(seed: int) -> None:
    """Whoever dies between reading, state, line and checkpoint: no window is lost, none counts a reading twice."""
    field = lived(seed)
    assert field.differences() == []
    assert len(set(field.lines)) > 20


class Forgetful(EXAMPLE.Windows):  # type: ignore[misc,name-defined]  # Loaded from a file.
    """Windows whose state does not carry the position."""

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Count everything, whatever was counted before."""
        counts = EXAMPLE.Counts(self._shard_id, self._state.item)
        counts.done = (-1, 0)
        counts.add(batch, self._window_s)
        update, given = counts.update(), False

        def missing(_: StateItem | None) -> Any:
            nonlocal given
            done, given = given, True
            return None if done else update

        await self._state.change(missing)
        self._print()
        await checkpointer.checkpoint()


def test_a_state_without_the_position_counts_twice() -> None:
    """The same story finds the mistake that the example avoids."""
    assert lived(0, Forgetful).differences()


def test_an_alarm_is_one_line_per_reading() -> None:
    """A reading far above its sensor's mean is told once, or again in equal words."""
    field = lived(0)
    alarms = [json.loads(text) for text in set(field.lines) if "alarm" in text]
    assert {alarm["temperature"] for alarm in alarms} == {1000.0}
    assert len({alarm["reading"] for alarm in alarms}) == len(alarms) > 0
