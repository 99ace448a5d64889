"""Temperatures per sensor in tumbling windows, each reading counted once: `python examples/sensors_windows.py STREAM`.

Readings are JSON, ``{"sensor_id": "s-1", "temperature": 21.5}``, their partition key the sensor. Each window of five
minutes (by arrival in the stream; another length in seconds may follow the stream's name) prints count, average, lowest
and highest per sensor, once it is over: when the shard's next reading belongs to a later window, or the shard ends. A
reading above mean + 3 standard deviations of its sensor prints an alarm.

Start it several times, kill some: what a shard has counted stands in the table ``sensors-shardline``, together with the
position up to which it has. One conditional write changes both, under the fencing token of the shard's lease. So a
reading that comes twice is counted once, and a worker that has lost its shard without knowing counts nothing. Lines
are printed after that write, and again by a new owner that cannot know whether they were: equal lines are one result.
After a reshard a sensor's window may be over in two shards: its parts have other shards, and add up.

A shard's state is one item of at most 400 KB: some 3,000 sensors.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from math import sqrt
from typing import TYPE_CHECKING, Any, Final

from shardline.common import FencedState, StateKey, Update
from shardline.consumer import ShardProcessor, Worker, open_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shardline.common import StateItem, StateStore
    from shardline.consumer import Batch, Checkpointer, Record, ShardLease

WINDOW_S: Final = 300
READINGS_MIN: Final = 30
"""A sensor with fewer readings has no standard deviation to speak of."""


class Counts:
    """What one shard has counted: open windows, each sensor's mean and deviation, and lines that are to be printed.

    `done` is the position of the last reading that is in it: (sequence number, sub-sequence number).
    """

    def __init__(self, shard_id: str, item: StateItem | None) -> None:
        stored = item.fields.get("counts") if item is not None else None
        known: dict[str, Any] = json.loads(stored) if isinstance(stored, bytes) else {}
        self.shard_id = shard_id
        self.done: tuple[int, int] = tuple(known.get("done", (-1, 0)))
        self.ended: bool = known.get("ended", False)
        self.open: dict[str, dict[str, list[float]]] = known.get("open", {})
        self.sensors: dict[str, list[float]] = known.get("sensors", {})
        self.lines: list[dict[str, Any]] = known.get("lines", [])

    def update(self) -> Update:
        """Return the change that stores everything."""
        fields = {name: value for name, value in vars(self).items() if name != "shard_id"}
        return Update(set={"counts": json.dumps(fields, separators=(",", ":")).encode()})

    def add(self, records: Iterable[Record], window_s: int) -> None:
        """Count the readings that are not counted yet; the lines of the call before are forgotten."""
        self.lines = []
        for record in records:
            if record.position <= self.done:
                continue
            self.done = record.position
            reading = json.loads(record.data)
            sensor, temperature = str(reading["sensor_id"]), float(reading["temperature"])
            start = int(record.arrival_time_s // window_s * window_s)
            self._close(before=start)
            self._count(str(start), sensor, temperature)
            self._compare(sensor, temperature, record.id)

    def end(self) -> None:
        """Close every window: the shard has no more readings."""
        self.lines = []
        self.ended = True
        self._close()

    def _count(self, start: str, sensor: str, temperature: float) -> None:
        window = self.open.setdefault(start, {})
        count, total, low, high = window.get(sensor, (0, 0.0, temperature, temperature))
        window[sensor] = [count + 1, total + temperature, min(low, temperature), max(high, temperature)]

    def _compare(self, sensor: str, temperature: float, reading: str) -> None:
        """Say so when a reading is out of the ordinary; then let it be part of the sensor's mean (Welford)."""
        count, mean, squares = self.sensors.get(sensor, (0, 0.0, 0.0))
        if count >= READINGS_MIN and temperature > mean + 3 * sqrt(squares / count):
            self.lines.append({"alarm": sensor, "temperature": temperature, "mean": mean, "reading": reading})
        count += 1
        step = temperature - mean
        mean += step / count
        self.sensors[sensor] = [count, mean, squares + step * (temperature - mean)]

    def _close(self, before: float = float("inf")) -> None:
        for start in sorted((one for one in self.open if int(one) < before), key=int):
            for sensor, (count, total, low, high) in self.open.pop(start).items():
                values = {"count": count, "average": total / count, "lowest": low, "highest": high}
                self.lines.append({"sensor": sensor, "window": int(start), "shard": self.shard_id, **values})


class Windows(ShardProcessor):
    """Counts one shard, in one tenure of its lease; `emit` takes each line."""

    def __init__(self, state: StateStore, emit: Callable[[dict[str, Any]], None], window_s: int = WINDOW_S) -> None:
        self._store = state
        self._emit = emit
        self._window_s = window_s
        self._shard_id = ""

    async def initialize(self, lease: ShardLease) -> None:
        """Take the shard's state over, so that nobody else writes it; print what the last owner may not have."""
        self._shard_id = lease.shard_id
        self._state = FencedState(self._store, StateKey.of("windows", lease.shard_id), lease.token)
        await self._state.claim()
        self._print()

    async def process(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Count a batch; called again with the same records, it counts what is missing."""

        def missing(item: StateItem | None) -> Update | None:
            counts = Counts(self._shard_id, item)
            if counts.done >= batch.last:
                return None
            counts.add(batch, self._window_s)
            counts.done = batch.last
            return counts.update()

        await self._state.change(missing)
        self._print()
        await checkpointer.checkpoint()

    async def shard_ended(self, checkpointer: Checkpointer) -> None:
        """Close what is open, in the same way."""

        def missing(item: StateItem | None) -> Update | None:
            counts = Counts(self._shard_id, item)
            if counts.ended:
                return None
            counts.end()
            return counts.update()

        await self._state.change(missing)
        self._print()
        await checkpointer.checkpoint()

    def _print(self) -> None:
        for line in Counts(self._shard_id, self._state.item).lines:
            self._emit(line)


async def main(stream: str, window_s: int) -> None:
    """Count until SIGTERM or Ctrl-C."""
    async with open_state("sensors") as state:
        worker = Worker("sensors", streams=stream, start="TRIM_HORIZON")
        worker.add_processor(lambda: Windows(state, lambda line: print(json.dumps(line), flush=True), window_s))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        await worker.serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else WINDOW_S))
