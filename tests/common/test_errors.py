"""The error tree."""

from __future__ import annotations

import pytest

from shardline.common import errors
from shardline.common.errors import (
    Ambiguous,
    Denied,
    InvalidInput,
    MalformedAggregate,
    MissingExtra,
    NotApplied,
    ServiceError,
    ShardlineError,
    Throttled,
)


def test_everything_hangs_on_one_root() -> None:
    """One `except ShardlineError` catches every exception of ours, and the list of names is complete."""
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert sorted(found) == sorted(errors.__all__)
    assert [name for name, value in found.items() if not issubclass(value, ShardlineError)] == []


def test_unknown_is_never_taken_for_failed() -> None:
    """`Ambiguous` and `NotApplied` are apart, and every other service error is known to have changed nothing."""
    kinds = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ServiceError)}
    assert not issubclass(Ambiguous, NotApplied)
    assert {kind for kind in kinds if not issubclass(kind, NotApplied)} == {ServiceError, Ambiguous}


def test_facts_sit_on_the_class() -> None:
    """Whether to try again is read from the error, not from its message."""
    retryable = {name for name in errors.__all__ if getattr(getattr(errors, name), "retryable", False)}
    throttled = {name for name in errors.__all__ if getattr(getattr(errors, name), "throttled", False)}
    assert retryable == {"CredentialsRefused", "Throttled", "InUse", "LimitExceeded", "Unreachable", "Ambiguous"}
    assert throttled == {"Throttled"}


def test_bad_input_names_the_field_and_its_range() -> None:
    """A refused value is a ValueError whose message names field and range, and only what the caller lets it show."""
    with pytest.raises(ValueError, match=r"^linger_s must be from 0 to 60$"):
        raise InvalidInput("linger_s", "from 0 to 60")
    error = InvalidInput("linger_s", "from 0 to 60", "61")
    assert (str(error), error.field, error.allowed) == (
        "linger_s must be from 0 to 60, got 61",
        "linger_s",
        "from 0 to 60",
    )


def test_a_missing_extra_says_what_to_install() -> None:
    """The message is the command to run, and the error an ImportError."""
    error = MissingExtra("shardline.consumer", "consumer")
    assert isinstance(error, ImportError)
    assert str(error).endswith("pip install 'shardline[consumer]'")


def test_a_malformed_aggregate_shows_reason_and_length() -> None:
    """The error of a malformed aggregate holds a reason code and a length, no payload."""
    error = MalformedAggregate("index", 4096)
    assert (error.reason, error.length, str(error)) == ("index", 4096, "malformed aggregate of 4096 bytes: index")


def test_service_errors_carry_what_the_service_said() -> None:
    """Code, advice on waiting, and the missing permission are attributes."""
    throttled = Throttled("ProvisionedThroughputExceededException", "slow down", retry_after_s=0.5)
    denied = Denied("AccessDeniedException", action="kinesis:PutRecords", resource="arn:aws:kinesis:::stream/s")
    assert str(throttled) == "ProvisionedThroughputExceededException: slow down"
    assert (throttled.code, throttled.retry_after_s) == ("ProvisionedThroughputExceededException", 0.5)
    wanted = "kinesis:PutRecords on arn:aws:kinesis:::stream/s"
    assert (str(denied), denied.permission) == (f"AccessDeniedException: {wanted}", wanted)
