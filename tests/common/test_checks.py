"""Checks of settings and arguments: whatever is given, the answer is a value or an error that names field and range."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.checks import (
    check_callable,
    check_flag,
    check_kind,
    check_mapping,
    check_number,
    check_services,
    check_whole,
    choice_of,
)
from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.just(dict)
)


class Colour(StrEnum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@given(ANYTHING)
def test_a_number_is_one_within_its_range_or_an_error_says_so(value: object) -> None:
    """No other exception, whatever is given; a bool is no number."""
    right = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 5
    if right:
        check_number("wait_s", value, 1, 5, "seconds")
        return
    with pytest.raises(InvalidInput, match="wait_s must be .*from 1 to 5 seconds"):
        check_number("wait_s", value, 1, 5, "seconds")


@given(ANYTHING)
def test_a_whole_number_is_an_integer_within_its_range(value: object) -> None:
    """A float with no fraction is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5:
        check_whole("count", value, 1, 5)
        return
    with pytest.raises(InvalidInput, match="count must be an integer from 1 to 5"):
        check_whole("count", value, 1, 5)


@given(ANYTHING.filter(lambda value: value not in ("red", "blue")))
def test_a_choice_is_one_of_its_members(value: object) -> None:
    """Its text will do; nothing of what was given is repeated, for it may be a password."""
    with pytest.raises(InvalidInput, match="colour must be one of red, blue") as refused:
        choice_of("colour", value, Colour)
    if isinstance(value, str) and len(value) > 4:
        assert value not in str(refused.value)
    assert choice_of("colour", "blue", Colour) is Colour.BLUE is choice_of("colour", Colour.BLUE, Colour)


def test_kinds_are_named_with_what_was_given_instead() -> None:
    """A dict where settings were meant, a function that is called already, a name where a connection was meant."""
    checks: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: check_kind("settings", {}, Colour), "settings must be a Colour, got dict"),
        (lambda: check_callable("callback", None, "a function"), "callback must be a function, got NoneType"),
        (lambda: check_mapping("headers", [], "a mapping"), "headers must be a mapping, got list"),
        (lambda: check_flag("on", 1), "on must be True or False, got int"),
        (lambda: check_services("connection", "eu-west-1", "a Connection"), "connection must be a Connection, got str"),
    )
    for check, message in checks:
        with pytest.raises(InvalidInput, match=message):
            check()
