"""`stream_handler`: turns a function of one record, a batch or a window into a Lambda handler that answers truthfully.

The settings are checked at decoration; an invocation is `run`'s generator, driven here with the function's calls. This
is a program's outside: it may run an event loop for an async handler and log. Logs name positions, sizes and types;
never data, keys or the text of an exception, which may quote them.
"""

from __future__ import annotations

from shardline.common.envelopes import read_stream_event
from shardline.common.errors import InvalidInput, ShardlineError
from shardline.common.finished import check_finished
from shardline.common.limits import AGGREGATE_SUB_RECORDS_MAX
from shardline.consumer.aws_lambda.calling import call_of, is_async, keyword_names
from shardline.consumer.aws_lambda.run import Invocation, Plan, batch_steps, lowest, single_steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal, overload

    from shardline.common.deaggregation import MalformedPolicy
    from shardline.common.envelopes import Origin
    from shardline.consumer.aws_lambda.calling import Call
    from shardline.consumer.aws_lambda.records import Record, Tally
    from shardline.consumer.aws_lambda.resuming import ResumeStore
    from shardline.consumer.aws_lambda.run import Steps

    Answer = Callable[[Any, Any], dict[str, Any]]
    HashRanges = Callable[[str], tuple[int, int] | None] | Mapping[str, tuple[int, int]]
else:

    def overload(function: object) -> object:
        """Stand in for typing's, which a cold start does not pay for."""
        return function


__all__ = ["BatchFailed", "StreamHandler", "stream_handler"]

_EVERYTHING = 2**63
_TIMEOUT_S_MAX = 900  # Lambda quotas: the longest time-out of a function.
_SETTINGS: dict[str, Any] = {
    "model": None,
    "batch": False,
    "window": None,
    "on_error": "stop",
    "park": None,
    "failed": None,
    "resume": None,
    "reserve_s": 1.0,
    "hash_range": None,
    "misplaced": "deliver",
    "malformed": "deliver_raw",
    "max_sub_records": AGGREGATE_SUB_RECORDS_MAX,
    "report": "partial",
    "observe": None,
}
_CHOICES = {
    "on_error": ("stop", "continue", "park"),
    "misplaced": ("deliver", "drop"),
    "malformed": ("deliver_raw", "raise"),
    "report": ("partial", "raise"),
}


class BatchFailed(ShardlineError):
    """Records were left unprocessed and the event source mapping takes no partial answers (``report="raise"``)."""


class StreamHandler:
    """A Lambda handler: call it with event and context; it has its function's name and docstring.

    `close()` ends the event loop of an async function; Lambda never needs it, tests do.
    """

    def __init__(self, function: Callable[..., Any], plan: Plan, settings: Mapping[str, Any]) -> None:
        if not callable(function):
            raise InvalidInput("handler", "a function", type(function).__name__)
        self.__wrapped__ = function
        self.__name__: str = getattr(function, "__name__", "handler")
        self.__doc__ = function.__doc__
        self._loop = _Loop() if is_async(function) else None
        made = _window_answer if settings["window"] is not None else _batch_answer
        self._answer = made(function, plan, settings, self._loop)

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Handle one event and return the answer; see `stream_handler`."""
        return self._answer(event, context)

    def close(self) -> None:
        """Close the event loop of an async function."""
        if self._loop is not None:
            self._loop.close()


@overload
def stream_handler(function: Callable[..., Any], /) -> StreamHandler: ...  # noqa: D103 - documented below.
@overload
def stream_handler(  # noqa: D103, F811 - ruff knows typing's overload only by its import.
    *,
    model: Any = None,
    batch: bool | int = False,
    window: Any = None,
    on_error: Literal["stop", "continue", "park"] = "stop",
    park: Callable[[Record, Exception], object] | None = None,
    failed: Callable[[Record, Exception], object] | None = None,
    resume: ResumeStore | None = None,
    reserve_s: float = 1.0,
    hash_range: HashRanges | None = None,
    misplaced: Literal["deliver", "drop"] = "deliver",
    malformed: MalformedPolicy = "deliver_raw",
    max_sub_records: int = AGGREGATE_SUB_RECORDS_MAX,
    report: Literal["partial", "raise"] = "partial",
    observe: Callable[[Tally], object] | None = None,
) -> Callable[[Callable[..., Any]], StreamHandler]: ...
def stream_handler(function: Any = None, /, **given: Any) -> Any:  # noqa: F811 - as above, the overloads' body.
    """Make a Lambda handler ``(event, context) -> answer`` of a function, or of an async function.

    The function takes the payload (`model`: a dataclass, pydantic or msgspec model, a callable that takes bytes, or a
    `Codec`; without one the `Record`), and by name `record` and
    `context`; with `batch` (True, or how many at most) a list of them; with `window` (the state's type) the list and,
    by name, `state`, `window` and `context`, and returns the next state. Aggregates are taken apart first.

    The answer is ``{"batchItemFailures": [...]}`` with the lowest sequence number not processed, or an empty list if
    everything was; the event source mapping must have ReportBatchItemFailures (without it, ``report="raise"`` raises
    `BatchFailed`). `on_error`: ``stop`` at the first failure (order is kept), ``continue``, or ``park`` with `park`,
    which gets the record and the exception and must raise if it could not keep them. `failed` is told of every failure;
    without it failures are logged. `resume` remembers progress inside aggregates. Nothing is started when less than
    `reserve_s` seconds of the invocation remain. `hash_range` gives a shard's (first, last) hash key, so that
    `misplaced` records are marked, or their aggregates dropped as the KCL does. `observe` gets the `Tally`.

    Raises `InvalidInput` at decoration for settings out of range, and at invocation for an event that is not Kinesis'
    or cannot be named, which fails the whole batch.
    """
    unknown = given.keys() - _SETTINGS.keys()
    if unknown:
        raise InvalidInput(min(unknown), f"one of the settings {', '.join(_SETTINGS)}")
    settings = {**_SETTINGS, **given}
    plan = _plan(settings)
    if function is not None:
        return StreamHandler(function, plan, settings)

    def decorate(wrapped: Callable[..., Any]) -> StreamHandler:
        return StreamHandler(wrapped, plan, settings)

    return decorate


def _plan(settings: Mapping[str, Any]) -> Plan:
    """Check the settings together and keep them."""
    _check(settings)
    plan = Plan()
    batch = settings["batch"]
    if batch is not False:
        plan.batch_max = _EVERYTHING if batch is True else batch
    if settings["model"] is not None:
        from shardline.consumer.aws_lambda.payloads import payload_of

        plan.decode = payload_of(settings["model"])
    plan.on_error, plan.park, plan.failed = settings["on_error"], settings["park"], settings["failed"] or _log_failure
    plan.resume, plan.reserve_s = settings["resume"], float(settings["reserve_s"])
    ranges: HashRanges | None = settings["hash_range"]
    plan.hash_range = ranges if ranges is None or callable(ranges) else ranges.get
    plan.drop_misplaced = settings["misplaced"] == "drop"
    plan.malformed, plan.max_sub_records = settings["malformed"], settings["max_sub_records"]
    return plan


def _check(settings: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` for a setting out of range, or for two that do not go together."""
    for name, allowed in _CHOICES.items():
        if settings[name] not in allowed:
            raise InvalidInput(name, " or ".join(allowed))
    batch, window, reserve_s = settings["batch"], settings["window"], settings["reserve_s"]
    if not isinstance(batch, int) or (batch is not False and batch < 1):
        raise InvalidInput("batch", "True, or how many records at most (1 or more)")
    if isinstance(reserve_s, bool) or not isinstance(reserve_s, (int, float)) or not 0 <= reserve_s <= _TIMEOUT_S_MAX:
        raise InvalidInput("reserve_s", f"from 0 to {_TIMEOUT_S_MAX} seconds")
    parks = settings["park"] is not None
    if (settings["on_error"] == "park") != parks:
        raise InvalidInput("park", 'a function, together with on_error="park"')
    if window is not None and (settings["on_error"] != "stop" or batch is not False):
        raise InvalidInput("window", 'used with on_error="stop" and without batch: a window is all or nothing')
    if (batch is not False or window is not None) and (parks or settings["resume"] is not None):
        raise InvalidInput("batch", "off where records are parked or resumed one by one")


def _batch_answer(function: Callable[..., Any], plan: Plan, settings: Mapping[str, Any], loop: _Loop | None) -> Answer:
    """Return what answers for records and batches."""
    drive = _driver(function, loop)
    steps_of = single_steps if plan.batch_max is None else batch_steps
    observe, raises = settings["observe"], settings["report"] == "raise"

    def answer(event: Any, context: Any) -> dict[str, Any]:
        invocation = Invocation(plan, read_stream_event(event), _clock_of(context))
        left: list[Origin] = drive(steps_of(invocation), context)
        if observe is not None:
            observe(invocation.tally)
        if not left:
            return {"batchItemFailures": []}
        if raises:
            raise BatchFailed(f"{len(left)} Kinesis records left, the first at {lowest(left)}")
        return {"batchItemFailures": [{"itemIdentifier": lowest(left)}]}

    return answer


def _window_answer(function: Callable[..., Any], plan: Plan, settings: Mapping[str, Any], loop: _Loop | None) -> Answer:
    """Return what answers for tumbling windows: all or nothing, state in, state out."""
    from shardline.consumer.aws_lambda.payloads import dump_state, load_state
    from shardline.consumer.aws_lambda.windows import Window

    names = keyword_names(function, ("state", "window", "context"))
    observe, kind = settings["observe"], settings["window"]

    def answer(event: Any, context: Any) -> dict[str, Any]:
        invocation = Invocation(plan, read_stream_event(event), _clock_of(context))
        window, state = Window(event), load_state(kind, event.get("state"))
        payloads = _all_payloads(invocation)
        if payloads or window.final:
            if invocation.out_of_time():
                raise BatchFailed("too little time remains to start")
            known = {"state": state, "window": window, "context": context}
            state = function(payloads, **{name: known[name] for name in names})
            if loop is None:
                check_finished("handler", state)
            else:
                state = loop.run(state)
            invocation.tally.processed = len(payloads)
        if observe is not None:
            observe(invocation.tally)
        return {"state": dump_state(state), "batchItemFailures": []}

    return answer


def _all_payloads(invocation: Invocation) -> list[Any]:
    """Return the payloads of a whole event; raise for the first record that cannot be read."""
    decode = invocation.plan.decode
    payloads: list[Any] = []
    for origin in invocation.origins:
        records, broken = invocation.open(origin)
        if broken is not None:
            raise broken
        payloads += records if decode is None else map(decode, records)
    return payloads


def _driver(function: Callable[..., Any], loop: _Loop | None) -> Callable[[Steps, Any], list[Origin]]:
    """Return what runs an invocation's steps with the function's calls."""
    call = call_of(function)
    if loop is None:
        return lambda steps, context: _drive(steps, call, context)
    return lambda steps, context: loop.run(_drive_async(steps, call, context))


def _drive(steps: Steps, call: Call, context: Any) -> list[Origin]:
    outcome: Exception | None = None
    while True:
        try:
            payload, record = steps.send(outcome)
        except StopIteration as done:
            left: list[Origin] = done.value
            return left
        outcome = None
        try:
            result = call(payload, record, context)
        except Exception as error:  # noqa: BLE001 - the function's failures are the policy's business.
            outcome = error
        else:
            if result is not None:
                check_finished("handler", result)


async def _drive_async(steps: Steps, call: Call, context: Any) -> list[Origin]:
    outcome: Exception | None = None
    while True:
        try:
            payload, record = steps.send(outcome)
        except StopIteration as done:
            left: list[Origin] = done.value
            return left
        outcome = None
        try:
            await call(payload, record, context)
        except Exception as error:  # noqa: BLE001 - the function's failures are the policy's business.
            outcome = error


class _Loop:
    """One event loop for the life of the execution environment, so that clients bound to it stay warm."""

    def __init__(self) -> None:
        self._runner: Any = None

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine to its end."""
        if self._runner is None:
            import asyncio

            self._runner = asyncio.Runner()
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Close the loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


def _clock_of(context: Any) -> Callable[[], float] | None:
    """Return Lambda's own clock of what remains of the invocation, in milliseconds; None outside Lambda."""
    return getattr(context, "get_remaining_time_in_millis", None)


def _log_failure(record: Record, error: Exception) -> None:
    """Log where a record failed; its data, its key and the exception's text stay out."""
    from logging import getLogger

    line = error.__traceback__
    while line is not None and line.tb_next is not None:
        line = line.tb_next
    place = "" if line is None else f" at {line.tb_frame.f_code.co_name}:{line.tb_lineno}"
    getLogger("shardline.lambda").error(
        "record %s of %d bytes failed: %s%s", record.id, len(record.data), type(error).__name__, place
    )
