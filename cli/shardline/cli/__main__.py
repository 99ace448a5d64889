"""The `shardline` command's outside: runs a command and turns whatever ends it into an exit status and one line.

Exit status (also told by `shardline --help`)::

    0    done
    1    the work failed: the demo lost a record or saw one out of order, a service failed
    2    bad input, or an endpoint, port or extra that cannot be used
    130  stopped by Ctrl-C
    141  the reader of standard output went away
    143  stopped by SIGTERM

Bad input never shows a traceback; a fault of ours does, because it is one to report.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from shardline.common.errors import CredentialsRefused, InvalidInput, MissingExtra, ShardlineError, Unreachable
from shardline.common.printing import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

__all__ = ["main"]

_FAILED, _BAD_INPUT, _INTERRUPTED, _PIPE_CLOSED = 1, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return _PIPE_CLOSED
    return status


def _run(arguments: list[str]) -> int:
    try:
        import typer
    except ModuleNotFoundError:
        return _refuse(str(MissingExtra("The shardline command", "cli")), _BAD_INPUT)
    from shardline.cli.app import app

    command = typer.main.get_command(app)
    try:
        # Not `command.main`: it would turn a closed pipe and Ctrl-C into statuses and texts of its own.
        with command.make_context("shardline", arguments) as context:
            status = int(command.invoke(context) or 0)
    except typer.Exit as exit_:
        status = exit_.exit_code
    except typer.TyperException as error:
        status = _refuse(_usage(error), _BAD_INPUT)
    except (InvalidInput, MissingExtra, Unreachable, CredentialsRefused) as error:
        status = _refuse(str(error), _BAD_INPUT)
    except ShardlineError as error:
        status = _refuse(str(error), _FAILED)
    except ModuleNotFoundError as error:
        if "pip install" not in str(error):
            raise
        status = _refuse(str(error), _BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    return status


def _usage(error: typer.TyperException) -> str:
    """Return a usage error's message, and for an unknown option or command what there is instead."""
    message = str(error.format_message()).rstrip(".") + "."
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    commands = getattr(context.command, "commands", None)
    if commands:
        return f"{message} Commands: {', '.join(commands)}."
    options = [option for parameter in context.command.params for option in parameter.opts]
    return f"{message} Options of {context.command_path}: {', '.join(options)}, --help."


def _refuse(message: str, status: int) -> int:
    """Print one line on standard error, harmless to a terminal, and return `status`."""
    try:
        sys.stderr.write(f"shardline: {escape(' '.join(message.splitlines()))}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    return status


def _silence_stdout() -> None:
    """Keep the interpreter from reporting the closed pipe once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
