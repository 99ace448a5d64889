"""powertools for AWS Lambda with aggregates: a batch processor and a parser envelope that change one import each.

    from shardline.consumer.aws_lambda.powertools import BatchProcessor, KinesisDataStreamEnvelope

The processors are subclasses of powertools' own and work with its `process_partial_response`. For Kinesis they take
aggregates apart, run records in order, start nothing after a failure (Lambda begins again at the lowest failed number,
so what ran after it would run twice) and name that one number. Other event types are powertools' own, untouched.

Needs `aws-lambda-powertools` (and pydantic for the envelope), as the code that it is dropped into does already.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import zlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools.utilities import batch as theirs
from aws_lambda_powertools.utilities.batch import EventType, async_process_partial_response, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord
from aws_lambda_powertools.utilities.parser.envelopes import KinesisDataStreamEnvelope as _Envelope

from shardline.common.dictionaries import deaggregate
from shardline.common.envelopes import read_stream_event
from shardline.common.errors import DecodeFailure
from shardline.consumer.aws_lambda.run import lowest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shardline.common.envelopes import Origin

__all__ = [
    "AsyncBatchProcessor",
    "BatchProcessor",
    "EventType",
    "KinesisDataStreamEnvelope",
    "async_process_partial_response",
    "process_partial_response",
]

T = TypeVar("T")


class _InOrder(theirs.BasePartialBatchProcessor):
    """What both processors share: taking apart, stopping, and naming the lowest number."""

    records: list[dict[str, Any]]
    _left: list[Origin]

    def _user_records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (position of the Kinesis record, user record); raises `InvalidInput` for an event of another kind."""
        self._left = read_stream_event({"Records": self.records})
        for position, record in enumerate(self.records):
            for one in deaggregate([record]):
                yield position, one

    def _failed_at(self, position: int, record: dict[str, Any]) -> None:
        """Keep what comes again, and let the user see which record failed."""
        self._left = self._left[position:]
        if self.fail_messages and self.fail_messages[-1] is None:
            self.fail_messages[-1] = KinesisStreamRecord(record)

    def _collect_kinesis_failures(self) -> list[dict[str, str]]:
        return [{"itemIdentifier": lowest(self._left)}]

    def _entire_batch_failed(self) -> bool:
        if self.event_type is not EventType.KinesisDataStreams:
            return super()._entire_batch_failed()
        return not self.success_messages


class BatchProcessor(_InOrder, theirs.BatchProcessor):
    """powertools' BatchProcessor for user records: in order, nothing after a failure, one lowest number named."""

    def process(self) -> list[tuple[Any, ...]]:
        """Call the handler for each user record up to the first failure; return powertools' entries."""
        if self.event_type is not EventType.KinesisDataStreams:
            return super().process()
        entries: list[tuple[Any, ...]] = []
        for position, record in self._user_records():
            entries.append(self._process_record(record))
            if entries[-1][0] == "fail":
                self._failed_at(position, record)
                break
        return entries


class AsyncBatchProcessor(_InOrder, theirs.AsyncBatchProcessor):
    """powertools' AsyncBatchProcessor for user records, one awaited after the other (theirs runs all at once)."""

    _runner: asyncio.Runner | None = None

    def async_process(self) -> list[tuple[Any, ...]]:
        """Await the handler for each user record up to the first failure; return powertools' entries."""
        if self.event_type is not EventType.KinesisDataStreams:
            return super().async_process()
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._one_by_one())

    async def _one_by_one(self) -> list[tuple[Any, ...]]:
        entries: list[tuple[Any, ...]] = []
        for position, record in self._user_records():
            entries.append(await self._async_process_record(record))
            if entries[-1][0] == "fail":
                self._failed_at(position, record)
                break
        return entries

    def close(self) -> None:
        """Close the event loop, which otherwise lives as long as the execution environment."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


class KinesisDataStreamEnvelope(_Envelope):
    """powertools' Kinesis envelope for user records: parses the data of each with the model."""

    def parse(self, data: dict[str, Any] | Any | None, model: type[T]) -> list[T | None]:
        """Return the models of all user records; raises `InvalidInput` for another event, else as powertools'."""
        read_stream_event(data)
        return [self._parse(data=_text_of(record), model=model) for record in deaggregate(data, malformed="raise")]


def _text_of(record: dict[str, Any]) -> str:
    """Return a record's data as text, decompressed where it is zlib's or gzip's (as powertools does)."""
    data = b64decode(record["kinesis"]["data"])
    try:
        return data.decode()
    except UnicodeDecodeError:
        try:
            return zlib.decompress(data, zlib.MAX_WBITS | 32).decode()
        except (zlib.error, UnicodeDecodeError) as error:
            raise DecodeFailure(f"data of {len(data)} bytes are neither UTF-8 nor compressed text") from error
