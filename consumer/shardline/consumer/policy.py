"""What becomes of a record whose handler keeps failing: tried again for ever, or until a limit, and what comes then.

Invariants: nothing is skipped unless it was parked first; the default holds the shard at the record and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from shardline.common.checks import check_callable, check_number, check_whole
from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Self

__all__ = [
    "FailurePolicy",
    "OneWayLot",
    "OpenableLot",
    "Parked",
    "ParkingLot",
    "PerKey",
    "ReadableLot",
    "Then",
    "park_key",
    "park_record",
    "per_key",
    "stop_worker",
]

ParkingLot: TypeAlias = "Callable[[Parked], Any]"
"""Takes a parked record and keeps it: asynchronous, or blocking (then it runs on a thread). It must raise if it cannot;
then it is asked again, and the shard waits."""

_LANES_MAX = 10_000
_AGE_S_MIN = 0.001
_AGE_S_MAX = 365 * 86_400.0


class ReadableLot(Protocol):
    """A parking lot whose records can be replayed: `ParkedKeys.replay` reads it, possibly several times."""

    def records(self, stream: str, partition_key: str) -> AsyncIterator[Parked]:
        """Yield the parked records of a stream's key, in any order, some perhaps twice; nothing is removed."""
        ...


@runtime_checkable
class OpenableLot(Protocol):
    """A parking lot with a client of its own: a worker, or a replay, opens it once and closes it when it ends."""

    def __call__(self, parked: Parked) -> object:
        """Keep a record; see `ParkingLot`."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Self]:
        """Open the client; the lot that this gives uses it for every call, until it is left."""
        ...


@runtime_checkable
class OneWayLot(Protocol):
    """A parking lot that says whether its records can be read back by key; one where not takes no parked keys."""

    @property
    def one_way(self) -> str:
        """Why its records cannot be read back; empty where they can."""
        ...


class Then(StrEnum):
    """What comes after the last attempt."""

    HOLD = "hold"
    PARK = "park"
    PARK_KEY = "park key"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A record that was given up, whole: its bytes, where it stood, why, and how often it was tried."""

    stream: str
    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    partition_key: str | None = field(repr=False)
    explicit_hash_key: str | None
    data: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    arrival_time_s: float
    reason: str
    attempts: int
    parked_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """When a handler's failure counts as final (`attempts` or `age_s`, whichever comes first), and what comes then.

    Build it with `park_record`, `park_key` or `stop_worker`; without one a record is tried for ever. Raises
    `InvalidInput` for limits out of range, or parking without a lot.
    """

    attempts: int | None = None
    age_s: float | None = None
    then: Then = Then.HOLD
    lot: ParkingLot | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None:
            check_whole("attempts", self.attempts, 1, 2**31 - 1)
        if self.age_s is not None:
            check_number("age_s", self.age_s, _AGE_S_MIN, _AGE_S_MAX, "seconds")
        if self.then is not Then.HOLD and self.attempts is None and self.age_s is None:
            raise InvalidInput("attempts or age_s", "given: when a failure is final")
        if self.lot is not None:
            check_callable("lot", self.lot, "a parking lot, or a function of one Parked")
        if (self.then in (Then.PARK, Then.PARK_KEY)) != (self.lot is not None):
            raise InvalidInput("lot", "given where records are parked, and only there")
        if self.then is Then.PARK_KEY and isinstance(self.lot, OneWayLot) and self.lot.one_way:
            raise InvalidInput("park_key's lot", f"one whose records can be replayed in order; {self.lot.one_way}")

    def gives_up(self, attempts: int, failing_s: float) -> bool:
        """Say whether a record that failed `attempts` times over `failing_s` seconds is not tried again."""
        if self.then is Then.HOLD:
            return False
        enough = self.attempts is not None and attempts >= self.attempts
        return enough or (self.age_s is not None and failing_s >= self.age_s)


def park_record(lot: ParkingLot, *, attempts: int | None = None, age_s: float | None = None) -> FailurePolicy:
    """Return the policy that parks a record after its last attempt and goes on behind it.

    A batch that keeps failing is halved until the record is found. Raises `InvalidInput` without any limit.
    """
    return FailurePolicy(attempts=attempts, age_s=age_s, then=Then.PARK, lot=lot)


def park_key(lot: ParkingLot, *, attempts: int | None = None, age_s: float | None = None) -> FailurePolicy:
    """Return the policy that parks a record after its last attempt and every later one of its partition key behind it.

    A key's records then stand in the lot in order, until `ParkedKeys.replay` has put them through a handler and
    releases the key. The key stands in the application's state table before a checkpoint may cover the record, so that
    later owners of the shard, and its children, go on. A record without a key is parked alone. Raises `InvalidInput`
    without any limit, and for a lot that cannot be read back (`SqsLot` without `copies`): its keys would be parked for
    ever.
    """
    return FailurePolicy(attempts=attempts, age_s=age_s, then=Then.PARK_KEY, lot=lot)


def stop_worker(*, attempts: int | None = None, age_s: float | None = None) -> FailurePolicy:
    """Return the policy that stops the worker after the last attempt: leases are given back, `serve`, `run` raise."""
    return FailurePolicy(attempts=attempts, age_s=age_s, then=Then.STOP)


@dataclass(frozen=True, slots=True)
class PerKey:
    """Up to `lanes` records of a shard at a time, in order within each partition key; build it with `per_key`."""

    lanes: int

    def __post_init__(self) -> None:
        check_whole("per_key", self.lanes, 1, _LANES_MAX)


def per_key(lanes: int) -> PerKey:
    """Return the concurrency "`lanes` at a time, in order within each partition key"; raises `InvalidInput`.

    Records that carry no key, as those of a stream that places records itself (AUTO), are dealt out in turn.
    """
    return PerKey(lanes)
