"""What can become of a record, and how answers of the service are judged.

Three outcomes, exactly one for each record: `Delivered`, `NotWritten`, `Unknown`. Invariants (I7): *delivered* only
with shard and sequence number in hand; *not written* only if every attempt is known not to have been applied,
now or later; everything else is *unknown*. The rule about misplaced aggregates is `kpl.md` 10.3: an aggregate
is judged whole, for a KCL drops it whole.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from shardline.common.errors import (
    Denied,
    InUse,
    LimitExceeded,
    NotApplied,
    NotFound,
    ProtocolViolation,
    ShardlineError,
    Throttled,
    Unreachable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.deaggregation import UserRecord

__all__ = [
    "Attempt",
    "Delivered",
    "DeliveryError",
    "Fault",
    "FaultKind",
    "NotWritten",
    "Outcome",
    "Reason",
    "Unknown",
    "judge_code",
    "judge_error",
    "together",
]


class Reason(StrEnum):
    """Why a record was not (or perhaps not) delivered."""

    EXPIRED = "expired"
    THROTTLED = "throttled"
    REJECTED = "rejected"
    TOO_LARGE = "too large"
    DENIED = "denied"
    STREAM_MISSING = "stream missing"
    PREDECESSOR = "predecessor"
    CLOSED = "closed"
    PROTOCOL = "protocol"
    """The service broke its own contract (another number of answers than of entries); nothing is known."""
    PARTS = "parts"
    """Of a shared delivery only: its records ended differently; `result_for` tells each one's own outcome."""


class Attempt(NamedTuple):
    """One attempt that did not deliver: seconds after `put` at which it was sent, its length, and its error code."""

    sent_after_s: float
    duration_s: float
    code: str


class Delivered(NamedTuple):
    """The record is in the stream; `attempts` counts the sends it took, `misplaced` tells of a reshard on the way."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    attempts: int
    misplaced: bool = False


class NotWritten(NamedTuple):
    """The record is not in the stream, now or later."""

    reason: Reason
    code: str
    attempts: int
    history: tuple[Attempt, ...] = ()


class Unknown(NamedTuple):
    """The record may or may not be in the stream (an answer was lost), or is there where a KCL drops it."""

    reason: Reason
    code: str
    attempts: int
    history: tuple[Attempt, ...] = ()


Outcome: TypeAlias = "Delivered | NotWritten | Unknown"


class DeliveryError(ShardlineError):
    """A record was not delivered, or nobody knows.

    `record` is the record itself (None where a shared delivery has lost it), `reason` one of `Reason`, `attempts` the
    number of sends, `outcome` the whole story; `unknown` says whether it may be in the stream all the same.
    """

    def __init__(self, outcome: NotWritten | Unknown, record: UserRecord | None) -> None:
        self.outcome = outcome
        self.record = record
        self.reason = outcome.reason
        self.attempts = outcome.attempts
        self.unknown = isinstance(outcome, Unknown)
        fate = "of unknown outcome" if self.unknown else "not written"
        super().__init__(f"record {fate}: {outcome.reason} ({outcome.code}) after {outcome.attempts} attempts")


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Return one outcome that is true of all `outcomes` (at least one): where they differ in kind, unknown."""
    first = outcomes[0]
    if len(outcomes) == 1:
        return first
    for one in outcomes:
        if isinstance(one, Unknown):
            return one
    if all(type(one) is type(first) for one in outcomes):
        return first
    return Unknown(Reason.PARTS, "Mixed", max(one.attempts for one in outcomes))


class FaultKind(Enum):
    """Classes of errors, by what to do next."""

    THROTTLED = "slow the shard down and send again"
    TRANSIENT = "known not applied; back off and send again"
    AMBIGUOUS = "perhaps applied; back off and send again"
    REFUSED = "the request itself is wrong; find the entry that is"
    FATAL = "no send of this stream can succeed"
    BROKEN = "the answer makes no sense; nothing is known"


class Fault(NamedTuple):
    """One error, classified; `reason` is what a record fails with if this is the end."""

    kind: FaultKind
    reason: Reason
    code: str

    @property
    def doubtful(self) -> bool:
        """Say whether the entry may have been written in spite of the error."""
        return self.kind in {FaultKind.AMBIGUOUS, FaultKind.BROKEN}


_THROTTLES = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "LimitExceededException",
        "KMSThrottlingException",
        "RequestLimitExceeded",
    }
)
_DENIALS = frozenset({"AccessDeniedException", "KMSAccessDeniedException", "KMSDisabledException", "KMSOptInRequired"})


def judge_code(code: str) -> Fault:
    """Return what an entry's error code means; codes nobody knows keep the record and may have written it."""
    if code in _THROTTLES:
        return Fault(FaultKind.THROTTLED, Reason.THROTTLED, code)
    if code in _DENIALS:
        return Fault(FaultKind.FATAL, Reason.DENIED, code)
    return Fault(FaultKind.AMBIGUOUS, Reason.EXPIRED, code or "NoCode")


# In order: the first kind that fits. What fits none, an adapter's bug included, may have been applied.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FaultKind, Reason], ...] = (
    ((Throttled, LimitExceeded), FaultKind.THROTTLED, Reason.THROTTLED),
    (Denied, FaultKind.FATAL, Reason.DENIED),
    (NotFound, FaultKind.FATAL, Reason.STREAM_MISSING),
    ((Unreachable, InUse), FaultKind.TRANSIENT, Reason.EXPIRED),
    (ProtocolViolation, FaultKind.BROKEN, Reason.PROTOCOL),
    (NotApplied, FaultKind.REFUSED, Reason.REJECTED),
)


def judge_error(error: BaseException) -> Fault:
    """Return what the failure of a whole request means."""
    code = getattr(error, "code", "") or type(error).__name__
    if isinstance(error, Denied) and error.retryable:
        # Credentials are renewed behind our back: the same call can succeed then.
        return Fault(FaultKind.TRANSIENT, Reason.DENIED, code)
    for kinds, kind, reason in _KINDS:
        if isinstance(error, kinds):
            return Fault(kind, reason, code)
    return Fault(FaultKind.AMBIGUOUS, Reason.EXPIRED, code)
