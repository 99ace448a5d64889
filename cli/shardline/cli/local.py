"""`shardline local`: the endpoint in the foreground, until Ctrl-C or SIGTERM; both end it with exit status 0."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput
from shardline.common.printing import escape
from shardline.local import Certificate, KinesisOptions, LocalEndpoint, load_faults, tune_collector
from shardline.local.state.options import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]


def run(
    port: int,
    streams: Sequence[tuple[str, int]],
    *,
    null: bool,
    limits: str,
    faults: str | None = None,
    tls: bool = False,
) -> int:
    """Serve until a signal comes; the first line printed is the URL, with `tls` the second the certificate's file.

    Raises `InvalidInput` for a port in use, a stream named twice, limits that are not known, or a wrong file of faults.
    """
    twice = [name for name, count in Counter(name for name, _ in streams).items() if count > 1]
    if twice:
        raise InvalidInput("--stream", "given once per stream", twice[0])
    if limits not in tuple(Limits):
        raise InvalidInput("--limits", " or ".join(Limits), f"'{escape(limits[:40])}'")
    options = KinesisOptions(null=null, limits=Limits(limits))
    rules = load_faults(faults) if faults is not None else ()
    certificate = Certificate.GOOD if tls else None
    endpoint = LocalEndpoint(dict(streams), port=port, options=options, faults=rules, tls=certificate)
    tune_collector()
    asyncio.run(_serve(endpoint, port, tls=tls))
    return 0


async def _serve(endpoint: LocalEndpoint, port: int, *, tls: bool) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave.set)
    try:
        await endpoint.__aenter__()
    except OSError as error:
        raise InvalidInput("--port", "a free port, or 0 for any", f"{port}: {error.strerror or error}") from error
    try:
        print(endpoint.url, flush=True)
        if tls:
            print(endpoint.ca_bundle, flush=True)
        await leave.wait()
    finally:
        await endpoint.__aexit__(None, None, None)
