"""What may be wrong between hosts and services: the faults by name, how likely each is, and who asked for a call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from shardline.local.sim.hosts import Host

__all__ = ["Cut", "Fault", "Faults", "Sender", "Service"]


class Service(StrEnum):
    """The services that hosts talk to."""

    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"
    CLOUDWATCH = "cloudwatch"
    S3 = "s3"
    SQS = "sqs"


class Cut(StrEnum):
    """Which way a partition cuts: ``writes`` loses those requests alone; two only hold up, by `late_s` and `slow_s`."""

    REQUESTS = "requests"
    REPLIES = "replies"
    BOTH = "both"
    WRITES = "writes"
    LATE_REQUESTS = "late requests"
    SLOW_REPLIES = "slow replies"


class Fault(StrEnum):
    """What can happen to one call; the names are what reports count."""

    NONE = "none"
    REQUEST_LOST = "request lost"
    REPLY_LOST = "reply lost"
    LATE = "applied late"
    TWICE = "applied twice"
    THROTTLED = "throttled"
    SLOW = "slow"
    REPLY_SLOW = "reply slow"
    HUNG = "hung"
    ERROR_BEFORE = "error before applying"
    ERROR_AFTER = "error after applying"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How one service and the way to it misbehave: probabilities per call, seconds, all 0 unless given.

    The fields of the first block are exclusive: their sum is the share of calls that something happens to. `late_s` is
    how long after its send a late request may arrive, `slow_s` how long a slow answer may take. `stale_s`: reads that
    need not be consistent show the past, up to so many seconds ago. The others are shares of their own: `entries` of
    PutRecords calls with failing entries, `empty_pages` of GetRecords answers that are empty though the shard is not at
    its end, `shards_hidden` of ListShards pages that lack their newest shard, `shards_doubled` of those that repeat
    one, `children_hidden` of shard ends without their child list (or a child's second parent), `not_found` of
    GetRecords and GetShardIterator calls answered with ResourceNotFound, `broken` of a subscription's events after
    which it breaks.

    Raises `InvalidInput` unless the shares lie between 0 and 1.
    """

    request_lost: float = 0.0
    reply_lost: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    throttled: float = 0.0
    slow: float = 0.0
    hung: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    unreachable: float = 0.0

    latency_s: float = 0.02
    late_s: float = 30.0
    slow_s: float = 5.0
    stale_s: float = 0.0
    entries: float = 0.0
    empty_pages: float = 0.0
    shards_hidden: float = 0.0
    shards_doubled: float = 0.0
    children_hidden: float = 0.0
    not_found: float = 0.0
    broken: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            if not one.name.endswith("_s") and not 0 <= getattr(self, one.name) <= 1:
                raise InvalidInput(one.name, "a share from 0 to 1")
        if sum(share for _, share in self.shares()) > 1:
            raise InvalidInput("faults", "shares that add up to at most 1")

    def shares(self) -> list[tuple[Fault, float]]:
        """Return the exclusive faults with their shares."""
        return [
            (Fault.REQUEST_LOST, self.request_lost),
            (Fault.REPLY_LOST, self.reply_lost),
            (Fault.LATE, self.late),
            (Fault.TWICE, self.twice),
            (Fault.THROTTLED, self.throttled),
            (Fault.SLOW, self.slow),
            (Fault.HUNG, self.hung),
            (Fault.ERROR_BEFORE, self.error_before),
            (Fault.ERROR_AFTER, self.error_after),
            (Fault.UNREACHABLE, self.unreachable),
        ]


class Sender(NamedTuple):
    """Who asks for a call and when, in simulated seconds, and its fault; what the oracle learns while it applies."""

    host: Host | None
    service: Service
    operation: str
    sent_s: float
    fault: Fault = Fault.NONE
