"""The local endpoint as a process: ``python -m shardline.local [--port N] [--stream NAME:SHARDS ...]``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from shardline.common.errors import InvalidInput
from shardline.local.http.endpoint import Certificate, LocalEndpoint, load_faults, serve
from shardline.local.state.options import KinesisOptions, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "parse_stream"]

_USAGE = 2


def parse_stream(text: str) -> tuple[str, int]:
    """Return name and shard count of ``NAME:SHARDS`` (one shard without a count); raises `InvalidInput`."""
    name, _, count = text.partition(":")
    if not name or (count and not (count.isascii() and count.isdigit())):
        raise InvalidInput("stream", "NAME:SHARDS with 1 shard or more", text)
    return name, int(count or 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the first line printed is the URL. Returns the exit status: 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="shardline.local", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--stream", action="append", default=[], metavar="NAME:SHARDS")
    parser.add_argument("--null", action="store_true", help="store nothing: for benchmarks")
    parser.add_argument("--limits", choices=[str(limit) for limit in Limits], default=str(Limits.NONE))
    parser.add_argument("--faults", metavar="FILE", help="scripted faults, as JSON")
    parser.add_argument("--tls", action="store_true", help="serve https with a certificate made at the start")
    options = parser.parse_args(arguments)
    try:
        endpoint = LocalEndpoint(
            dict(map(parse_stream, options.stream)),
            port=options.port,
            tls=Certificate.GOOD if options.tls else None,
            faults=load_faults(options.faults) if options.faults else (),
            options=KinesisOptions(null=options.null, limits=Limits(options.limits)),
        )
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(endpoint, _announce))
    except (InvalidInput, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return _USAGE
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(url + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
