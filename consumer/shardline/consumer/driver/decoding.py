"""Turns pages into batches: validates Kinesis records in steps, leaves out what was done before, bounds the size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shardline.common.deaggregation import Validation, iterate
from shardline.consumer.config import Malformed
from shardline.consumer.handler import Batch, Origin, Piece
from shardline.consumer.retrieval.placement import Placement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shardline.common.deaggregation import UserRecords
    from shardline.common.ports.kinesis import GetRecordsPage
    from shardline.common.records import KinesisRecord, Position
    from shardline.consumer.config import DeliveryConfig
    from shardline.consumer.leases.row import LeaseRow

__all__ = ["Decoder"]

_YIELD_BYTES: Final = 512 * 1024
"""How much is decoded before other tasks get their turn: a few milliseconds."""


class Decoder:
    """One shard's decoding in one tenure of its lease; records at or below `after` are left out."""

    def __init__(self, config: DeliveryConfig, stream: str, row: LeaseRow, token: int, after: Position | None) -> None:
        self._config = config
        self._stream = stream
        self._row = row
        self._token = token
        self._after = after
        self._apart = config.malformed != Malformed.DELIVER_RAW
        """Whether a malformed aggregate gets a batch of its own."""
        self._placement = Placement(row.hash_range)

    async def batches(self, page: GetRecordsPage) -> AsyncIterator[Batch]:
        """Yield the page's user records in batches of bounded size; the loop gets its turn in between."""
        limit = self._config.batch_records
        known = self._placement.known
        pieces: list[Piece] = []
        total = decoded = 0
        for record in page.records:
            check = Validation(record.data, max_sub_records=self._config.max_sub_records, known=known)
            while not check.step():  # noqa: ASYNC110 - nobody is waited for: the loop gets its turn between two steps.
                await asyncio.sleep(0)
            piece = self._piece(record, check)
            if not (pending := piece.pending):
                continue
            if self._apart and piece.records.reason is not None:
                if pieces:
                    yield self._batch(pieces, page)
                    pieces, total = [], 0
                yield self._batch([piece], page)
                continue
            pieces.append(piece)
            total += pending
            decoded += len(record.data)
            if total >= limit:
                yield self._batch(pieces, page)
                pieces, total = [], 0
            if decoded >= _YIELD_BYTES:
                decoded = 0
                await asyncio.sleep(0)
        if pieces:
            yield self._batch(pieces, page)

    def _batch(self, pieces: list[Piece], page: GetRecordsPage) -> Batch:
        return Batch(
            pieces,
            stream=self._stream,
            shard_id=self._row.shard_id,
            token=self._token,
            millis_behind_latest=page.millis_behind_latest,
            drop_misplaced=self._config.drop_misplaced,
        )

    def _piece(self, record: KinesisRecord, check: Validation) -> Piece:
        number = int(record.sequence_number)
        origin = Origin(
            self._stream, self._row.shard_id, record.sequence_number, number, record.arrival_time_s, self._token
        )
        records = iterate(check, record.partition_key, hash_range=self._placement.to_judge(check))
        return Piece(origin, records, self._skip(number, records), len(record.data), len(records))

    def _skip(self, number: int, records: UserRecords) -> int:
        """Return how many of the user records were done before this tenure began."""
        after = self._after
        if after is None or number > after.sequence_number:
            return 0
        return len(records) if number < after.sequence_number else after.sub_sequence_number + 1
