"""Back-off as a value."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.backoff import Backoff
from shardline.common.errors import InvalidInput


class Highest(Random):
    """Chance that draws as high as it may."""

    def random(self) -> float:
        """Return the highest number below 1."""
        return 1.0 - 2.0**-53


def test_waits_double_up_to_the_cap() -> None:
    """The upper bound of the wait is first_s, twice that, and so on, never above max_s."""
    backoff = Backoff(first_s=0.1, max_s=1.0)
    waits = [backoff.delay_s(attempt, Highest()) for attempt in (1, 2, 3, 4, 5, 6)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_a_floor_of_one_takes_chance_out() -> None:
    """With floor 1 the wait is the step itself, whatever is drawn."""
    assert Backoff(first_s=0.5, max_s=4, floor=1.0).delay_s(3, Random(1)) == 2.0


@given(
    st.integers(-5, 10**9), st.integers(), st.floats(1e-6, 1e3), st.floats(1.0, 1e6), st.floats(0, 1, allow_nan=False)
)
def test_every_wait_lies_between_its_floor_and_the_cap(
    attempt: int, seed: int, first_s: float, factor: float, floor: float
) -> None:
    """For any attempt count the wait is finite, at least floor x first_s and at most max_s."""
    backoff = Backoff(first_s=first_s, max_s=first_s * factor, floor=floor)
    wait = backoff.delay_s(attempt, Random(seed))
    assert floor * first_s * (1 - 1e-9) <= wait <= backoff.max_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("first_s", {"first_s": 0.0}),
        ("first_s", {"first_s": float("inf")}),
        ("max_s", {"first_s": 2.0, "max_s": 1.0}),
        ("max_s", {"max_s": float("nan")}),
        ("floor", {"floor": -0.1}),
        ("floor", {"floor": 1.1}),
    ],
)
def test_settings_out_of_range_are_refused(field: str, settings: dict[str, float]) -> None:
    """A setting out of range is refused by its name on construction."""
    with pytest.raises(InvalidInput, match=f"^{field} must be "):
        Backoff(**settings)
