"""Positions in a shard, and records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.errors import InvalidInput
from shardline.common.records import (
    AT_TIMESTAMP,
    LATEST,
    SHARD_END,
    TRIM_HORIZON,
    KinesisRecord,
    Position,
    parse_sequence_number,
)

numbers = st.integers(0, 10**129 - 1)
positions = st.builds(Position, numbers, st.integers(0, 2**31))


def test_sentinels_order_as_the_kcl_orders_them() -> None:
    """SHARD_END is above every sequence number; LATEST, TRIM_HORIZON and AT_TIMESTAMP below, in that order."""
    assert sorted([SHARD_END, LATEST, TRIM_HORIZON, AT_TIMESTAMP, Position(0), Position(10**129 - 1)]) == [
        AT_TIMESTAMP,
        TRIM_HORIZON,
        LATEST,
        Position(0),
        Position(10**129 - 1),
        SHARD_END,
    ]


def test_sequence_numbers_order_as_numbers() -> None:
    """As numbers 9 lies before 10, whatever text says; equal numbers order by sub-sequence number."""
    assert Position.parse("9") < Position.parse("10") < Position.parse("10", 1)


@given(positions)
def test_a_position_survives_its_attribute(position: Position) -> None:
    """Writing a checkpoint and reading it back gives the same position."""
    assert Position.parse(position.text, position.sub_sequence_number) == position
    assert not position.is_sentinel
    assert str(position) == f"{position.text}/{position.sub_sequence_number}"


@pytest.mark.parametrize(
    ("position", "name"),
    [(SHARD_END, "SHARD_END"), (LATEST, "LATEST"), (TRIM_HORIZON, "TRIM_HORIZON"), (AT_TIMESTAMP, "AT_TIMESTAMP")],
)
def test_a_sentinel_is_written_by_name(position: Position, name: str) -> None:
    """A sentinel's attribute is its name, and the name is read back as the sentinel."""
    assert (position.text, str(position), position.is_sentinel) == (name, name, True)
    assert Position.parse(name) == position


@pytest.mark.parametrize("text", ["", "-1", "1.0", " 1", "1e3", "\u0661", "9" * 130, "shard_end"])
def test_what_is_no_sequence_number_is_refused(text: str) -> None:
    """Anything but 1 to 129 digits or a sentinel is refused, and shown by its length only."""
    with pytest.raises(InvalidInput, match=rf"^sequence_number must be .*, got {len(text)} characters$"):
        Position.parse(text)


def test_a_negative_sub_sequence_number_is_refused() -> None:
    """Sub-sequence numbers count from 0."""
    with pytest.raises(InvalidInput, match="^sub_sequence_number must be 0 or more$"):
        Position.parse("1", -1)


@given(numbers)
def test_every_number_of_the_services_pattern_is_read(number: int) -> None:
    """Up to 129 digits are read as the number they say."""
    assert parse_sequence_number(str(number)) == number


def test_a_record_shows_no_payload() -> None:
    """A record's repr has position and length; neither data nor partition key."""
    record = KinesisRecord("495", b"secret", "user-1", 1_700_000_000.0)
    assert repr(record) == "KinesisRecord(495, 6 bytes)"
