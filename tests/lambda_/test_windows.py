"""Tumbling windows: state in, state out, all or nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest

from shardline.common.errors import EncodeFailure, InvalidInput
from shardline.consumer.aws_lambda import BatchFailed, Record, Window, stream_handler

from tests.lambda_.events import ARN, SHARD, Context, aggregate, event, record

WINDOW = {"start": "2026-11-21T12:00:00Z", "end": "2026-11-21T12:05:00Z"}
CONTEXT = Context(60_000)


@dataclasses.dataclass
class Totals:
    """A dataclass state."""

    count: int = 0


class ModelTotals(pydantic.BaseModel):
    """A pydantic state."""

    count: int = 0


class StructTotals(msgspec.Struct):
    """A msgspec state."""

    count: int = 0


def windowed(*records: Any, state: Any = None, final: bool = False, **more: Any) -> dict[str, Any]:
    """Return an event of a tumbling window."""
    return event(
        *records,
        window=WINDOW,
        state={} if state is None else state,
        shardId=SHARD,
        eventSourceARN=ARN,
        isFinalInvokeForWindow=final,
        isWindowTerminatedEarly=False,
        **more,
    )


@pytest.mark.parametrize("kind", [Totals, ModelTotals, StructTotals])
def test_state_is_typed_and_carried(kind: Any) -> None:
    """A first state is made by the type, later ones are rebuilt from what Lambda kept."""

    @stream_handler(window=kind)
    def handler(records: list[Record], state: Any) -> Any:
        state.count += len(records)
        return state

    first = handler(windowed(aggregate(b"a", b"b"), b"c"), CONTEXT)
    assert first == {"state": {"count": 3}, "batchItemFailures": []}
    assert handler(windowed(b"d", state=first["state"]), CONTEXT)["state"] == {"count": 4}


def test_a_plain_dictionary_will_do() -> None:
    """window=dict keeps the state as it is."""

    @stream_handler(window=dict, model=int)
    def handler(numbers: list[int], state: dict[str, int]) -> dict[str, int]:
        return {"sum": state.get("sum", 0) + sum(numbers)}

    assert handler(windowed(b"3", b"4", state={"sum": 1}), CONTEXT)["state"] == {"sum": 8}


def test_the_final_call_comes_even_without_records() -> None:
    """The handler is told that the window ends; an empty batch before the end passes the state through."""
    seen: list[tuple[int, Window]] = []

    @stream_handler(window=dict)
    def handler(records: list[Record], state: dict[str, int], window: Window) -> dict[str, int]:
        seen.append((len(records), window))
        return state

    assert handler(windowed(state={"n": 1}), CONTEXT)["state"] == {"n": 1}
    assert seen == []
    assert handler(windowed(state={"n": 1}, final=True), CONTEXT)["state"] == {"n": 1}
    count, window = seen[0]
    assert (count, window.final, window.early) == (0, True, False)
    assert (window.start, window.end, window.shard_id, window.stream_arn) == (*WINDOW.values(), SHARD, ARN)
    assert repr(window).startswith(f"Window({SHARD}, 2026-11-21T12:00:00Z to")


def test_a_failure_fails_the_window_whole() -> None:
    """The state must not count half a batch, so an exception, bad data or a late start fail the invocation."""

    @stream_handler(window=dict)
    def handler(_records: list[Record]) -> dict[str, int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        handler(windowed(b"x"), CONTEXT)
    with pytest.raises(InvalidInput, match="data"):
        handler(windowed(record("bad base64")), CONTEXT)
    with pytest.raises(BatchFailed):
        handler(windowed(b"x"), Context(10))


def test_an_async_window() -> None:
    """An async function may hold the window too."""

    @stream_handler(window=dict)
    async def handler(records: list[Record], state: dict[str, int], context: Any) -> dict[str, int]:
        assert context is CONTEXT
        return {"n": state.get("n", 0) + len(records)}

    assert handler(windowed(b"x"), CONTEXT)["state"] == {"n": 1}
    handler.close()


@pytest.mark.parametrize("returned", [None, 7, {"x": object()}, {"x": "y" * 1_000_000}])
def test_a_state_that_lambda_cannot_keep_is_an_error(returned: Any) -> None:
    """No state, no object, no JSON or more than 1 MB: a typed error instead of a window cut short."""

    @stream_handler(window=dict)
    def handler(_records: list[Record]) -> Any:
        return returned

    with pytest.raises((InvalidInput, EncodeFailure)):
        handler(windowed(b"x"), CONTEXT)


@pytest.mark.parametrize("changed", [{"window": None}, {"state": "text"}])
def test_an_event_without_window_is_refused(changed: dict[str, Any]) -> None:
    """The event source mapping must have a tumbling window, and its state be an object."""

    @stream_handler(window=dict)
    def handler(_records: list[Record]) -> dict[str, int]:
        return {}

    with pytest.raises(InvalidInput):
        handler({**windowed(b"x"), **changed}, CONTEXT)


def test_a_window_whose_function_never_ran_is_an_error() -> None:
    """A generator, or a coroutine that nobody awaits, is no state."""

    def generating(records: list[Any], state: dict[str, int]) -> Any:
        yield state, records

    with pytest.raises(InvalidInput, match="generator"):
        stream_handler(window=dict)(generating)(windowed(b"a"), CONTEXT)
