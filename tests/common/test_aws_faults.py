"""The translation table: applied or not, by code and by status."""

from __future__ import annotations

import pytest

from shardline.common.aws.faults import error_code, is_clock_fault, refusal
from shardline.common.errors import (
    Ambiguous,
    CredentialsRefused,
    Denied,
    InUse,
    IteratorExpired,
    LimitExceeded,
    NotApplied,
    NotFound,
    Rejected,
    ServiceError,
    Throttled,
    Unreachable,
)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ProvisionedThroughputExceededException", Throttled),
        (400, "KMSThrottlingException", Throttled),
        (500, "ThrottlingException", Throttled),
        (503, "SlowDown", Throttled),
        (429, "HTTP429", Throttled),
        (400, "ResourceNotFoundException", NotFound),
        (400, "KMSNotFoundException", NotFound),
        (400, "KMSAccessDeniedException", Denied),
        (400, "AccessDeniedException", Denied),
        (403, "HTTP403", Denied),
        (400, "ExpiredTokenException", CredentialsRefused),
        (403, "InvalidSignatureException", CredentialsRefused),
        (400, "KMSDisabledException", InUse),
        (400, "ResourceInUseException", InUse),
        (400, "LimitExceededException", LimitExceeded),
        (400, "ExpiredIteratorException", IteratorExpired),
        (400, "ExpiredNextTokenException", IteratorExpired),
        (400, "InvalidArgumentException", Rejected),
        (400, "ValidationException", Rejected),
        (418, "HTTP418", Rejected),
        (301, "HTTP301", Rejected),
        (407, "HTTP407", Unreachable),
        (500, "InternalFailure", Ambiguous),
        (400, "InternalFailureException", Ambiguous),
        (500, "ResourceNotFoundException", Ambiguous),
        (503, "ServiceUnavailable", Ambiguous),
        (502, "HTTP502", Ambiguous),
        (408, "HTTP408", Ambiguous),
    ],
)
def test_each_refusal_says_whether_it_was_applied(status: int, code: str, kind: type[ServiceError]) -> None:
    """A code's kind is fixed; a 5xx is unknown whatever it says, but for throttles."""
    error = refusal("kinesis", "PutRecords", status, code, "why")
    assert type(error) is kind
    assert isinstance(error, NotApplied) is (kind is not Ambiguous)
    assert error.code == code


def test_denied_names_the_action() -> None:
    """A missing permission names the action to allow."""
    error = refusal("kinesis", "PutRecords", 400, "AccessDeniedException", "no")
    assert isinstance(error, Denied)
    assert error.action == "kinesis:PutRecords"


def test_denied_names_what_iam_names() -> None:
    """IAM's own words are believed: the index, not its table; a permission asked for on the way, not the operation."""
    index = "arn:aws:dynamodb:eu-west-1:123456789012:table/app/index/LeaseOwnerToLeaseKeyIndex"
    said = f"User: arn:aws:sts::1:assumed-role/r is not authorized to perform: dynamodb:Query on resource: {index} as"
    error = refusal("dynamodb", "Query", 400, "AccessDeniedException", said, resource="table/app")
    assert isinstance(error, Denied)
    assert (error.action, error.resource) == ("dynamodb:Query", index)
    assert str(error) == f"AccessDeniedException: {said}"
    short = refusal("dynamodb", "Query", 400, "AccessDeniedException", "no", resource="table/app")
    assert str(short) == "AccessDeniedException: dynamodb:Query on table/app: no"


def test_codes_are_bare_and_never_empty() -> None:
    """Namespaces and URLs around a code fall away; without one the status is the code."""
    assert error_code("ResourceNotFoundException:http://x", None, 400) == "ResourceNotFoundException"
    assert error_code(None, "com.amazonaws.kinesis#Gone", 400) == "Gone"
    assert error_code("", "", 502) == "HTTP502"
    assert error_code("<script>", 5, 400) == "HTTP400"


def test_messages_are_bounded_and_without_control_characters() -> None:
    """A service's message cannot forge log lines or flood them."""
    text = str(refusal("kinesis", "X", 400, "ValidationException", "a\r\nb\x1b[31m" + "c" * 5000))
    assert len(text) < 500
    assert text.isprintable()


def test_clock_faults_are_told_by_code() -> None:
    """Only refusals that may come from the signature's time count."""
    assert is_clock_fault("InvalidSignatureException", "Signature expired: ...")
    assert is_clock_fault("RequestTimeTooSkewed", "")
    assert not is_clock_fault("AccessDeniedException", "not authorized")
