"""Registering handlers: the part of `Worker` that says who gets its streams' records, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

from shardline.consumer.spec import HandlerSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from shardline.consumer.driver.tracked import Tracked
    from shardline.consumer.handler import Handler
    from shardline.consumer.policy import FailurePolicy
    from shardline.consumer.processor import ShardProcessor
    from shardline.consumer.spec import HandlerOptions, Positions

__all__ = ["Registering"]

H = TypeVar("H", bound="Handler")


class Registering:
    """What registers handlers; a base of `Worker`."""

    _tracked: Tracked

    @overload
    def handler(self, stream: H, /) -> H: ...

    @overload
    def handler(self, stream: str | None = None, /, **options: Unpack[HandlerOptions]) -> Callable[[H], H]: ...

    def handler(self, stream: H | str | None = None, /, **options: Unpack[HandlerOptions]) -> H | Callable[[H], H]:
        """Register a handler for a stream (or for all that have none): of one `Record`, or with `batch` of one `Batch`.

        An asynchronous function runs on the loop, any other on a thread, where it may block. What it raises is retried:
        the same record, or the rest of the batch, again, after a back-off; the shard waits meanwhile, for ever unless
        `on_failure` says otherwise. `concurrency=per_key(32)` works on 32 records of a shard at a time, in order within
        each partition key; checkpoints then stop at the first record that is not done.

        With `model` (a dataclass, pydantic or msgspec model: JSON) or `codec` the handler gets the decoded value and,
        if it takes a second argument, the record; or with `batch` the list of values and the batch. A payload that
        cannot be decoded (`DecodeFailure`) is a failure of the handler at that record.

        `positions` is for sinks that hold their position themselves: asked with the stream's name and the shard's id
        before a shard is read, it returns up to which position (a `Position`, or its text) the sink has the records,
        and reading begins behind it; None leaves it to the checkpoint. Where that lies above the checkpoint, what lies
        between counts as skipped on purpose (event ``shard.skipped``). Raising, it is asked again; the shard waits.

        With `processes` the handler runs in that many processes of its own, at most, shared by all shards: for work
        that needs the processor. It must be at module level, where they import it. One that dies, or is killed because
        its call hangs, is a failure of the record it had in hand.

        Raises `InvalidInput` for a stream that the worker does not read, or that has a handler already.
        """
        if stream is not None and not isinstance(stream, str):
            self.add_handler(stream, **options)
            return stream

        def register(function: H) -> H:
            self.add_handler(function, stream, **options)
            return function

        return register

    def add_handler(self, function: Handler, stream: str | None = None, **options: Unpack[HandlerOptions]) -> None:
        """Do what `handler` does, as a call."""
        self._tracked.register(HandlerSpec.of(function, **options), stream)

    def add_processor(
        self,
        processor: Callable[[], ShardProcessor],
        stream: str | None = None,
        *,
        on_failure: FailurePolicy | None = None,
        positions: Positions | None = None,
    ) -> None:
        """Register a `ShardProcessor` class (or a function that makes one) instead of a handler: one per shard.

        It checkpoints itself, and nobody else does. Raises `InvalidInput` as `handler` does.
        """
        self._tracked.register(HandlerSpec.processed(processor, on_failure, positions), stream)
