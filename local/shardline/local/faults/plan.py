"""A plan of faults: rules that match requests by service, operation and resource, and say what goes wrong.

Pure: time is an argument and chance a `Random` given at construction, so the same requests meet the same faults.
Rules are asked in order; the first that still has something to do takes the request.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# (a JSON file of rules, unknown until it is checked)

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

__all__ = ["Action", "FaultPlan", "FaultRule", "When"]


class Action(StrEnum):
    """What goes wrong with a request.

    `error` an error answer (`code`, `status`); `throttle` the service's own throttling error; `slow` waits `delay_s`;
    `hang` never answers; `drop` closes the connection; `truncate` cuts `bytes` off the answer's body (half of it for 0)
    and closes; `garbage` answers with a web page; `fail_entries` fails single entries of a PutRecords (`entries`
    by index, or each `every`-th); `short_answer` leaves out the last `bytes` outcomes of a PutRecords; `empty_page`
    a GetRecords without records that does not move on; `stale` shows a table as it was `age_s` ago.
    """

    ERROR = "error"
    THROTTLE = "throttle"
    SLOW = "slow"
    HANG = "hang"
    DROP = "drop"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    FAIL_ENTRIES = "fail_entries"
    SHORT_ANSWER = "short_answer"
    EMPTY_PAGE = "empty_page"
    STALE = "stale"


class When(StrEnum):
    """Whether the request is carried out: not at all (or after the wait) for `before`; first, for `after`."""

    BEFORE = "before"
    AFTER = "after"


_ONLY: dict[Action, tuple[str, ...]] = {
    Action.FAIL_ENTRIES: ("PutRecords",),
    Action.SHORT_ANSWER: ("PutRecords",),
    Action.EMPTY_PAGE: ("GetRecords",),
    Action.STALE: ("Scan", "Query"),
}
"""Actions that make sense for some operations alone; other requests pass their rules by, uncounted."""

_HTTP_ERRORS = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One rule; `service`, `operation` and `resource` (a stream's or table's name) are shell patterns.

    The rule passes over the first `skip` requests that match, then acts on `times` of them (None: on all), each with
    `probability`, and not after `for_s` seconds since it was set (None: no end). Raises `InvalidInput` for values out
    of range.
    """

    action: Action
    service: str = "*"
    operation: str = "*"
    resource: str = "*"
    when: When = When.BEFORE
    skip: int = 0
    times: int | None = 1
    probability: float = 1.0
    for_s: float | None = None
    code: str = "InternalFailure"
    status: int = 500
    message: str = "A scripted fault."
    delay_s: float = 0.0
    entries: tuple[int, ...] = ()
    every: int = 0
    bytes: int = 0
    age_s: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", _member(Action, "action", self.action))
        object.__setattr__(self, "when", _member(When, "when", self.when))
        object.__setattr__(self, "entries", tuple(self.entries))
        for name in ("skip", "delay_s", "every", "bytes", "age_s"):
            if not _number_from(getattr(self, name), 0):
                raise InvalidInput(name, "a number, 0 or more")
        if self.times is not None and not _number_from(self.times, 1):
            raise InvalidInput("times", "1 or more, or null for always")
        if not (_number_from(self.probability, 0) and self.probability <= 1):
            raise InvalidInput("probability", "from 0 to 1")
        if self.for_s is not None and not _number_from(self.for_s, 0):
            raise InvalidInput("for_s", "0 or more seconds, or null for no end")
        if self.status not in _HTTP_ERRORS:
            raise InvalidInput("status", f"from {_HTTP_ERRORS.start} to {_HTTP_ERRORS.stop - 1}")
        if not all(_number_from(i, 0) for i in self.entries):
            raise InvalidInput("entries", "indexes of entries, 0 or more")

    @classmethod
    def from_json(cls, value: Any) -> FaultRule:  # noqa: ANN401 - whatever the JSON held.
        """Return the rule that a JSON object describes; unknown fields are refused by name."""
        if not isinstance(value, dict) or "action" not in value:
            raise InvalidInput("fault", "an object with an action")
        known = {f.name for f in fields(cls)}
        for name in value:
            if name not in known:
                raise InvalidInput(f"fault.{name}", f"one of {', '.join(sorted(known))}")
        return cls(**value)

    def fails(self, index: int) -> bool:
        """Say whether a `fail_entries` rule fails the entry at `index`."""
        return index in self.entries or (self.every > 0 and (index + 1) % self.every == 0)


def _member(kinds: type[StrEnum], name: str, value: str) -> StrEnum:
    try:
        return kinds(value)
    except ValueError:
        raise InvalidInput(name, f"one of {', '.join(kinds)}") from None


def _number_from(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


@dataclass(slots=True)
class _Live:
    """A rule at work: since when, how many requests it has seen and how many it has met."""

    rule: FaultRule
    since_s: float
    seen: int = 0
    met: int = 0

    def takes(self, service: str, operation: str, resource: str, now: float, random: Random) -> bool:
        rule = self.rule
        if rule.times is not None and self.met >= rule.times:
            return False
        if rule.for_s is not None and now - self.since_s > rule.for_s:
            return False
        if operation not in _ONLY.get(rule.action, (operation,)):
            return False
        names = ((service, rule.service), (operation, rule.operation), (resource, rule.resource))
        if not all(fnmatchcase(name, pattern) for name, pattern in names):
            return False
        self.seen += 1
        if self.seen <= rule.skip or random.random() >= rule.probability:
            return False
        self.met += 1
        return True


@dataclass(slots=True)
class FaultPlan:
    """The rules in force; `random` decides where a rule has a probability."""

    random: Random
    _live: list[_Live] = field(default_factory=list[_Live])

    def __bool__(self) -> bool:
        """Say whether there is any rule."""
        return bool(self._live)

    def set(self, rules: Iterable[FaultRule], now: float) -> None:
        """Replace all rules."""
        self._live = [_Live(rule, now) for rule in rules]

    def add(self, rule: FaultRule, now: float) -> None:
        """Add a rule behind the others."""
        self._live.append(_Live(rule, now))

    def take(self, service: str, operation: str, resource: str, now: float) -> FaultRule | None:
        """Return the rule that this request meets, or None."""
        for live in self._live:
            if live.takes(service, operation, resource, now, self.random):
                return live.rule
        return None

    def looks_back(self) -> bool:
        """Say whether a rule shows stale tables, for which their past has to be kept."""
        return any(live.rule.action is Action.STALE for live in self._live)

    def report(self) -> list[dict[str, Any]]:
        """Return, per rule, what it matches and how many requests it has seen and met."""
        return [
            {
                "action": str(live.rule.action),
                "service": live.rule.service,
                "operation": live.rule.operation,
                "resource": live.rule.resource,
                "seen": live.seen,
                "met": live.met,
            }
            for live in self._live
        ]
