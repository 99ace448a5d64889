"""A Lambda on a Kinesis stream: orders out of aggregates, in order, with truthful partial failures.

Deploy it with template.yaml (SAM), beside the layer of `make layer`. Failed orders come again from the first one that
was not done; set a destination on the event source mapping for those that never succeed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shardline.consumer.aws_lambda import Record, Tally, Window, stream_handler


@dataclass
class Order:
    """What a producer puts into the stream, as JSON."""

    id: int
    customer: str
    cents: int


def charge(order: Order, idempotency_key: str) -> None:
    """Stand for the effect: it must be idempotent, because delivery is at least once."""
    if order.cents < 0:
        raise ValueError("an order cannot be negative")
    CHARGED.setdefault(idempotency_key, order.cents)


CHARGED: dict[str, int] = {}


def count(tally: Tally) -> None:
    """Print one line for a metric filter per invocation."""
    print(f"processed={tally.processed} failed={tally.failed} malformed={tally.malformed}")


@stream_handler(model=Order, observe=count)
def handler(order: Order, record: Record) -> None:
    """Charge one order; `record.id` is the same on every delivery."""
    charge(order, idempotency_key=record.id)


@stream_handler(window=dict, model=Order)
def totals(orders: list[Order], state: dict[str, Any], window: Window) -> dict[str, Any]:
    """Sum up the orders of a tumbling window."""
    state = {
        "count": state.get("count", 0) + len(orders),
        "cents": state.get("cents", 0) + sum(o.cents for o in orders),
    }
    if window.final:
        print(f"{window.start} to {window.end}: {state['count']} orders, {state['cents']} cents")
    return state
