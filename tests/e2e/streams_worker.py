"""A worker process that reads the streams named in a file, line by line, and prints what it handled."""

from __future__ import annotations

import sys
from pathlib import Path

from shardline.consumer import LeaseConfig, Record, TableConfig, TrackingConfig, Worker, WorkerConfig


def main(listed: Path) -> None:
    """Read until a signal."""
    config = WorkerConfig(
        leases=LeaseConfig(failover_s=3.0),
        table=TableConfig(deletion_protection=False, point_in_time_recovery=False),
        tracking=TrackingConfig(poll_s=1.0),
    )
    worker = Worker("several", streams=lambda: listed.read_text().split(), start="TRIM_HORIZON", config=config)

    @worker.handler
    async def show(record: Record) -> None:
        sys.stdout.write(f"{record.stream} {int(record.data)}\n")
        sys.stdout.flush()

    worker.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
