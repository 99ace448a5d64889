"""`shardline parked`: shows an application's parked keys, replays one through a handler, or lets it go.

AWS is where every AWS tool finds it (environment, profile, role). Whoever asks for parked keys wants to see them, so
here, and only here, partition keys are printed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from typing import TYPE_CHECKING

from shardline.cli.input import stream_name
from shardline.common.errors import InvalidInput
from shardline.common.printing import escape
from shardline.common.state_items import state_table_name
from shardline.consumer.config import WorkerConfig, check_application
from shardline.consumer.parking import FileLot, StreamLot
from shardline.consumer.parking_aws import S3Lot
from shardline.consumer.replaying import open_parked_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.consumer.handler import Handler
    from shardline.consumer.parked_keys import ParkedKey
    from shardline.consumer.policy import ReadableLot
    from shardline.consumer.replaying import ParkedKeys

__all__ = ["handler_of", "lot_of", "run"]


def run(
    application: str,
    *,
    stream: str | None,
    key: str | None,
    replay: str | None,
    lots: Sequence[str],
    release: bool,
) -> int:
    """Do what is asked for; returns 1 where a replay could not release its key."""
    check_application(application, WorkerConfig())
    if replay is not None and release:
        raise InvalidInput("--release", "given without --replay, which releases too")
    if (replay is not None or release) and (stream is None or key is None):
        raise InvalidInput("--stream and --key", "given: which key is meant")
    if (replay is None) == bool(lots):
        raise InvalidInput("--lot", "given with --replay, and only there: where the records are")
    handler = None if replay is None else handler_of(replay)
    found = [lot_of(lot) for lot in lots]
    return asyncio.run(_run(application, stream, key, handler, found, release=release))


async def _run(
    application: str,
    stream: str | None,
    key: str | None,
    handler: Handler | None,
    lots: Sequence[ReadableLot],
    *,
    release: bool,
) -> int:
    async with open_parked_keys(application, *lots) as parked:
        if stream is not None and key is not None and handler is not None:
            return await _replay(parked, stream, key, handler)
        if stream is not None and key is not None and release:
            print(json.dumps({"leases": await parked.release(stream, key)}))
            return 0
        found = [one for one in await parked.keys(stream) if key in (None, one.partition_key)]
    for one in found:
        print(json.dumps(_shown(one)))
    if not found:
        print(f"nothing of this is parked in {state_table_name(application)}", file=sys.stderr)
    return 0


async def _replay(parked: ParkedKeys, stream: str, key: str, handler: Handler) -> int:
    done = await parked.replay(stream, key, handler)
    missing = [str(place) for place in done.missing]
    print(json.dumps({"records": done.records, "released": done.released, "missing": missing}))
    return 0 if done.released else 1


def _shown(key: ParkedKey) -> dict[str, object]:
    return {
        "stream": key.stream,
        "key": key.partition_key,
        "lease": key.lease,
        "first": str(key.first),
        "last": str(key.last),
        "parked_at_s": key.parked_at_s,
        "reason": key.reason,
        "attempts": key.attempts,
    }


def handler_of(text: str) -> Handler:
    """Return the function that ``MODULE:FUNCTION`` names, looked for from the working directory too."""
    module, colon, name = text.partition(":")
    if not (colon and module and name):
        raise InvalidInput("--replay", "MODULE:FUNCTION, a handler of one record", f"'{escape(text)}'")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as text, as Python itself puts it there.
    try:
        handler: object = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput("--replay", f"importable: {escape(str(error))}", f"'{escape(text)}'") from error
    finally:
        del sys.path[0]
    if not callable(handler):
        raise InvalidInput("--replay", "a function", f"'{escape(text)}'")
    return handler


def lot_of(text: str) -> ReadableLot:
    """Return the lot that a path, ``s3://BUCKET/PREFIX`` or ``kinesis:STREAM`` names."""
    if text.startswith("s3://"):
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        return S3Lot(bucket, prefix)
    if text.startswith("kinesis:"):
        return StreamLot(stream_name("--lot", text.removeprefix("kinesis:")))
    if not os.path.isfile(text):  # noqa: PTH113 - text from the command line.
        raise InvalidInput("--lot", "a file, s3://BUCKET/PREFIX or kinesis:STREAM", f"'{escape(text)}'")
    return FileLot(text)
