"""Handlers that run in processes of their own; what they did is told through files that the tests name by headers."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shardline.consumer.handler import Batch, Record


def note(record: Record, word: str = "") -> None:
    """Append a line to the file that the record's key names: the handling process, the data, a word."""
    assert record.partition_key is not None
    with Path(record.partition_key).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {record.data.decode()} {word}\n")


def plain(record: Record) -> None:
    """Note the record."""
    note(record)


async def asynchronous(record: Record) -> None:
    """Note the record, from a coroutine."""
    note(record)


def whole(batch: Batch) -> None:
    """Note each record of a batch."""
    for record in batch:
        note(record)


@dataclass
class Order:
    """What a payload decodes into."""

    id: int


def order(value: Order, record: Record) -> None:
    """Note the decoded value."""
    note(record, f"order {value.id}")


def fails_at_three(record: Record) -> None:
    """Note the record, but refuse the third."""
    if record.data == b"3":
        raise LookupError(record.data)
    note(record)


def dies_at_three(record: Record) -> None:
    """Note the record; at the third, take the process with it, twice."""
    note(record)
    if record.data == b"3":
        assert record.partition_key is not None
        if Path(record.partition_key).read_text(encoding="utf-8").count(" 3 ") <= 2:
            os.kill(os.getpid(), signal.SIGKILL)


def hangs_at_three(record: Record) -> None:
    """Note the record; at the third hang, once."""
    note(record)
    if record.data == b"3":
        assert record.partition_key is not None
        if Path(record.partition_key).read_text(encoding="utf-8").count(" 3 ") == 1:
            threading.Event().wait(600)


def dies_at_import(record: Record) -> None:
    """Stand for a function that another process cannot import; see the test."""
