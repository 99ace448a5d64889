"""The memory budget: bounds that hold whatever is asked of it, and overheads that are measured, not guessed."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder
from shardline.common.errors import InvalidInput
from shardline.common.limits import MIB
from shardline.producer.budget import KEY_OVERHEAD_BYTES, PACKAGE_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, Budget, Share


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3 * MIB), st.booleans()), max_size=200))
def test_bounds_hold_for_every_sequence(steps: list[tuple[int, int, bool]]) -> None:
    """Buffered and bodies never exceed the budget, no stream its share, and what was given comes back."""
    budget = Budget(16 * MIB)
    shares = [Share(budget), Share(budget, 4 * MIB)]
    held: list[tuple[int, int]] = []
    for who, size, give_back in steps:
        if give_back and held:
            owner, amount = held.pop()
            (budget.give_body_back if owner == 2 else shares[owner].release)(amount)
        elif (budget.try_body if who == 2 else shares[who].try_take)(size):
            held.append((who, size))
        assert budget.used <= budget.bytes_max
        assert budget.buffered <= budget.bytes_max - budget.reserve
        assert all(share.used <= share.limit for share in shares)
    assert budget.used == sum(amount for _, amount in held)


def test_records_are_counted() -> None:
    """A bound on records holds beside the one on bytes."""
    share = Share(Budget(16 * MIB), records_max=2)
    assert [share.try_take(1, 1) for _ in range(3)] == [True, True, False]
    share.release(1, 1)
    assert share.try_take(1, 1)


def test_a_body_always_fits_beside_a_full_buffer() -> None:
    """However full the buffer, one request can be made; a budget too small for one is refused."""
    budget = Budget(16 * MIB)
    budget.need_body(2 * MIB)
    share = Share(budget)
    while share.try_take(64 * 1024):
        pass
    assert budget.try_body(2 * MIB)
    with pytest.raises(InvalidInput, match="memory_bytes_max"):
        budget.need_body(5 * MIB)


@pytest.mark.parametrize(("size", "keys"), [(10, 1), (10, 400), (100, 250), (1024, 40)])
def test_overheads_cover_what_python_takes(size: int, keys: int) -> None:
    """What an open aggregate is accounted for is no less than what the interpreter allocates for it."""
    names = [f"key-{number:06}" for number in range(keys)]
    AggregateBuilder().try_append("warm", b"x")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    builder = AggregateBuilder()
    number = 0
    while builder.try_append(names[number % keys][:3] + names[number % keys][3:], bytes(size)):
        number += 1
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    accounted = (
        PACKAGE_OVERHEAD_BYTES
        + builder.size
        + len(builder) * RECORD_OVERHEAD_BYTES
        + builder.keys * (KEY_OVERHEAD_BYTES)
    )
    assert taken <= accounted
