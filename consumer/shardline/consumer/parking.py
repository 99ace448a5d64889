"""Parking lots that shardline brings: where records go that were given up (`policy.park_record`)."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardline.consumer.policy import Parked

__all__ = ["FileLot"]


class FileLot:
    """A parking lot in a local file: one JSON object per line, data in base64, on the disk before it counts."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __call__(self, parked: Parked) -> None:
        """Append a record and flush it to the disk; raises `OSError` when that fails."""
        item = {
            "stream": parked.stream,
            "shard_id": parked.shard_id,
            "sequence_number": parked.sequence_number,
            "sub_sequence_number": parked.sub_sequence_number,
            "partition_key": parked.partition_key,
            "explicit_hash_key": parked.explicit_hash_key,
            "data": base64.b64encode(parked.data).decode("ascii"),
            "headers": dict(parked.headers),
            "arrival_time_s": parked.arrival_time_s,
            "reason": parked.reason,
            "attempts": parked.attempts,
            "parked_at_s": parked.parked_at_s,
        }
        line = json.dumps(item, separators=(",", ":")).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
