"""Leader election, compatible with the DynamoDB lock client that the KCL uses (`kcl.md` 3.7).

One item; its `recordVersionNumber` changes with every heartbeat. Others hold the lock to be expired when they have seen
the same version for longer than the item's own `leaseDuration`, by their own monotonic clock. The core proposes one
step at a time (`plan`), the driver carries it out and reports back.

Invariants: every write is conditional on the version as read, or on the item's absence; a lock is held only for
`lease_duration_s` counted from the *sending* of the last write known to be applied; after an ambiguous answer a
consistent read decides: our owner name and a version that we sent mean applied, credited from the earliest unresolved
send; the item carries exactly the lock client's attributes and types, whole, or every Java worker's check would throw.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.errors import InvalidInput
from shardline.common.ports.lease_store import Absent, Delete, Equals, Exists, Key, Put, Update, UpdateItem

if TYPE_CHECKING:
    from random import Random

    from shardline.common.ports.lease_store import Condition, Item, Value, Write, WriteResult

__all__ = ["LEADER_KEY", "LeaderLock", "LockSettings", "Step", "StepKind"]

LEADER_KEY = "Leader"
_ENTITY_TYPE = "LEADER"
_RELEASED = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockSettings:
    """Where the lock stands and how long it holds; `InvalidInput` unless the duration is two heartbeats or more."""

    table: str
    key_attribute: str = "leaseKey"
    lease_duration_s: float = 120.0
    heartbeat_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.heartbeat_s > 0:
            raise InvalidInput("heartbeat_s", "above 0")
        if self.lease_duration_s < 2 * self.heartbeat_s:
            raise InvalidInput("lease_duration_s", "at least two heartbeats")


class StepKind(StrEnum):
    """What the driver shall do now."""

    READ = "read"
    WRITE = "write"


class Step(NamedTuple):
    """One step: a consistent read of `key`, or one conditional write."""

    kind: StepKind
    key: Key
    table: str
    write: Write | None = None


class _Sent(NamedTuple):
    version: str
    at: float


class LeaderLock:
    """One worker's view of the leader lock; `is_leader(now)` is the answer that everything else asks for."""

    def __init__(self, worker_id: str, settings: LockSettings, random: Random) -> None:
        self.worker_id = worker_id
        self.settings = settings
        self._random = random
        self._key = Key(settings.key_attribute, LEADER_KEY)
        self._version: str | None = None  # Of the lock we hold.
        self._valid_until = -inf
        self._unresolved: list[_Sent] = []
        self._foreign: tuple[str, float] | None = None  # A version of somebody else's, and since when it stands.
        self._next: Write | None = None
        self._next_at = -inf
        self._rest_until = -inf
        self._left: frozenset[str] = frozenset()  # Versions of ours that may stand on the row after we left.
        self.holder: str | None = None

    def is_leader(self, now: float) -> bool:
        """Say whether this worker holds the lock for sure at `now`."""
        return self._version is not None and now < self._valid_until

    def next_wakeup(self) -> float:
        """Return when `plan` shall be asked again."""
        return max(self._next_at, self._rest_until)

    def plan(self, now: float) -> Step | None:
        """Return the next step, or None before `next_wakeup`."""
        if self._next is not None:
            write, self._next = self._next, None
            return Step(StepKind.WRITE, self._key, self.settings.table, write)
        if now < self.next_wakeup():
            return None
        self._next_at = now + self.settings.heartbeat_s
        if self._version is not None and not self._unresolved and now < self._valid_until:
            return Step(StepKind.WRITE, self._key, self.settings.table, self._heartbeat(now))
        return Step(StepKind.READ, self._key, self.settings.table)

    def on_read(self, item: Item | None, now: float) -> None:
        """Take in a consistent read made at `now`; a write may become due at once."""
        sent, self._unresolved = self._unresolved, []
        version = None if item is None else item.get("recordVersionNumber")
        owner = None if item is None else item.get("ownerName")
        self.holder = owner if isinstance(owner, str) else None
        if owner == self.worker_id and isinstance(version, str):
            self._on_own_row(version, sent, now)
            return
        self._lose()
        self._watch(version if isinstance(version, str) else "", now)
        condition = self._takeover_condition(item, now)
        if condition is not None:
            self._next = self._claim(condition, now)

    def on_written(self, result: WriteResult, now: float) -> None:
        """Take in the outcome of the last write; a failed condition means that somebody else was quicker."""
        sent = self._unresolved.pop()
        if result.applied:
            self._hold(sent.version, sent.at)
        else:
            self._lose()
            self._next_at = now  # Read again at once: the row tells whether an earlier unknown write was ours.

    def on_not_applied(self, now: float) -> None:
        """Take in a write that is known not to have been applied (throttled, refused)."""
        self._unresolved.pop()
        self._next_at = now + self.settings.heartbeat_s / 10.0

    def on_ambiguous(self, now: float) -> None:
        """Take in a write or read whose outcome is unknown: read before anything else."""
        self._next_at = now

    def hurry(self, now: float) -> None:
        """Read the row at the next `plan`, unless we hold the lock: somebody saw that its holder has left."""
        if not self.is_leader(now):
            self._next_at = min(self._next_at, now)

    def release(self, *, rest_until: float = inf) -> Write | None:
        """Return the write that gives the lock back, or None where it is not held; it is not sought before then."""
        self._rest_until = rest_until
        if self._version is None:
            return None
        write = Delete(self.settings.table, self._key, self._mine(self._version))
        self._left = frozenset(sent.version for sent in self._unresolved)
        self._lose()
        return write

    def on_released(self, result: WriteResult) -> Write | None:
        """Take in the outcome of `release`; return the write that gives back what a heartbeat under way has renewed."""
        item, left = result.item, self._left
        self._left = frozenset()
        version = None if result.applied or item is None else item.get("recordVersionNumber")
        if not isinstance(version, str) or version not in left:
            return None
        return Delete(self.settings.table, self._key, self._mine(version))

    # --- the rules ---

    def _on_own_row(self, version: str, sent: list[_Sent], now: float) -> None:
        """Our name is on the row: credited from the earliest send that could have made it so."""
        mine = [one for one in sent if one.version == version]
        if mine:
            self._hold(version, min(one.at for one in sent))
        elif version != self._version:
            # Our name, but a version that this process never sent: an earlier life of the same id. Not ours to use.
            self._lose()
            self._watch(version, now)
            self._next = self._claim((Exists(self._key.attribute), Equals("recordVersionNumber", version)), now)
        elif not self.is_leader(now):
            self._next = self._heartbeat(now)

    def _watch(self, version: str, now: float) -> None:
        """Remember since when a foreign version stands."""
        if self._foreign is None or self._foreign[0] != version:
            self._foreign = (version, now)

    def _takeover_condition(self, item: Item | None, now: float) -> Condition | None:
        """Return the condition under which the lock may be claimed, or None while somebody else holds it."""
        attribute = self._key.attribute
        if item is None:
            return (Absent(attribute),)
        if item.get("isReleased") is not None:
            return (Exists(attribute), Equals("isReleased", _RELEASED))
        version, duration = item.get("recordVersionNumber"), item.get("leaseDuration")
        if not isinstance(version, str) or not isinstance(duration, str) or not duration.isdigit():
            return None  # Not a lock row as the protocol knows it: never overwritten.
        since = self._foreign[1] if self._foreign is not None else now
        if now - since <= int(duration) / 1000.0:
            return None
        return (Exists(attribute), Equals("recordVersionNumber", version))

    def _claim(self, condition: Condition, now: float) -> Write:
        version = self._new_version(now)
        item: dict[str, Value] = {
            self._key.attribute: LEADER_KEY,
            "ownerName": self.worker_id,
            "leaseDuration": self._duration_ms(),
            "recordVersionNumber": version,
            "entityType": _ENTITY_TYPE,
        }
        return Put(self.settings.table, item, condition)

    def _heartbeat(self, now: float) -> Write:
        assert self._version is not None
        condition = self._mine(self._version)
        changes: dict[str, Value] = {
            "leaseDuration": self._duration_ms(),
            "recordVersionNumber": self._new_version(now),
        }
        return UpdateItem(self.settings.table, self._key, Update(set=changes), condition)

    def _mine(self, version: str) -> Condition:
        return (
            Exists(self._key.attribute),
            Equals("recordVersionNumber", version),
            Equals("ownerName", self.worker_id),
        )

    def _duration_ms(self) -> str:
        return str(round(self.settings.lease_duration_s * 1000))

    def _new_version(self, now: float) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        version = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self._unresolved.append(_Sent(version, now))
        return version

    def _hold(self, version: str, sent_at: float) -> None:
        self._version, self._foreign, self._next = version, None, None
        self._valid_until = sent_at + self.settings.lease_duration_s
        self._next_at = sent_at + self.settings.heartbeat_s
        self.holder = self.worker_id

    def _lose(self) -> None:
        self._version, self._next = None, None
        self._valid_until = -inf
