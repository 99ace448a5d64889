"""Settings of the in-memory Kinesis; each can be changed while it runs, by `dataclasses.replace` on `state.options`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shardline.common.checks import check_flag, check_number, check_whole, choice_of
from shardline.common.errors import InvalidInput
from shardline.common.limits import ITERATOR_LIFETIME_S, SUBSCRIBE_AGAIN_AFTER_S, SUBSCRIPTION_LIFETIME_S

__all__ = ["KinesisOptions", "Limits", "ShardEnd"]


class Limits(StrEnum):
    """Whether the service's rates are enforced: none (default), or as the service does per shard and operation."""

    NONE = "none"
    SERVICE = "service"


class ShardEnd(StrEnum):
    """When the end of a closed shard is told: with its last records, or with the empty answer that follows them."""

    WITH_LAST_BATCH = "with_last_batch"
    ON_EMPTY_BATCH = "on_empty_batch"


_SECONDS_MAX = 1e12
_SECONDS = (
    "iterator_lifetime_s",
    "token_lifetime_s",
    "creating_s",
    "updating_s",
    "deleting_s",
    "consumer_creating_s",
    "consumer_deleting_s",
    "subscription_lifetime_s",
    "subscribe_again_after_s",
    "heartbeat_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KinesisOptions:
    """How the in-memory Kinesis behaves; seconds everywhere, delays of states 0 unless set.

    `hide_child_shards` leaves ChildShards out of shard ends and `null` stores nothing. `open_shards_max` bounds a
    stream. `distribution_seed` only moves where an AUTO stream puts its records. Raises `InvalidInput` on construction.
    """

    region: str = "us-east-1"
    account_id: str = "123456789012"
    limits: Limits = Limits.NONE
    shard_end: ShardEnd = ShardEnd.WITH_LAST_BATCH
    hide_child_shards: bool = False
    null: bool = False
    iterator_lifetime_s: float = ITERATOR_LIFETIME_S
    token_lifetime_s: float = 300.0
    creating_s: float = 0.0
    updating_s: float = 0.0
    deleting_s: float = 0.0
    consumer_creating_s: float = 0.0
    consumer_deleting_s: float = 0.0
    subscription_lifetime_s: float = SUBSCRIPTION_LIFETIME_S
    subscribe_again_after_s: float = SUBSCRIBE_AGAIN_AFTER_S
    heartbeat_s: float = 5.0
    open_shards_max: int = 10_000
    list_shards_page_max: int = 1000

    def __post_init__(self) -> None:
        for name in _SECONDS:
            check_number(name, getattr(self, name), 0, _SECONDS_MAX, "seconds")
        object.__setattr__(self, "limits", choice_of("limits", self.limits, Limits))
        object.__setattr__(self, "shard_end", choice_of("shard_end", self.shard_end, ShardEnd))
        for name in ("hide_child_shards", "null"):
            check_flag(name, getattr(self, name))
        if not (len(self.account_id) == 12 and self.account_id.isdigit()):  # noqa: PLR2004 - an account has 12 digits.
            raise InvalidInput("account_id", "12 digits")
        for name in ("open_shards_max", "list_shards_page_max"):
            check_whole(name, getattr(self, name), 1, 2**31 - 1)
