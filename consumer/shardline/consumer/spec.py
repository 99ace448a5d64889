"""How a handler is described: what it takes, whether it blocks, what its failures lead to; and what it is called with.

Everything a user can get wrong in registering one is refused here, before anything runs.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from shardline.common.checks import check_callable, check_kind, check_whole
from shardline.common.codec import JsonCodec, decode
from shardline.common.errors import DecodeFailure, InvalidInput
from shardline.common.finished import check_finished
from shardline.consumer.policy import FailurePolicy, PerKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Unpack

    from shardline.common.codec import Codec
    from shardline.consumer.driver.pulling import Feed
    from shardline.consumer.handler import Batch, Handler, Record
    from shardline.consumer.processes import ProcessPool
    from shardline.consumer.processor import ShardProcessor

__all__ = ["HandlerOptions", "HandlerSpec", "Positions", "check_processor", "is_asynchronous"]

Positions: TypeAlias = "Callable[[str, str], Any]"
"""A function of a stream's name and a shard's id, asynchronous or blocking, that says up to which position a sink has
its records: a `Position`, its text, or None if it does not know the shard."""

_FOR_EVER = FailurePolicy()
_PROCESSES_MAX = 256


class HandlerOptions(TypedDict, total=False):
    """What may be said of a handler beside its function; `Worker.handler` says what each does."""

    batch: bool
    concurrency: PerKey | None
    on_failure: FailurePolicy | None
    model: object
    codec: Codec | None
    positions: Positions | None
    processes: int


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A registered handler: what it takes, and whether it blocks.

    `function` is called with one argument, a record or what `prepare` makes of a batch; decoding is part of it. `given`
    is the user's own; with `processes` it is called over there, through the `pool` that the worker opens.
    """

    function: Handler
    takes_batch: bool
    blocking: bool
    lanes: int = 1
    policy: FailurePolicy = _FOR_EVER
    codec: Codec | None = None
    feed: Feed | None = None
    processor: Callable[[], ShardProcessor] | None = None
    processes: int = 0
    given: Handler | None = None
    pool: ProcessPool | None = None
    positions: Positions | None = None

    @property
    def call(self) -> Callable[[Any], Awaitable[None]]:
        """The asynchronous handler as a function that returns an awaitable."""
        return self.function

    @classmethod
    def of(cls, function: Handler, **options: Unpack[HandlerOptions]) -> HandlerSpec:
        """Describe a handler; raises `InvalidInput` for something that cannot be called with what it will get."""
        unknown = sorted(options.keys() - HandlerOptions.__annotations__.keys())
        if unknown:
            raise InvalidInput(unknown[0], f"one of a handler's options: {', '.join(HandlerOptions.__annotations__)}")
        batch, concurrency = options.get("batch", False), options.get("concurrency")
        if batch and concurrency is not None:
            raise InvalidInput("concurrency", "given for handlers of single records: a batch is one call")
        check_callable("handler", function, "a function of one record or batch")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput("handler", "a function that does its work when it is called: this one is a generator")
        codec = _codec(options.get("model"), options.get("codec"))
        call = function if codec is None else _decoding(function, codec, batch=batch)
        if codec is None and not _takes(function, 1):
            raise InvalidInput("handler", "a function of one argument")
        processes = options.get("processes", 0)
        check_whole("processes", processes, 0, _PROCESSES_MAX)
        if concurrency is not None:
            check_kind("concurrency", concurrency, PerKey, what="per_key(n)")
        blocking = not is_asynchronous(function)
        return cls(
            _finishing(call) if blocking else call,
            batch,
            blocking=blocking,
            lanes=1 if concurrency is None else concurrency.lanes,
            policy=_policy(options.get("on_failure")),
            codec=codec,
            processes=processes,
            given=function,
            positions=_checked(options.get("positions")),
        )

    @classmethod
    def pulled(cls, feed: Feed) -> HandlerSpec:
        """Describe batches that are pulled instead of handed to a function."""
        return cls(_never, takes_batch=True, blocking=False, feed=feed)

    @classmethod
    def processed(
        cls,
        processor: Callable[[], ShardProcessor],
        on_failure: FailurePolicy | None,
        positions: Positions | None = None,
    ) -> HandlerSpec:
        """Describe processors, of which one is made for each tenure of a shard's lease."""
        check_processor(processor)
        _check_coroutines(processor)
        policy = _policy(on_failure)
        return cls(_never, True, False, policy=policy, processor=processor, positions=_checked(positions))

    def prepare(self, rest: Batch) -> tuple[Batch, object]:
        """Return how much of a batch to hand over, and what `function` gets for it.

        With a codec that ends before the first record that cannot be decoded; where that is the batch's first, its
        `DecodeFailure` is raised: it is then the record that fails.
        """
        if self.codec is None:
            return rest, rest
        values: list[Any] = []
        for record in rest:
            try:
                values.append(decode(record.data, self.codec, record.headers))
            except DecodeFailure:
                if not values:
                    raise
                rest = rest.before(record.position)
                break
        return rest, (values, rest)


def _codec(model: object, codec: Codec | None) -> Codec | None:
    if model is None:
        return codec
    if codec is not None:
        raise InvalidInput("model and codec", "one of them: a codec has its model")
    return JsonCodec(model)


def _policy(on_failure: FailurePolicy | None) -> FailurePolicy:
    if on_failure is None:
        return _FOR_EVER
    check_kind("on_failure", on_failure, FailurePolicy, what="park_record(...), park_key(...) or stop_worker(...)")
    return on_failure


def _checked(positions: Positions | None) -> Positions | None:
    if positions is not None and not _takes(positions, 2):
        raise InvalidInput("positions", "a function of a stream's name and a shard's id")
    return positions


def _never(_: object) -> None:
    raise AssertionError("a feed or a processor takes the batches")


def _takes(function: Handler, arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        pass  # A built-in without a signature: calling it will tell.
    return True


def _decoding(function: Handler, codec: Codec, *, batch: bool) -> Handler:
    """Return a handler of decoded values as one of a record, or of what `prepare` gives; its coroutine is handed on."""
    if not _takes(function, 2) and not _takes(function, 1):
        raise InvalidInput("handler", "a function of a decoded value, or of one and its record")
    alone = not _takes(function, 2)

    def of_record(record: Record) -> object:
        value = decode(record.data, codec, record.headers)
        return function(value) if alone else function(value, record)

    def of_batch(prepared: tuple[list[Any], Batch]) -> object:
        return function(prepared[0]) if alone else function(*prepared)

    return of_batch if batch else of_record


def _finishing(function: Handler) -> Handler:
    """Return a blocking handler that fails where it has not done its work when it returns."""

    def call(given: object) -> None:
        check_finished("handler", function(given))

    return call


def is_asynchronous(function: Handler) -> bool:
    """Say whether calling gives a coroutine: a coroutine function, or an object whose call is one."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - an object's own coroutine method is looked for.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def check_processor(processor: object) -> None:
    """Raise `InvalidInput` for what makes no processors: no callable, or a class without its method `process`."""
    check_callable("processor", processor, "a class, or a function without arguments")
    unfinished = isinstance(processor, type) and not callable(getattr(processor, "process", None))
    if unfinished or inspect.isabstract(processor):
        raise InvalidInput("processor", "a class with a method process", getattr(processor, "__name__", ""))


def _check_coroutines(processor: object) -> None:
    """Raise `InvalidInput` for a class that lacks one of a processor's methods, or has a plain one."""
    if not isinstance(processor, type):
        return
    for name in ("initialize", "process", "lease_lost", "shard_ended", "shutdown_requested"):
        if not inspect.iscoroutinefunction(getattr(processor, name, None)):
            allowed = f"a ShardProcessor whose {name} is a coroutine function (plain methods: blocking.on_threads)"
            raise InvalidInput("processor", allowed, processor.__name__)
