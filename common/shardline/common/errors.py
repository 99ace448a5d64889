"""Every exception that shardline raises, as one tree; facts sit on the class, never only in the message.

::

    ShardlineError
    |-- InvalidInput (ValueError)          the caller's value is refused before anything is sent
    |-- MissingExtra (ImportError)         a part is used whose extra is not installed
    |-- Closed                             the producer or worker is closed (or belongs to another loop or process)
    |-- BufferFull                         put_nowait found no room
    |-- MalformedAggregate                a blob carries the aggregate's magic and checksum and is not a whole aggregate
    |-- EncodeFailure / DecodeFailure      a codec refused an object / bytes
    |-- HandlerGaveUp                      a handler failed for the last time, and its policy stops the worker
    |-- HandlerProcessFailed               a handler in a process of its own raised, or its process ended
    |-- SeekAhead                          a seek would leave out records that were not done, and may not
    |-- CheckpointRefused                  a processor's checkpoint was not stored, the table is unchanged
    |   |-- CheckpointAhead                above the last record that it was given
    |   |-- CheckpointBackwards            below the checkpoint that it has
    |   `-- LeaseGone                      the lease was lost or given back
    |-- Superseded                         a newer owner has claimed an item of the state table
    |-- UnknownSchema                      an item of the state table was written by a version that we do not know
    |-- ServiceError                       the service, or the way to it
    |   |-- NotApplied                     known: the request changed nothing
    |   |   |-- Throttled                  rate exceeded; `retry_after_s` where the service says so
    |   |   |-- Denied                     no permission; `action` and `resource`
    |   |   |   `-- CredentialsRefused     not signed, or the signature was refused; newer credentials may do
    |   |   |-- NotFound                   stream, shard, table, index or consumer is not there
    |   |   |-- AlreadyExists              the thing to create is there already
    |   |   |-- InUse                      the resource is not in a state that allows the call
    |   |   |-- LimitExceeded              an account or resource limit
    |   |   |-- IteratorExpired            a shard iterator outlived its five minutes
    |   |   |-- Rejected                   the request itself is wrong; sending it again changes nothing
    |   |   `-- Unreachable                no connection was made, so nothing was sent
    |   `-- Ambiguous                      sent, answer unknown (time-out, reset, 5xx): perhaps applied, perhaps not
    `-- ProtocolViolation                  the service answered something that its contract rules out

Invariants: nothing from an SDK escapes as itself (adapters translate with ``raise ... from``); `Ambiguous` is never a
subclass of `NotApplied`, so no handler can take "unknown" for "failed"; messages hold lengths, positions and names of
settings, never payloads, partition keys or credentials. Imports only what costs nothing (a Lambda loads this file).
"""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "Ambiguous",
    "BufferFull",
    "CheckpointAhead",
    "CheckpointBackwards",
    "CheckpointRefused",
    "Closed",
    "CredentialsRefused",
    "DecodeFailure",
    "Denied",
    "EncodeFailure",
    "HandlerGaveUp",
    "HandlerProcessFailed",
    "InUse",
    "InvalidInput",
    "IteratorExpired",
    "LeaseGone",
    "LimitExceeded",
    "MalformedAggregate",
    "MissingExtra",
    "NotApplied",
    "NotFound",
    "ProtocolViolation",
    "Rejected",
    "SeekAhead",
    "ServiceError",
    "ShardlineError",
    "Superseded",
    "Throttled",
    "UnknownSchema",
    "Unreachable",
]


class ShardlineError(Exception):
    """Base of everything shardline raises."""


class InvalidInput(ShardlineError, ValueError):
    """A value is refused before anything is sent; nothing already accepted is affected.

    `field` is the argument's or setting's name, `allowed` its allowed range in words.
    """

    def __init__(self, field: str, allowed: str, got: str = "") -> None:
        self.field = field
        self.allowed = allowed
        super().__init__(f"{field} must be {allowed}" + (f", got {got}" if got else ""))


class MissingExtra(ShardlineError, ImportError):
    """A part of shardline is used whose optional dependencies are not installed."""

    def __init__(self, part: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{part} needs more packages: pip install 'shardline[{extra}]'")


class Closed(ShardlineError):
    """The object is closed, or is used from a loop or process that it does not belong to."""


class BufferFull(ShardlineError):
    """There is no room in the buffer now; nothing was accepted."""


class MalformedAggregate(ShardlineError):
    """A blob is meant as an aggregate (magic and checksum match) and is not a whole one.

    `reason` is a code of `reliability.md` 4.1 (``wire``, ``index``, ``required`` ...), `length` the blob's bytes.
    """

    def __init__(self, reason: str, length: int) -> None:
        self.reason = reason
        self.length = length
        super().__init__(f"malformed aggregate of {length} bytes: {reason}")


class EncodeFailure(ShardlineError):
    """A codec could not turn an object into bytes."""


class DecodeFailure(ShardlineError):
    """A codec could not turn bytes into an object."""


class HandlerGaveUp(ShardlineError):
    """A handler failed for the last time and its policy stops the worker; `lease` and `position` say where."""

    def __init__(self, lease: str, position: str, attempts: int, reason: str) -> None:
        self.lease = lease
        self.position = position
        super().__init__(f"handler failed {attempts} times at {position} of {lease}: {reason}")


class HandlerProcessFailed(ShardlineError):
    """A handler failed in a process of its own: `reason` and `place` say how and where, `ended` if that ended it."""

    def __init__(self, reason: str, place: str = "", *, ended: bool) -> None:
        self.reason = reason
        self.place = place
        self.ended = ended
        super().__init__(reason)


class SeekAhead(ShardlineError):
    """A seek leads above what was done, and was not told that it may skip; nothing was changed."""

    def __init__(self, to: str, done: str) -> None:
        super().__init__(f"a seek to {to} leaves out what lies above {done}: say skip=True if it shall")


class CheckpointRefused(ShardlineError):
    """A checkpoint that a processor asked for was refused; the table is unchanged."""


class CheckpointAhead(CheckpointRefused):
    """The position lies above the last record that was handed over (`largest`)."""

    def __init__(self, position: str, largest: str) -> None:
        super().__init__(f"checkpoint {position} is ahead of the last record handed over, {largest}")


class CheckpointBackwards(CheckpointRefused):
    """The position lies below the last checkpoint (`last`)."""

    def __init__(self, position: str, last: str) -> None:
        super().__init__(f"checkpoint {position} is behind the last one, {last}")


class LeaseGone(CheckpointRefused):
    """The lease was lost or given back: another worker may own the shard."""

    def __init__(self, lease: str) -> None:
        super().__init__(f"the lease {lease} is not held any more")


class Superseded(ShardlineError):
    """An item of the state table has a fencing token above ours: a newer owner has claimed it; nothing was written."""

    def __init__(self, key: str, token: int) -> None:
        self.key = key
        self.token = token
        super().__init__(f"state {key} belongs to token {token}")


class UnknownSchema(ShardlineError):
    """An item of the state table cannot be understood (a newer shardline's, or nobody's of ours); it is left alone."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(f"state {key} is left alone: {reason}")


class ServiceError(ShardlineError):
    """A call to a service did not succeed.

    `code` is the service's own error code or one of ours (never empty), `retryable` says whether the same call can
    succeed later, `throttled` whether it was refused for its rate.
    """

    retryable = False
    throttled = False

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        super().__init__(f"{code}: {message}" if message else code)


class NotApplied(ServiceError):
    """The request is known to have changed nothing."""


class Throttled(NotApplied):
    """The service refused the request for its rate; `retry_after_s` is None where it does not say."""

    retryable = True
    throttled = True

    def __init__(self, code: str, message: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class Denied(NotApplied):
    """The caller lacks a permission; `action` (``kinesis:PutRecords``) and `resource` name it where known.

    So does the message: what has to be allowed must be read off a log line.
    """

    def __init__(self, code: str, message: str = "", action: str = "", resource: str = "") -> None:
        self.action = action
        self.resource = resource
        named = self.permission if not (action in message and resource in message) else ""
        super().__init__(code, ": ".join(part for part in (named, message) if part))

    @property
    def permission(self) -> str:
        """The permission as text: ``dynamodb:Query on table/app/index/...``; empty where nothing is known of it."""
        return f"{self.action} on {self.resource}" if self.resource else self.action


class CredentialsRefused(Denied):
    """The request could not be signed, or its signature was refused: nobody looked at its contents.

    Retryable, because credentials are renewed behind our back; the adapter has already tried once with newer ones.
    """

    retryable = True


class NotFound(NotApplied):
    """The stream, shard, table, index or consumer does not exist."""


class AlreadyExists(NotApplied):
    """The thing to create exists already."""


class InUse(NotApplied):
    """The resource is being created, changed or deleted, or is held by another subscriber."""

    retryable = True


class LimitExceeded(NotApplied):
    """An account's or resource's limit (not a rate of data) is reached."""

    retryable = True


class IteratorExpired(NotApplied):
    """The shard iterator is older than the service allows (five minutes)."""


class Rejected(NotApplied):
    """The request itself is wrong; sending it again changes nothing."""


class Unreachable(NotApplied):
    """No connection could be made, so nothing was sent."""

    retryable = True


class Ambiguous(ServiceError):
    """The request was sent and its outcome is unknown: time-out, reset connection, broken answer, 5xx."""

    retryable = True


class ProtocolViolation(ShardlineError):
    """The service answered something that its own contract rules out; the answer is not used."""
