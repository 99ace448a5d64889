"""From the service's refusals to the error tree, as an adapter over HTTP would translate them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.common.errors import (
    AlreadyExists,
    Ambiguous,
    Denied,
    InUse,
    IteratorExpired,
    LimitExceeded,
    NotApplied,
    NotFound,
    Rejected,
    ServiceError,
    Throttled,
)

if TYPE_CHECKING:
    from shardline.local.state.refusal import Refusal

__all__ = ["translate"]

_BY_CODE: dict[str, type[NotApplied]] = {
    "ResourceNotFoundException": NotFound,
    "ResourceInUseException": InUse,
    "LimitExceededException": LimitExceeded,
    "ProvisionedThroughputExceededException": Throttled,
    "ThrottlingException": Throttled,
    "ExpiredIteratorException": IteratorExpired,
    "AccessDeniedException": Denied,
    "TableAlreadyExistsException": AlreadyExists,
}


def translate(refusal: Refusal) -> ServiceError:
    """Return the error of our tree: `Ambiguous` for a failure of the service, `Rejected` for a wrong request."""
    if refusal.status >= 500:  # noqa: PLR2004 - HTTP's server errors.
        return Ambiguous(refusal.code, refusal.message)
    return _BY_CODE.get(refusal.code, Rejected)(refusal.code, refusal.message)
