"""What newcomers get wrong: each is refused by a typed error that names the argument, before anything is sent."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from shardline.common.deaggregation import UserRecord
from shardline.common.errors import Closed, InvalidInput
from shardline.local import LocalServices
from shardline.producer import Producer, ProducerSettings, StreamSettings, blocking
from shardline.producer.outcome import NotWritten, Reason, Unknown
from shardline.producer.report import FlushReport, UndeliveredError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def services() -> LocalServices:
    """Serve a stream of one shard in process."""
    made = LocalServices()
    made.state.create_stream("orders", 1, now=0.0)
    return made


@pytest.mark.parametrize("kind", [Producer, blocking.Producer])
@pytest.mark.parametrize(
    ("field", "arguments", "named"),
    [
        ("target", (None,), {}),
        ("target", (b"orders",), {}),
        ("target", (7,), {}),
        ("stream", ("or ders",), {}),
        ("settings", ("orders", {"linger_s": 1}), {}),
        ("settings", ("orders", ProducerSettings()), {}),
        ("producer_settings", ("orders",), {"producer_settings": StreamSettings()}),
        ("connection", ("orders",), {"connection": "eu-west-1"}),
        ("events", ("orders",), {"events": print}),
        ("close_timeout_s", ("orders",), {"close_timeout_s": -1}),
        ("close_timeout_s", ("orders",), {"close_timeout_s": "5"}),
    ],
)
def test_what_no_producer_can_be_made_of(kind: Any, field: str, arguments: tuple[object, ...], named: Any) -> None:
    """The constructor refuses it, not the first put."""
    with pytest.raises(InvalidInput) as refused:
        kind(*arguments, **named)
    assert refused.value.field == field


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("headers", lambda orders: orders.put(b"x", "k", headers=["a"])),
    ("headers", lambda orders: orders.put({"id": 1}, "k", headers=["a"])),
    ("callback", lambda orders: orders.put(b"x", "k", callback=1)),
    ("partition_key", lambda orders: orders.put(b"x", b"k")),
    ("partition_key", lambda orders: orders.put(b"x", "k" * 257)),
    ("data", lambda orders: orders.put(None, "k")),
    ("timeout_s", lambda orders: orders.flush(-1)),
    ("timeout_s", lambda orders: orders.flush("5")),
]


@pytest.mark.parametrize(("field", "call"), CALLS)
def test_what_cannot_be_put_or_waited_for(field: str, call: Callable[[Any], Awaitable[object]]) -> None:
    """Nothing is accepted then."""

    async def main() -> None:
        async with Producer("orders", connection=services()) as orders:
            with pytest.raises(InvalidInput) as refused:
                await call(orders)
            assert refused.value.field == field
            assert orders.pending_records == 0

    asyncio.run(main())


@pytest.mark.parametrize(("field", "call"), CALLS)
def test_what_cannot_be_put_or_waited_for_blocking(field: str, call: Callable[[Any], object]) -> None:
    """The same without asyncio."""
    with blocking.Producer("orders", connection=services()) as orders:
        with pytest.raises(InvalidInput) as refused:
            call(orders)
        assert refused.value.field == field
        assert orders.pending_records == 0


def test_many_need_a_function_of_the_key() -> None:
    """A key where a function of the item is meant, a window of nothing."""

    async def main() -> None:
        async with Producer("orders", connection=services()) as orders:
            for field, given in (("key", {"key": "k"}), ("window", {"key": str, "window": 0})):
                with pytest.raises(InvalidInput) as refused:
                    await anext(orders.put_many([b"a"], **given))
                assert refused.value.field == field

    asyncio.run(main())
    with blocking.Producer("orders", connection=services()) as blocked, pytest.raises(InvalidInput, match="key"):
        next(iter(blocked.put_many([b"a"], key="k")))  # type: ignore[arg-type]  # Wrong on purpose.


def test_a_producer_that_is_not_entered_says_how_to() -> None:
    """Forgetting `async with` is answered by what to write."""
    with pytest.raises(Closed, match="async with Producer"):
        asyncio.run(Producer("orders", connection=services()).put(b"x", "k"))


def test_leaving_says_why_records_were_not_delivered() -> None:
    """The message counts the reasons; keys and data stay in the report."""
    record = UserRecord(b"secret", "customer-7")
    lost = [(record, NotWritten(Reason.EXPIRED, "ConnectFailed", 12))] * 2
    said = str(UndeliveredError(FlushReport([*lost, (record, Unknown(Reason.EXPIRED, "Timeout", 1))], 0)))
    assert said == (
        "3 records were not delivered: 2 not written: expired (ConnectFailed); 1 of unknown outcome: expired (Timeout)"
    )


@pytest.mark.parametrize("short_form", [True, False])
def test_a_forked_child_is_refused_where_the_parent_puts_the_short_way(*, short_form: bool) -> None:
    """The child's thread bears the number of the parent's, and its lock: both forms refuse all the same."""

    async def main() -> tuple[int, int]:
        async with Producer("orders", connection=services()) as producer:
            putting = producer if short_form else producer.stream("orders")
            for _ in range(3):
                await putting.put(b"parent", "k")
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    putting.put(b"child", "k").send(None)
                except Closed:
                    os.write(writer, b"closed")
                finally:
                    os._exit(0)
            os.close(writer)
            return child, reader

    child, reader = asyncio.run(main())
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"closed"
    os.close(reader)
