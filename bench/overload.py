"""`make overload`: three times what a shard takes, for minutes: what gets through, what it costs, what memory it needs.

    python -m bench.overload [--seconds N] [--factor F] [--bytes N]

The local endpoint, in a process of its own, throttles as the service does. A producer offers `factor` times the shard's
limit of 1 KB records and turns away (`put_nowait`) what does not fit. Prints and writes to out/overload.json: delivered
share of the limit, retries per delivered Kinesis record, records lost (acknowledged but absent, or never resolved), and
the growth of resident memory over an idle producer, beside the budget. Exit status 0 only if all are as promised.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from shardline.common.connection import Connection, Credentials
from shardline.common.deaggregation import deaggregate
from shardline.common.errors import BufferFull
from shardline.common.limits import MIB, SHARD_WRITE_BYTES_PER_S
from shardline.common.ports.kinesis import StartAt, StartKind, Stream
from shardline.producer import Delivered, Producer, ProducerSettings, StreamSettings

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.producer import AwaitableDelivery, Outcome

STREAM = "overload"
MEMORY_BYTES_MAX = 32 * MIB
TICK_S = 0.02
DELIVERED_SHARE_MIN = 0.95
GROWTH_MAX = 1.1
_RSS = re.compile(r"VmRSS:\s+(\d+) kB")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    found = _RSS.search(Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Ledger:
    """What became of each record, by number: open (0), delivered (1), failed (2); kept in one byte each."""

    def __init__(self) -> None:
        self.fates = array("B")
        self.refused = 0
        self._delivery: AwaitableDelivery | None = None

    def note(self, delivery: AwaitableDelivery) -> None:
        """Note that the next record shares `delivery`; asks it once for all its records."""
        number = len(self.fates)
        self.fates.append(0)
        if delivery is not self._delivery:
            self._delivery = delivery
            first = number
            delivery.add_callback(0, lambda outcome: self.settle(delivery, first, outcome))

    def settle(self, delivery: AwaitableDelivery, first: int, outcome: Outcome) -> None:
        """Take the fate of one aggregate's records: numbers `first` on (one shard, one open aggregate at a time)."""
        fate = 1 if isinstance(outcome, Delivered) else 2
        for number in range(first, first + delivery.count):
            self.fates[number] = fate


async def offer(producer: Producer, ledger: Ledger, size: int, factor: float, seconds: float) -> int:
    """Offer records at `factor` times the shard's bytes; return the most memory that was resident."""
    per_s = factor * SHARD_WRITE_BYTES_PER_S / size
    filler = bytes(size - 8)
    start = time.monotonic()
    offered = 0
    highest = 0
    while (elapsed := time.monotonic() - start) < seconds:
        due = int(elapsed * per_s)
        while offered < due:
            offered += 1
            data = len(ledger.fates).to_bytes(8, "big") + filler
            try:
                ledger.note(producer.put_nowait(data, f"key-{offered % 1000}"))
            except BufferFull:
                ledger.refused += due - offered + 1
                offered = due
        highest = max(highest, resident_bytes())
        await asyncio.sleep(TICK_S)
    return highest


async def stored(kinesis: KinesisApi, count: int) -> bytearray:
    """Return for each number whether the stream holds it."""
    found = bytearray(count)
    stream = Stream(STREAM)
    shards = await kinesis.list_shards(stream, timeout_s=10)
    start = StartAt(StartKind.TRIM_HORIZON)
    iterator: str | None = await kinesis.get_shard_iterator(stream, shards.shards[0].shard_id, start, timeout_s=10)
    while iterator is not None:
        page = await kinesis.get_records(stream, iterator, limit=10_000, timeout_s=60)
        for record in page.records:
            for user in deaggregate(record.data, record.partition_key):
                found[int.from_bytes(user.data[:8], "big")] = 1
        iterator = page.next_iterator if page.millis_behind_latest or page.records else None
        await asyncio.sleep(0.25)  # Five reads a second and 2 MiB/s are the shard's limit.
        if page.records:
            await asyncio.sleep(sum(len(record.data) for record in page.records) / (2 * MIB))
    return found


async def run(url: str, options: argparse.Namespace) -> dict[str, float]:
    """Run the load, and look at what the stream holds in the end."""
    credentials = Credentials(access_key_id="a", secret_access_key="b")
    connection = Connection(region_name="us-east-1", endpoint_url=url, credentials=credentials)
    ledger = Ledger()
    settings = ProducerSettings(memory_bytes_max=MEMORY_BYTES_MAX)
    async with Producer(STREAM, StreamSettings(), connection=connection, producer_settings=settings) as producer:
        await producer.send_and_wait(bytes(8), "warm")
        ledger.fates.append(1)
        idle = resident_bytes()
        before = producer.stats()[STREAM].delivered_bytes
        highest = await offer(producer, ledger, options.bytes, options.factor, options.seconds)
        stats = producer.stats()[STREAM]
        delivered = stats.delivered_bytes - before
        await producer.flush()
        peak = producer.engine.budget.peak
    async with connection.kinesis() as kinesis:
        found = await stored(kinesis, len(ledger.fates))
    lost = sum(1 for fate, there in zip(ledger.fates, found, strict=True) if fate == 0 or (fate == 1 and not there))
    limit = SHARD_WRITE_BYTES_PER_S * options.seconds
    return {
        "seconds": options.seconds,
        "accepted": len(ledger.fates),
        "refused": ledger.refused,
        "delivered": ledger.fates.count(1),
        "failed": ledger.fates.count(2),
        "delivered_share": round(delivered / limit, 4),
        "retries_per_delivered": round(stats.kinesis_retries / max(1, stats.kinesis_records), 4),
        "throttled": stats.throttled,
        "lost": lost,
        "memory_bytes_max": MEMORY_BYTES_MAX,
        "accounted_bytes_peak": peak,
        "resident_growth_bytes": highest - idle,
    }


def main() -> int:
    """Start the endpoint, run, report; return the exit status."""
    parser = argparse.ArgumentParser(prog="overload", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--factor", type=float, default=3.0)
    parser.add_argument("--bytes", type=int, default=1024)
    options = parser.parse_args()
    command = [sys.executable, "-m", "shardline.local", "--stream", f"{STREAM}:1", "--limits", "service"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as endpoint:
        assert endpoint.stdout is not None
        try:
            report = asyncio.run(run(endpoint.stdout.readline().strip(), options))
        finally:
            endpoint.terminate()
    for name, value in report.items():
        print(f"{name:24} {value:,}")
    out = Path(__file__).resolve().parent.parent / "out"
    out.mkdir(exist_ok=True)
    (out / "overload.json").write_text(json.dumps(report) + "\n")
    kept = (
        report["delivered_share"] >= DELIVERED_SHARE_MIN
        and report["lost"] == 0
        and report["accounted_bytes_peak"] <= MEMORY_BYTES_MAX
        and report["resident_growth_bytes"] <= MEMORY_BYTES_MAX * GROWTH_MAX
    )
    print("as promised" if kept else "NOT as promised")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
