"""What a pipeline asks its driver to do; each is answered by the pipeline's input of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import PutEntry

__all__ = ["AskMap", "AskSummary", "Effect", "SendRequest"]


class SendRequest(NamedTuple):
    """Send PutRecords and report `on_answer` or `on_failure` with the same id."""

    request_id: int
    entries: tuple[PutEntry, ...]
    timeout_s: float


class AskMap(NamedTuple):
    """List the open shards (all pages) and report `on_map` or `on_map_failure`."""


class AskSummary(NamedTuple):
    """Ask for the stream's summary and report `on_summary` or `on_summary_failure`."""


Effect: TypeAlias = "SendRequest | AskMap | AskSummary"
