"""The translation table: from a service's refusal to shardline's errors. Pure; imports no SDK.

What decides is whether the service can have carried the request out. A 4xx answer with a code says it has not; a 5xx, a
broken answer and silence say nothing. Codes are the services' own (API references of Kinesis, DynamoDB, CloudWatch, KMS
and "Common Errors"); a code we do not know is judged by its HTTP status alone.
"""

from __future__ import annotations

import re

from shardline.common.errors import (
    AlreadyExists,
    Ambiguous,
    CredentialsRefused,
    Denied,
    InUse,
    IteratorExpired,
    LimitExceeded,
    NotFound,
    Rejected,
    ServiceError,
    Throttled,
    Unreachable,
)

__all__ = ["CLOCK_CODES", "CREDENTIAL_CODES", "error_code", "is_clock_fault", "refusal"]

MESSAGE_LENGTH_MAX = 400
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

_THROTTLED = (
    "ProvisionedThroughputExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "PriorRequestNotComplete",
    "BandwidthLimitExceeded",
)
CREDENTIAL_CODES = frozenset(
    {
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "AuthFailure",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
    }
)
"""The service does not know, or no longer knows, whose signature this is: newer credentials may help."""
CLOCK_CODES = frozenset(
    {
        "RequestTimeTooSkewed",
        "RequestExpired",
        "RequestInTheFuture",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
    }
)
"""The signature's time is off, or it may be: the service's Date header decides."""

_KINDS: dict[str, type[ServiceError]] = {
    **dict.fromkeys(_THROTTLED, Throttled),
    **dict.fromkeys(CREDENTIAL_CODES | CLOCK_CODES, CredentialsRefused),
    # No permission.
    "AccessDeniedException": Denied,
    "AccessDenied": Denied,
    "NotAuthorized": Denied,
    "OptInRequired": Denied,
    "KMSAccessDeniedException": Denied,
    "KMSOptInRequired": Denied,
    # The key or the stream is not in a state that allows the call.
    "KMSDisabledException": InUse,
    "KMSInvalidStateException": InUse,
    "ResourceInUseException": InUse,
    "TableInUseException": InUse,
    "TransactionConflictException": InUse,
    "TransactionInProgressException": InUse,
    "IndexInUseException": InUse,
    "ReplicatedWriteConflictException": InUse,
    # Something is not there.
    "ResourceNotFoundException": NotFound,
    "TableNotFoundException": NotFound,
    "IndexNotFoundException": NotFound,
    "KMSNotFoundException": NotFound,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "NonExistentQueue": NotFound,
    "QueueDoesNotExist": NotFound,
    "ResourceNotFound": NotFound,
    "ResourceAlreadyExistsException": AlreadyExists,
    "TableAlreadyExistsException": AlreadyExists,
    "LimitExceededException": LimitExceeded,
    "LimitExceeded": LimitExceeded,
    "ItemCollectionSizeLimitExceededException": LimitExceeded,
    # Iterators and page tokens both live for five minutes; either way one asks anew.
    "ExpiredIteratorException": IteratorExpired,
    "ExpiredNextTokenException": IteratorExpired,
    # The request itself.
    "ValidationException": Rejected,
    "ValidationError": Rejected,
    "InvalidArgumentException": Rejected,
    "InvalidParameterValue": Rejected,
    "InvalidParameterValueException": Rejected,
    "InvalidParameterCombination": Rejected,
    "MissingRequiredParameterException": Rejected,
    "SerializationException": Rejected,
    "UnknownOperationException": Rejected,
    "UnsupportedOperationException": Rejected,
    # Answered with 4xx or 5xx, and said by the services to have an unknown outcome.
    "InternalFailure": Ambiguous,
    "InternalFailureException": Ambiguous,
    "InternalServerError": Ambiguous,
    "InternalServiceError": Ambiguous,
    "InternalServiceFault": Ambiguous,
    "ServiceUnavailable": Ambiguous,
    "ServiceUnavailableException": Ambiguous,
    "RequestTimeout": Ambiguous,
    "RequestTimeoutException": Ambiguous,
}

_BY_STATUS: dict[int, type[ServiceError]] = {
    401: CredentialsRefused,
    403: Denied,
    407: Unreachable,  # A proxy refused us: nothing went further.
    408: Ambiguous,
    409: InUse,
    429: Throttled,
}


_ACTION = re.compile(r"to perform: ([a-z0-9-]+:[A-Za-z]+)")
_RESOURCE = re.compile(r"on resource: ([!-~]+)")
"""IAM's own words for what is missing."""


def error_code(header: str | None, typed: object, status: int) -> str:
    """Return the bare code of an ``x-amzn-errortype`` header or ``__type`` field, never empty (``HTTP418``)."""
    for text in (header, typed):
        if isinstance(text, str) and text:
            code = text.partition(":")[0].rpartition("#")[2].strip()
            if code and len(code) <= 100 and re.fullmatch(r"[A-Za-z0-9_.]+", code):
                return code
    return f"HTTP{status}"


def is_clock_fault(code: str, message: str) -> bool:
    """Say whether the refusal may come from the signature's time rather than its secret."""
    if code == "AccessDeniedException":
        return "expired" in message.lower() and "signature" in message.lower()
    return code in CLOCK_CODES


def refusal(service: str, operation: str, status: int, code: str, message: str, *, resource: str = "") -> ServiceError:
    """Return the error for an answer that is no success; the service's `message` is trimmed, controls taken out.

    `resource` is what was asked of: it names a missing permission where the service does not name it.
    """
    text = _CONTROL.sub(" ", message)[:MESSAGE_LENGTH_MAX]
    kind = _KINDS.get(code)
    if kind is None or (status >= 500 and kind is not Throttled):
        kind = Ambiguous if status >= 500 and kind is not Throttled else _BY_STATUS.get(status, Rejected)
    if 300 <= status < 400:
        return Rejected(code, f"{service} answered {status}; redirects are not followed")
    if issubclass(kind, Denied):
        action, on = _ACTION.search(message), _RESOURCE.search(message)
        return kind(code, text, action[1] if action else f"{service}:{operation}", on[1] if on else resource)
    return kind(code, text)
