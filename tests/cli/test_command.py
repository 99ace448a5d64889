"""The `shardline` command from outside: bad input, start-up, closed pipes; each in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import boto3
import pytest

from shardline.cli.input import stream_name, stream_spec, whole_number
from shardline.common.errors import InvalidInput
from shardline.common.printing import escape
from shardline.local import LocalEndpoint

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 60


def shardline(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "shardline.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        input=stdin,
        check=False,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"},
    )


def refused(*arguments: str) -> str:
    """Run the command, see that it refuses its input as it should, and return its one line."""
    result = shardline(*arguments)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("shardline: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("shardline: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--seconds", "14"), "--seconds must be a whole number from 15 to 3600, got '14'"),
        (("demo", "--seconds", "3601"), "--seconds must be a whole number from 15 to 3600, got '3601'"),
        (("demo", "--seconds", "1e3"), "--seconds must be a whole number from 15 to 3600, got '1e3'"),
        (("demo", "--rate", "0"), "--rate must be a whole number from 1 to 20000, got '0'"),
        (("demo", "--rate=-5"), "--rate must be a whole number from 1 to 20000, got '-5'"),
        (("demo", "--shards", "65"), "--shards must be a whole number from 1 to 64, got '65'"),
        (("demo", "--workers", "17"), "--workers must be a whole number from 1 to 16, got '17'"),
        (("demo", "--drain", "61"), "--drain must be a whole number from 1 to 60, got '61'"),
        (("demo", "--seed", "4294967296"), "--seed must be a whole number from 0 to 4294967295, got '4294967296'"),
        (("demo", "--stream", "no/slash"), "--stream must be a name of 1 to 128 characters of a-z A-Z 0-9 _ . -"),
        (("demo", "--endpoint-url", "ftp://localhost"), "--endpoint-url must be a URL of scheme https"),
        (("demo", "--endpoint-url", "http://example.com"), "--endpoint-url must be an https URL"),
        (("local", "--port", "65536"), "--port must be a whole number from 0 to 65535, got '65536'"),
        (("local", "--stream", "a b:1"), "--stream's NAME must be a name of 1 to 128 characters of a-z A-Z 0-9 _ . -"),
        (("local", "--stream", "orders:0"), "--stream orders's SHARDS must be a whole number from 1 to 10000, got '0'"),
        (("local", "--stream", "x" * 129), "--stream's NAME must be a name of 1 to 128 characters"),
        (("local", "--limits", "some"), "--limits must be none or service, got 'some'"),
        (("local", "--stream", "a:1", "--stream", "a:2"), "--stream must be given once per stream, got a"),
        (("demo", "--second", "15"), "No such option: --second"),
        (("local", "--what"), "Options of shardline local: --port, --stream"),
        (("demo", "surplus"), "surplus"),
        (("what",), "Commands: local, demo, leases, parked"),
        (("demo", "--seconds"), "--seconds"),
        (("leases",), "Missing argument 'application'"),
        (("leases", "my app"), "application must be 3 to 255 characters"),
        (("leases", "app", "--wait", "601"), "--wait must be a whole number from 0 to 600, got '601'"),
        (("leases", "app", "--table", "a b"), "table.name must be 3 to 255 characters"),
        (("parked", "my app"), "application must be 3 to 255 characters"),
        (("parked",), "Missing argument 'application'"),
        (("parked", "app", "--release", "--stream", "s"), "--stream and --key must be given"),
        (("parked", "app", "--lot", "x"), "--lot must be given with --replay"),
        (("parked", "app", "--replay", "x", "--release"), "--release must be given without --replay"),
        (("parked", "app", "--stream", "s", "--key", "k", "--replay", "x", "--lot", "y"), "MODULE:FUNCTION"),
        (("parked", "app", "--stream", "s", "--key", "k", "--replay", "json:x", "--lot", "y"), "no attribute 'x'"),
        (("parked", "app", "--stream", "s", "--key", "k", "--replay", "json:__doc__", "--lot", "y"), "a function"),
        (("parked", "app", "--stream", "s", "--key", "k", "--replay", "json:loads", "--lot", "kinesis:"), "--lot"),
        (("parked", "app", "--stream", "s", "--key", "k", "--replay", "json:loads", "--lot", "y"), "a file, s3://"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    """Exit status 2, one line that names the option and its range, no traceback."""
    assert message in refused(*arguments)


def test_an_endpoint_that_does_not_answer_is_refused() -> None:
    """A closed port is told before anything is created, and before the demo asks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert "--endpoint-url must be an endpoint that answers" in refused("demo", "--endpoint-url", url)


def test_an_endpoint_that_speaks_something_else_is_refused() -> None:
    """A listener that never answers is told apart from an endpoint within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "--endpoint-url must be an endpoint that answers" in refused("demo", "--yes", "--endpoint-url", url)


def test_a_port_in_use_is_refused() -> None:
    """The line names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        message = refused("local", "--port", port)
    assert "--port must be a free port" in message
    assert port in message


def test_local_serves_the_streams_it_was_asked_for() -> None:
    """The first line is the URL; the streams are there; Ctrl-C ends it with exit status 0 and without a word."""
    process = subprocess.Popen(
        [sys.executable, "-m", "shardline.cli", "local", "--stream", "orders:3", "--stream", "clicks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    kinesis = boto3.client(
        "kinesis", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    found = {
        name: len(kinesis.list_shards(StreamName=name)["Shards"]) for name in kinesis.list_streams()["StreamNames"]
    }
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=TIMEOUT_S)
    assert found == {"orders": 3, "clicks": 1}
    assert (process.returncode, *rest) == (0, "", "")


def test_a_file_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    """Half a minute of load is not spent on a report that cannot be written."""
    assert "--out must be a file that can be written" in refused("demo", "--out", str(tmp_path))


def test_no_answer_is_no_consent() -> None:
    """Where no terminal is there to ask, nothing is created at a given endpoint without --yes."""
    with LocalEndpoint() as endpoint:
        assert "--yes must be given where no terminal is there to ask" in refused(
            "demo", "--endpoint-url", endpoint.url
        )
        assert repr(endpoint.state.streams) == "{}"


def test_a_stream_in_use_is_refused() -> None:
    """The demo works on a stream of its own: one that exists is left alone."""
    with LocalEndpoint({"orders": 1}) as endpoint:
        message = refused("demo", "--yes", "--stream", "orders", "--endpoint-url", endpoint.url)
    assert "--stream must be a name that is not in use" in message


def test_escape_sequences_are_spelled_out() -> None:
    """A name cannot steer the terminal that shows its refusal."""
    message = refused("local", "--stream", "\x1b[31mred")
    assert "\x1b" not in message
    assert "'\\x1b[31mred'" in message


def test_help_and_version_exit_with_0() -> None:
    """Without arguments the command explains itself; exit statuses are documented there."""
    assert "Exit status: 0 done" in shardline().stdout
    assert shardline("--version").stdout.startswith("shardline ")
    for arguments in (("--help",), ("demo", "--help"), ("local", "--help")):
        result = shardline(*arguments)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "--help"], ["demo", "--seconds", "1"], ["local", "--port", "x"]]
)
def test_start_up_imports_no_more_than_it_needs(arguments: list[str]) -> None:
    """Help and refusals load neither an SDK nor an event loop nor a drawing library."""
    code = (
        "import sys\nfrom shardline.cli.__main__ import main\n"
        f"main({arguments!r})\nprint('LOADED', *sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    loaded = set(run.stdout.rpartition("LOADED")[2].split())
    heavy = {"asyncio", "aiobotocore", "botocore", "boto3", "moto", "aiohttp", "rich", "structlog", "pydantic", "ssl"}
    assert "typer" in loaded
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [(["--help"], "typer", "cli"), (["local"], "moto", "local"), (["demo"], "aiobotocore", "all")],
)
def test_a_missing_extra_says_what_to_install(arguments: list[str], module: str, extra: str) -> None:
    """Where libraries are absent, one line names the pip install that brings them."""
    code = (
        f"import sys\nsys.modules[{module!r}] = None\nfrom shardline.cli.__main__ import main\n"
        f"sys.exit(main({arguments!r}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert run.returncode == 2
    assert run.stderr.endswith(f"pip install 'shardline[{extra}]'\n")
    assert run.stderr.count("\n") == 1


def test_a_closed_pipe_ends_quietly() -> None:
    """A reader that goes away is no error to report: exit status 141, nothing on standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "shardline.cli", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.parametrize("text", ["", "-", "+5", " 5", "5.0", "\u0665", "1_0", "9" * 5000, "0x1"])
def test_only_plain_digits_are_a_whole_number(text: str) -> None:
    """What Python or a shell might read as a number is still refused, however long."""
    with pytest.raises(InvalidInput, match=r"^--n must be a whole number from 0 to 10, got '"):
        whole_number("--n", text, 0, 10)


def test_numbers_and_streams_are_taken_up_to_their_bounds() -> None:
    """Both ends of a range belong to it."""
    assert [whole_number("--n", text, -1, 10) for text in ("-1", "10", "007")] == [-1, 10, 7]
    assert stream_spec("--stream", "orders") == ("orders", 1)
    assert stream_spec("--stream", f"{'x' * 128}:10000") == ("x" * 128, 10_000)
    assert stream_name("--stream", "a_b.c-9") == "a_b.c-9"


def test_escape_leaves_what_prints() -> None:
    """Letters of any script stay; controls, line breaks, direction marks and lone surrogates are spelled out."""
    assert escape("zürich 東京 №1") == "zürich 東京 №1"
    assert escape("a\x1b[0m\n\u202e\ud800") == "a\\x1b[0m\\n\\u202e\\ud800"
