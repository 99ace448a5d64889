"""Order by key or by shard: who has to wait for whom, and what follows from a failure.

By key: a key is *busy* from the sealing of the aggregate that carries it until that package is settled; what is put
meanwhile waits in line, and goes into the next aggregate of its shard together with everything else that was freed.
So at most one attempt per key is unresolved, retries never overtake, and other keys notice nothing. A record with an
explicit hash key is ordered by that. By shard: one package per shard is unresolved (`batcher`), and a failure stops the
shard's range. Invariant: after a failure nothing of that key (or shard) is sent until `release`, unless the caller
chose to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shardline.producer.aggregator import Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardline.common.hashing import HashRange
    from shardline.producer.accept import Accepted
    from shardline.producer.delivery import Delivery
    from shardline.producer.package import Package

__all__ = ["KeyGate", "ShardStops"]

_WIRE_BYTES_MAX = 128  # Per record, beside data and key.


class _Line:
    """What waits for one key: a group whose delivery is closed, then one that still grows."""

    __slots__ = ("closed", "delivery", "records")

    def __init__(self) -> None:
        self.closed: Group | None = None
        self.delivery: Delivery | None = None
        self.records: list[Accepted] = []

    def close(self) -> list[Group]:
        """Return everything that waits, as groups, and forget it."""
        groups = [self.closed] if self.closed is not None else []
        if self.delivery is not None:
            groups.append(Group(self.delivery.new_part(range(len(self.records))), self.records, ends=True))
        self.closed, self.delivery, self.records = None, None, []
        return groups


class KeyGate:
    """Order by key; keys are hash keys as 16 bytes."""

    __slots__ = ("_lines", "_new_delivery", "stopped", "waiting")

    def __init__(self, new_delivery: Callable[[float], Delivery]) -> None:
        self._new_delivery = new_delivery
        self._lines: dict[bytes, _Line | None] = {}  # Busy keys.
        self.stopped: set[bytes] = set()
        """Keys with a failed record, until they are released."""
        self.waiting = 0
        """Records in line."""

    def busy(self, key: bytes) -> bool:
        """Say whether a record of the key is unresolved, so that the next has to wait."""
        return key in self._lines

    def opens_line(self, key: bytes) -> bool:
        """Say whether `wait` would begin a new group for this busy key."""
        line = self._lines[key]
        return line is None or line.delivery is None

    def wait(self, key: bytes, record: Accepted, now: float) -> tuple[Delivery, int]:
        """Put a record in line behind a busy key; return its delivery and its index there."""
        line = self._lines[key]
        if line is None:
            line = self._lines[key] = _Line()
        if line.delivery is None:
            line.delivery = self._new_delivery(now)
        line.records.append(record)
        self.waiting += 1
        return line.delivery, len(line.records) - 1

    def on_sealed(self, package: Package) -> None:
        """Note that a package's keys are busy from now on."""
        for key in package.keys:
            self._lines.setdefault(key, None)

    def on_settled(self, package: Package, bytes_max: int, *, good: bool) -> tuple[list[Group], list[Group]]:
        """Free a package's keys; return the groups that may go now, each with its key still busy, and those that fail.

        With `good` False the keys are stopped, and all that waits for them fails.
        """
        going: list[Group] = []
        failing: list[Group] = []
        for key in package.keys:
            line = self._lines.pop(key, None)
            if not good:
                self.stopped.add(key)
                failing += line.close() if line is not None else []
            elif line is not None:
                group = self._next(line, bytes_max)
                going.append(group)
                self._lines[key] = line if line.closed is not None or line.delivery is not None else None
        self.waiting -= sum(len(group.records) for group in (*going, *failing))
        return going, failing

    def drain(self) -> list[Group]:
        """Return everything in line, and forget it."""
        groups = [group for line in self._lines.values() if line is not None for group in line.close()]
        self.waiting = 0
        return groups

    def _next(self, line: _Line, bytes_max: int) -> Group:
        """Take from a line what fits one aggregate; the rest goes on waiting."""
        if line.closed is None:
            assert line.delivery is not None
            line.closed = Group(line.delivery.new_part(range(len(line.records))), line.records, ends=True)
            line.delivery, line.records = None, []
        group, line.closed = line.closed, None
        size = count = 0
        for record in group.records:
            size += record.size + _WIRE_BYTES_MAX
            if count and size > bytes_max:
                break
            count += 1
        if count == len(group.records):
            return group
        head, rest = group.part.cut([(range(count), None), (range(count, len(group.records)), None)])
        line.closed = Group(rest, group.records[count:], ends=True)
        return Group(head, group.records[:count])


class ShardStops:
    """Order by shard: the ranges in which a record failed, until a key within is released."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[HashRange] = []

    def stop(self, hash_range: HashRange) -> None:
        """Let nothing of the range pass."""
        if hash_range not in self._ranges:
            self._ranges.append(hash_range)

    def release(self, key: int) -> None:
        """Let the ranges that hold `key` pass again."""
        self._ranges = [one for one in self._ranges if key not in one]

    def holds(self, key: int) -> bool:
        """Say whether records of that hash key are stopped."""
        return any(key in one for one in self._ranges)
