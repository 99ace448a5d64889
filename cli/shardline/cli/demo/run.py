"""`shardline demo` from the outside: asks, announces, runs, reports; all is taken down again, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shardline.cli.demo.outcome import Outcome, summary
from shardline.cli.demo.place import open_place, own_stream, see_that_it_answers
from shardline.cli.demo.play import Play
from shardline.cli.demo.screen import open_screen
from shardline.cli.demo.settings import CALL_TIMEOUT_S, FAILOVER_S, PARENT_POLL_S
from shardline.common.errors import InvalidInput
from shardline.common.printing import escape

if TYPE_CHECKING:
    from shardline.cli.demo.place import Place
    from shardline.cli.demo.screen import Screen
    from shardline.cli.demo.settings import DemoSettings

__all__ = ["run"]

_TERMINATED: Final = 143


def run(settings: DemoSettings, play: type[Play] = Play) -> int:
    """Run the demo and return its exit status: 0 only if nothing was lost and nothing came out of order."""
    _see_that_out_can_be_written(settings.out)
    if settings.endpoint_url is not None:
        asyncio.run(see_that_it_answers(settings))
        _ask(settings)
    outcome = asyncio.run(_until_signalled(settings, play))
    return _TERMINATED if outcome is None else 0 if outcome.sound else 1


def _ask(settings: DemoSettings) -> None:
    """Say what will be created at an endpoint that is not our own, and ask; no loop runs, so Ctrl-C ends `input`."""
    name = escape(settings.stream)
    print(
        f"creates the Kinesis stream {name} ({settings.shards} provisioned shards) and the DynamoDB table {name} "
        f"(on demand), and removes both at the end; on AWS that costs money",
        flush=True,
    )
    if settings.yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("--yes", "given where no terminal is there to ask")
    if input("create them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InvalidInput("the answer", "y, or nothing is created")


async def _until_signalled(settings: DemoSettings, kind: type[Play]) -> Outcome | None:
    """Run the demo; on SIGTERM take everything down and return None (Ctrl-C is asyncio's own, a KeyboardInterrupt)."""
    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await _demo(settings, kind)
    except asyncio.CancelledError:
        if terminated:
            return None
        raise


async def _demo(settings: DemoSettings, kind: type[Play]) -> Outcome:
    screen = open_screen()
    started = time.monotonic()
    try:
        async with open_place(settings) as place:
            _announce(screen, settings, place, kind.plan(settings))
            async with own_stream(place, settings.stream, settings.shards) as stream:
                play = kind(settings, place, stream, screen)
                try:
                    outcome = await play.run()
                finally:
                    play.fleet.close()
    finally:
        screen.close()
    outcome.total_s = time.monotonic() - started
    _tell(screen, settings, outcome)
    return outcome


def _announce(screen: Screen, settings: DemoSettings, place: Place, plan: str) -> None:
    where = f"a local endpoint at {place.kinesis_url}" if place.local else f"the endpoint {place.kinesis_url}"
    screen.say(
        f"{settings.rate:,} user records/s for {settings.seconds} s into {settings.shards} shards of stream "
        f"{settings.stream}, on {where}; {settings.workers} worker processes, 1 producer process; seed {settings.seed}"
    )
    screen.say(
        f"fail-over {FAILOVER_S:.0f} s, call time-out {CALL_TIMEOUT_S:.0f} s, parent poll {PARENT_POLL_S:.0f} s; "
        f"{plan}; then a drain of at most {settings.drain} s"
    )


def _see_that_out_can_be_written(out: str | None) -> None:
    """Refuse a file that could not be written after the run, before it."""
    if out is None:
        return
    folder = Path(out).parent
    if Path(out).is_dir() or (folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK))):
        raise InvalidInput("--out", "a file that can be written")


def _tell(screen: Screen, settings: DemoSettings, outcome: Outcome) -> None:
    """Print the report; as JSON too where asked, in one last line."""
    for text in summary(outcome):
        screen.say(text)
    line = json.dumps(outcome.as_fields())
    if settings.out is not None:
        path = Path(settings.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + "\n")
    if settings.as_json:
        print(line, flush=True)
