"""`make interop`: our worker and a Java KCL worker in one fleet, on one lease table.

    python -m tools.interop [--kcl 3.5.1] [--first java|ours] [--failover S] [--rate R] [--shards N]

On the local endpoint, with our producer writing aggregates throughout: a KCL worker from its released jar alone; ours
joins and gets its share from the Java leader (or, with --first ours, the other way round); a shard splits, two merge;
a KPL writes; the Java worker is killed with SIGKILL and ours rescues its shards; another Java worker comes; ours leaves
and hands over. Thrice the KCL reads the lease table with its own code, and what it sees is compared with what we do.
Prints who owned what when, writes out/interop.json; exit status 0 only if no record was lost or out of order, every row
was read alike, and the KCL logged no error. Without a JDK and Maven it says so, and exits with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from shardline.cli.demo.messages import Ready, decode
from shardline.cli.demo.place import OwnStream
from shardline.cli.demo.processes import Child
from shardline.cli.demo.report import Ledger
from shardline.cli.input import whole_number
from shardline.common.aws.admin import open_admin
from shardline.common.connection import Connection, Credentials
from shardline.common.errors import ShardlineError

from tools.interop.play import KPL_RECORDS, STREAM, Places, Play
from tools.interop.report import Outcome, summary
from tools.jvm import KCL, Program, environment, missing

LOGS = Path("out/java")
_RUN_S_MAX = 1_800
_START_S_MAX = 30.0
_CALL_S = 10.0


async def _places(child: Child) -> Places:
    until = time.monotonic() + _START_S_MAX
    while time.monotonic() < until and child.exit_status is None:
        for line in child.read():
            message = decode(line)
            if isinstance(message, Ready):
                return Places(*message.detail.splitlines())
        await asyncio.sleep(0.02)
    raise ShardlineError(f"the local endpoint did not start: {' / '.join(child.error_lines[-3:])}")


async def _run(options: argparse.Namespace) -> Outcome:
    rate, shards = whole_number("--rate", options.rate, 10, 2_000), whole_number("--shards", options.shards, 3, 16)
    failover_s = whole_number("--failover", options.failover, 3, 60)
    ids_max = rate * _RUN_S_MAX
    endpoint = Child("endpoint", "tools.interop.endpoint", {}, environment())
    try:
        places = await _places(endpoint)
        credentials = Credentials(access_key_id="interop", secret_access_key="interop")  # noqa: S106 - our own endpoint takes any.
        connection = Connection(region_name="us-east-1", endpoint_url=places.http, credentials=credentials)
        async with connection.kinesis() as kinesis, open_admin(connection) as admin, connection.lease_store() as store:
            await admin.create_stream(STREAM, shards, timeout_s=_CALL_S)
            stream = OwnStream(STREAM, admin, kinesis)
            await stream.until_active()
            play = Play(
                places,
                connection,
                stream,
                store,
                Ledger(ids_max + KPL_RECORDS),
                kcl=Program(KCL.project, options.kcl, KCL.main_class),
                java_first=options.first == "java",
                failover_s=failover_s,
                rate=rate,
                ids_max=ids_max,
                logs=LOGS / Path(options.out).stem,
            )
            try:
                return await play.run()
            finally:
                play.close()
    finally:
        endpoint.close()


def main() -> int:
    """Play it; return the exit status."""
    parser = argparse.ArgumentParser(prog="interop", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kcl", default=KCL.version, help="version of the KCL, 2.x or 3.x")
    parser.add_argument(
        "--first", choices=("java", "ours"), default="java", help="who makes the lease table, and leads"
    )
    parser.add_argument("--failover", default="5", help="fail-over time of both sides, in seconds")
    parser.add_argument("--rate", default="400", help="user records per second")
    parser.add_argument("--shards", default="4", help="shards at the start")
    parser.add_argument("--out", default="out/interop.json", help="where the result goes; its name is the logs' folder")
    options = parser.parse_args()
    if reason := missing():
        print(f"SKIPPED interop: {reason}")
        return 0
    try:
        outcome = asyncio.run(_run(options))
    except ShardlineError as error:
        sys.stderr.write(f"interop: {error}\n")
        return 2
    print("\n".join(summary(outcome)))
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(outcome.as_fields()) + "\n")
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
