"""The values that cross the ports, and the real `Runtime`."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import PutEntry, Stream

ARN = "arn:aws:kinesis:eu-central-1:123456789012:stream/clicks"


def test_a_stream_is_named_by_name_or_arn() -> None:
    """An ARN gives name, region and account; a name gives neither region nor account."""
    by_arn, by_name = Stream.of(ARN), Stream.of("clicks")
    assert (by_arn.name, by_arn.region, by_arn.account_id, by_arn.arn) == (
        "clicks",
        "eu-central-1",
        "123456789012",
        ARN,
    )
    assert (by_name.name, by_name.region, by_name.account_id, by_name.arn) == ("clicks", None, None, None)
    assert (Stream.of(by_arn), str(by_arn)) == (by_arn, "clicks")


@pytest.mark.parametrize(
    "stream",
    [
        "",
        "a" * 129,
        "with space",
        "slash/name",
        "ümlaut",
        "arn:aws:s3:::bucket",
        "arn:aws:kinesis:r:12:stream/x",
        7,
        None,
    ],
)
def test_what_aws_would_refuse_as_a_stream_is_refused(stream: object) -> None:
    """A name out of range, a malformed ARN and a wrong type are refused with what is allowed."""
    with pytest.raises(InvalidInput, match="^stream must be "):
        Stream.of(stream)  # type: ignore[arg-type]  # the wrong types are the point.


def test_an_arn_with_a_bad_name_is_refused() -> None:
    """The name inside an ARN is held to the same rule."""
    with pytest.raises(InvalidInput, match="^stream must be a name of 1 to 128 characters"):
        Stream.of(ARN + "/consumer/x:1")


def test_an_entry_shows_its_length_only() -> None:
    """An entry's repr holds neither data nor keys."""
    assert repr(PutEntry(b"secret", "user-1", "17")) == "PutEntry(6 bytes)"


def test_a_seed_makes_chance_repeatable() -> None:
    """Two runtimes of one seed draw the same; without a seed they do not."""
    drawn = [[AsyncioRuntime(seed).random.random() for _ in range(3)] for seed in (7, 7, None)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_clocks_go_forward() -> None:
    """The monotonic clock never goes back, and the wall clock tells seconds since 1970."""
    runtime = AsyncioRuntime()
    assert runtime.monotonic() <= runtime.monotonic()
    assert runtime.wall() > 1_700_000_000


def test_spawned_tasks_belong_to_their_group_and_blocking_work_to_a_thread() -> None:
    """A group waits for what was spawned in it; a blocking function runs off the loop's thread, with its arguments."""
    runtime = AsyncioRuntime()

    def double(value: int) -> tuple[int, int]:
        return value * 2, threading.get_ident()

    async def work(value: int) -> tuple[int, bool]:
        doubled, thread = await runtime.run_blocking(double, value)
        return doubled, thread == threading.get_ident()

    async def main() -> asyncio.Task[tuple[int, bool]]:
        async with asyncio.TaskGroup() as group:
            return runtime.spawn(group, work(21), name="work")

    task = asyncio.run(main())
    assert (task.result(), task.get_name()) == ((42, False), "work")
