"""The commands and their options; each command's code is imported when it runs, so that `--help` costs next to nothing.

Numbers are taken as text and checked by `shardline.cli.input`, whose refusals name the range.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from shardline.cli.input import PORT, WAIT, stream_spec, whole_number
from shardline.common.errors import MissingExtra

__all__ = ["app"]

app = typer.Typer(
    name="shardline",
    help="Amazon Kinesis Data Streams toolkit.",
    epilog=(
        "Exit status: 0 done; 1 the work failed (the demo: a record was lost or came out of order); 2 bad input, or an "
        "endpoint that cannot be used; 130 stopped by Ctrl-C; 143 by SIGTERM; 141 the reader of the output went away."
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _require(part: str, extra: str, *modules: str) -> None:
    """Raise `MissingExtra` unless all `modules` are installed; imports none of them."""
    if any(find_spec(module) is None for module in modules):
        raise MissingExtra(part, extra)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer's callback takes the flag's value.
    if asked:
        from importlib.metadata import version

        typer.echo(f"shardline {version('shardline')}")
        raise typer.Exit


@app.callback()
def shardline(
    *,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Amazon Kinesis Data Streams toolkit."""


@app.command()
def local(
    *,
    port: Annotated[
        str, typer.Option(metavar="N", help="TCP port of 127.0.0.1, 0 to 65535; 0 takes a free one.")
    ] = "0",
    stream: Annotated[
        list[str] | None, typer.Option(metavar="NAME:SHARDS", help="Create a stream at the start; may be repeated.")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", help="For benchmarks: store nothing, answer PutRecords with the owning shard.")
    ] = False,
    limits: Annotated[
        str, typer.Option(metavar="NAME", help="service: throttle as the service does, per shard and operation.")
    ] = "none",
    faults: Annotated[str | None, typer.Option(metavar="FILE", help="Scripted faults per request, as JSON.")] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve https; the second line printed is the certificate's file.")
    ] = False,
) -> int:
    """Serve Kinesis, DynamoDB and CloudWatch from memory; the first line printed is the URL.

    Ctrl-C or SIGTERM stops it.
    """
    number = whole_number("--port", port, *PORT)
    streams = [stream_spec("--stream", one) for one in stream or []]
    _require("shardline local", "local", "moto", "cbor2", "pybase64")
    from shardline.cli.local import run

    return run(number, streams, null=null, limits=limits, faults=faults, tls=tls)


@app.command()
def demo(
    *,
    seconds: Annotated[str, typer.Option(metavar="N", help="Load time, 15 to 3600.")] = "30",
    rate: Annotated[str, typer.Option(metavar="R", help="User records per second, 1 to 20000.")] = "2000",
    shards: Annotated[str, typer.Option(metavar="N", help="Shards at the start, 1 to 64.")] = "4",
    workers: Annotated[str, typer.Option(metavar="N", help="Worker processes, 1 to 16.")] = "3",
    drain: Annotated[str, typer.Option(metavar="N", help="Longest drain after the load, 1 to 60 seconds.")] = "60",
    seed: Annotated[str | None, typer.Option(metavar="N", help="Repeats the choices of an earlier run.")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Run against this endpoint (AWS too) instead of an own one.")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="NAME", help="Region to sign for, with --endpoint-url.")] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the stream and table to create and remove again.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Create the stream and table without asking.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object, as the last line.")
    ] = False,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write the JSON object to this file too.")] = None,
) -> int:
    """Run producer and fleet, reshard, kill a worker; count by unique id what got lost or out of order.

    A clickstream keyed by user goes into a stream; worker processes share its shards. At fixed fractions of the load
    time one shard is split, two are merged, one worker is killed with SIGKILL and one started. Exit status 0 only if
    nothing was lost and nothing came out of order.
    """
    from shardline.cli.demo.settings import demo_settings

    settings = demo_settings(
        seconds=seconds,
        rate=rate,
        shards=shards,
        workers=workers,
        drain=drain,
        seed=seed,
        endpoint_url=endpoint_url,
        region=region,
        stream=stream,
        yes=yes,
        as_json=json,
        out=out,
    )
    _require("shardline demo", "all", "rich", "moto", "aiobotocore", "cbor2", "pybase64", "structlog")
    from shardline.cli.demo.run import run

    return run(settings)


@app.command()
def leases(
    application: Annotated[str, typer.Argument(help="The application whose lease table is meant.")],
    *,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="The table, if it has another name.")] = None,
    wait: Annotated[
        str, typer.Option(metavar="SECONDS", help="Between two looks, 0 to 600; 0: one look, owners are believed.")
    ] = "10",
) -> int:
    """Show who holds which shard, one JSON object per line, the fleet last; nothing is written.

    States: held; owned (not judged); still (its owner does not renew); unowned; waiting for its parents; finished;
    unreadable. Exit status 1 where a lease is still, unowned or unreadable. Wait at least a third of the fail-over
    time, or living owners look still.
    """
    wait_s = whole_number("--wait", wait, *WAIT)
    _require("shardline leases", "consumer", "aiobotocore")
    from shardline.cli.leases import run

    return run(application, table=table, wait_s=wait_s)


@app.command()
def parked(
    application: Annotated[str, typer.Argument(help="The application whose workers park keys.")],
    *,
    stream: Annotated[str | None, typer.Option(metavar="NAME", help="Only keys of this stream.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only this partition key.")] = None,
    replay: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Put the key's records through this handler."),
    ] = None,
    lot: Annotated[
        list[str] | None,
        typer.Option(metavar="LOT", help="Where they are: a file, s3://BUCKET/PREFIX, kinesis:STREAM. Repeatable."),
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Let newer records of the key pass without a replay.")
    ] = False,
) -> int:
    """Show parked partition keys, one JSON object per line; replay one from its lots, or release it.

    Exit status 1 where a replay did not find a record that it knows of: the key stays parked.
    """
    _require("shardline parked", "consumer", "aiobotocore")
    from shardline.cli.parked import run

    return run(application, stream=stream, key=key, replay=replay, lots=lot or [], release=release)
