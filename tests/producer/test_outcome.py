"""Judging errors, and saying one thing of many records."""

from __future__ import annotations

import pytest

from shardline.common.errors import (
    Ambiguous,
    CredentialsRefused,
    Denied,
    InUse,
    NotApplied,
    NotFound,
    ProtocolViolation,
    Rejected,
    Throttled,
    Unreachable,
)
from shardline.producer.outcome import (
    Delivered,
    DeliveryError,
    FaultKind,
    NotWritten,
    Outcome,
    Reason,
    Unknown,
    judge_code,
    judge_error,
    together,
)

HERE = Delivered("shardId-000000000000", "1", 0, 1)
NOT = NotWritten(Reason.EXPIRED, "Expired", 1)
PERHAPS = Unknown(Reason.EXPIRED, "Timeout", 2)


@pytest.mark.parametrize(
    ("error", "kind", "doubtful"),
    [
        (Throttled("Throttling"), FaultKind.THROTTLED, False),
        (Unreachable("Connect"), FaultKind.TRANSIENT, False),
        (InUse("ResourceInUseException"), FaultKind.TRANSIENT, False),
        (CredentialsRefused("ExpiredTokenException"), FaultKind.TRANSIENT, False),
        (Denied("AccessDeniedException"), FaultKind.FATAL, False),
        (NotFound("ResourceNotFoundException"), FaultKind.FATAL, False),
        (Rejected("ValidationException"), FaultKind.REFUSED, False),
        (NotApplied("New2030"), FaultKind.REFUSED, False),
        (Ambiguous("Timeout"), FaultKind.AMBIGUOUS, True),
        (ProtocolViolation("count"), FaultKind.BROKEN, True),
        (RuntimeError("a bug"), FaultKind.AMBIGUOUS, True),
    ],
)
def test_errors_are_judged(error: BaseException, kind: FaultKind, doubtful: bool) -> None:
    """Each error has its class, and is in doubt unless it is known that nothing was applied."""
    fault = judge_error(error)
    assert (fault.kind, fault.doubtful) == (kind, doubtful)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ProvisionedThroughputExceededException", FaultKind.THROTTLED),
        ("KMSThrottlingException", FaultKind.THROTTLED),
        ("KMSAccessDeniedException", FaultKind.FATAL),
        ("InternalFailure", FaultKind.AMBIGUOUS),
        ("ANewCode", FaultKind.AMBIGUOUS),
        ("", FaultKind.AMBIGUOUS),
    ],
)
def test_codes_are_judged(code: str, kind: FaultKind) -> None:
    """Known codes have their class; an unknown one keeps the record and leaves it in doubt."""
    fault = judge_code(code)
    assert fault.kind is kind
    assert fault.code


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([HERE], HERE),
        ([HERE, HERE], HERE),
        ([NOT, NOT], NOT),
        ([HERE, PERHAPS], PERHAPS),
        ([NOT, PERHAPS], PERHAPS),
        ([HERE, NOT], Unknown(Reason.PARTS, "Mixed", 1)),
    ],
)
def test_one_outcome_true_of_all(outcomes: list[Outcome], expected: Outcome) -> None:
    """What is said of many is true of each: records that ended differently are unknown together."""
    assert together(outcomes) == expected


def test_error_shows_no_content() -> None:
    """A delivery error tells reason, code and attempts, and neither key nor data."""
    error = DeliveryError(PERHAPS, None)
    assert error.unknown
    assert (error.reason, error.attempts) == (Reason.EXPIRED, 2)
    assert str(error) == "record of unknown outcome: expired (Timeout) after 2 attempts"
