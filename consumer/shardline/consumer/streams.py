"""The streams of a worker: as the program names them, as the lease table names them, and what becomes of former ones.

Pure. In multi-stream mode a stream is ``account:name:epoch`` in the lease table (`kcl.md` 8), so one that was deleted
and created again is another stream there. Invariants: leases of a stream that is tracked are never due for deletion; a
stream that comes back within the waiting period has its period forgotten; nothing is due before a whole waiting period
of this worker's own clock, whatever other workers saw.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from shardline.common.checks import check_mapping, check_number, choice_of
from shardline.common.errors import InvalidInput
from shardline.common.ports.kinesis import Stream
from shardline.consumer.lineage import START_ALLOWED, Start

if TYPE_CHECKING:
    from shardline.common.ports.kinesis import StreamSummary

__all__ = [
    "FormerLeases",
    "FormerStreams",
    "Identity",
    "StrayLeases",
    "StreamConfig",
    "StreamLife",
    "StreamLister",
    "StreamsAsked",
    "TrackingConfig",
    "Verdict",
]

_CONSUMER_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:\d{12}:stream/[a-zA-Z0-9_.-]+/consumer/[a-zA-Z0-9_.-]+:\d+"
)
_DAY_S: Final = 86_400.0
_FORMER_WAIT_S: Final = 3600.0
_CONFIRMATIONS: Final = 3
_CONFIRM_EVERY_S: Final = 9.0


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One stream to read: by name or ARN; where a new application starts; whom to subscribe as, if that is fixed.

    `start` None means the worker's. `consumer_arn` is a registered consumer for enhanced fan-out, used as it is: a
    stream of another account cannot be registered for by name. Raises `InvalidInput` for a malformed one.
    """

    stream: Stream
    start: Start | None = None
    consumer_arn: str | None = None

    @classmethod
    def of(
        cls,
        stream: StreamConfig | Stream | str,
        start: Start | str | float | None = None,
        consumer_arn: str | None = None,
    ) -> StreamConfig:
        """Return the configuration for a name, an ARN, an identity, or a configuration (which is kept)."""
        if isinstance(stream, StreamConfig):
            return stream
        if consumer_arn is not None and not _CONSUMER_ARN.fullmatch(consumer_arn):
            raise InvalidInput("consumer_arn", "the ARN of a registered consumer: .../consumer/NAME:TIME")
        return cls(Stream.of(stream), None if start is None else Start.of(start), consumer_arn)

    @property
    def key(self) -> str:
        """What tells it from the worker's other streams: the ARN where one was given, else the name."""
        return self.stream.arn or self.stream.name


Streams: TypeAlias = Iterable[StreamConfig | Stream | str]
StreamLister: TypeAlias = Callable[[], Streams | Awaitable[Streams]]
"""Says which streams to read, whenever it is asked: the KCL's MultiStreamTracker. Asynchronous, or blocking (then it
is called on a thread)."""


class FormerStreams(StrEnum):
    """What the leader does with leases of streams that are no longer tracked; the KCL's strategies by its names."""

    KEEP = "NO_STREAMS_LEASES_DELETION"
    DETECT = "FORMER_STREAMS_AUTO_DETECTION_DEFERRED_DELETION"
    PROVIDED = "PROVIDED_STREAMS_DEFERRED_DELETION"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """Streams at run time: how often a function that lists them is asked, and what becomes of former streams' leases.

    `former` says whose leases the leader deletes once they have been former for `former_wait_s`: nobody's (the
    default), those of all streams in the table that are not tracked, or of those that `provided` names (by name, ARN,
    or the KCL's ``account:name:epoch``; a function is asked each time). Every member of a fleet should track the same
    streams: a leader with an old list would otherwise, after the wait, delete what another worker needs.
    """

    poll_s: float = 60.0
    former: FormerStreams = FormerStreams.KEEP
    former_wait_s: float = _FORMER_WAIT_S
    provided: Iterable[str] | Callable[[], Iterable[str]] = ()

    def __post_init__(self) -> None:
        check_number("tracking.poll_s", self.poll_s, 1, _DAY_S, "seconds")
        check_number("tracking.former_wait_s", self.former_wait_s, 0, 30 * _DAY_S, "seconds")
        object.__setattr__(self, "former", choice_of("tracking.former", self.former, FormerStreams))
        if isinstance(self.provided, str):
            raise InvalidInput("tracking.provided", "several names, or a function that returns them")

    def names(self) -> frozenset[str]:
        """Return the former streams that the program names."""
        return frozenset(self.provided() if callable(self.provided) else self.provided)


class Identity(NamedTuple):
    """A stream as the lease table names it in multi-stream mode."""

    account_id: str
    name: str
    epoch: int

    @classmethod
    def of(cls, summary: StreamSummary) -> Identity:
        """Return the identity of a stream that Kinesis described."""
        stream = Stream.of(summary.arn)
        return cls(stream.account_id or "", stream.name, int(summary.created_at_s))

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Return the identity that a row's `streamName` or a lease key's beginning says, None for anything else."""
        parts = text.split(":")
        if len(parts) != 3 or not (parts[0].isdigit() and parts[2].isdigit()):  # noqa: PLR2004 - account:name:epoch.
            return None
        return cls(parts[0], parts[1], int(parts[2]))

    @property
    def place(self) -> tuple[str, str]:
        """Account and name: what a stream that was created again shares with the one before."""
        return self.account_id, self.name

    def is_named(self, text: str) -> bool:
        """Say whether `text` means this stream: its identity, its name, or its ARN."""
        if text.startswith("arn:"):
            stream = Stream.of(text)
            return (stream.account_id, stream.name) == self.place
        return text in (str(self), self.name)

    def __str__(self) -> str:
        return f"{self.account_id}:{self.name}:{self.epoch}"


@dataclass(frozen=True, slots=True)
class StreamsAsked:
    """What the program asked a worker to read: configurations, or a function that lists them.

    `multi` is the lease table's mode, which must never vary in the life of an application: whoever changes it leaves
    all leases behind. `grows` says that streams unknown now may be added, and have handlers.
    """

    configs: tuple[StreamConfig, ...]
    lister: StreamLister | None
    multi: bool
    grows: bool = False
    starts: Mapping[str, Start] = field(default_factory=dict[str, Start])
    start: Start | None = None

    @classmethod
    def of(
        cls,
        streams: StreamConfig | Stream | str | Streams | StreamLister,
        start: Start | str | float | Mapping[str, Start | str | float] | None = None,
        multi_stream: bool | None = None,  # noqa: FBT001 - a constructor behind the worker's keyword.
    ) -> StreamsAsked:
        """Return what was asked; raises `InvalidInput` for no stream, one twice, or a mode that does not fit."""
        lister = streams if callable(streams) else None
        configs = () if callable(streams) else configs_of(streams)
        if lister is None and not configs:
            raise InvalidInput("streams", "at least one stream")
        multi = multi_stream if multi_stream is not None else lister is not None or len(configs) > 1
        if not multi and (lister is not None or len(configs) > 1):
            raise InvalidInput("multi_stream", "True, or not given, for more than one stream")
        starts, default = _starts(start)
        names = {config.stream.name for config in configs}
        if lister is None and (unknown := sorted(set(starts) - names)):
            raise InvalidInput("start", f"given for the worker's streams; {', '.join(unknown)} is not one")
        grows = lister is not None or multi_stream is True
        return cls(configs, lister, multi, grows, starts, default)

    def start_of(self, config: StreamConfig) -> Start | None:
        """Return where a new application starts with a stream."""
        return config.start or self.starts.get(config.stream.name) or self.start


def configs_of(streams: StreamConfig | Stream | str | Streams) -> tuple[StreamConfig, ...]:
    """Return configurations, each stream once; raises `InvalidInput` otherwise."""
    if not isinstance(streams, str | Stream | StreamConfig | Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers exist
        raise InvalidInput("streams", "names, ARNs or configurations of streams", type(streams).__name__)
    given = [streams] if isinstance(streams, str | Stream | StreamConfig) else list(streams)
    configs = tuple(StreamConfig.of(one) for one in given)
    if len({config.key for config in configs}) != len(configs):
        raise InvalidInput("streams", "each stream once")
    return configs


def _starts(
    start: Start | str | float | Mapping[str, Start | str | float] | None,
) -> tuple[dict[str, Start], Start | None]:
    if start is None:
        return {}, None
    if isinstance(start, Start | str | int | float):
        return {}, Start.of(start)
    check_mapping("start", start, f"{START_ALLOWED}; or a mapping of these from stream names")
    return {Stream.of(name).name: Start.of(one) for name, one in start.items()}, None


class FormerLeases:
    """Which former streams' leases are due for deletion; one leader's view, begun anew with each leadership."""

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._since: dict[str, float] = {}

    def on_scan(self, stored: Iterable[str], tracked: Iterable[str], named: frozenset[str], now: float) -> list[str]:
        """Return the streams of `stored` (as the table names them) whose leases are due; `named` are those provided."""
        kept = set(tracked)
        former = {name for name in stored if name not in kept and self._is_former(name, named)}
        self._since = {name: self._since.get(name, now) for name in former}
        return sorted(name for name, since in self._since.items() if now - since >= self._config.former_wait_s)

    def _is_former(self, name: str, named: frozenset[str]) -> bool:
        identity = Identity.parse(name)
        if identity is None or self._config.former is FormerStreams.KEEP:
            return False
        return self._config.former is FormerStreams.DETECT or any(identity.is_named(text) for text in named)

    @property
    def pending(self) -> int:
        """How many former streams wait for their deletion."""
        return len(self._since)

    def reset(self) -> None:
        """Forget what was seen: another worker led meanwhile, or begins to."""
        self._since.clear()


class StrayLeases:
    """Which leases of streams that are not ours a leader assigned to us for good: its list of streams lags behind ours.

    One is due once it has been ours, unwritten, for a whole fail-over time: our own list may be the one that lags, and
    whoever tracks the stream takes the lease by then at the latest.
    """

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._seen: dict[str, tuple[int, float]] = {}

    def on_round(self, counters: Mapping[str, int], now: float) -> list[str]:
        """Return the leases that are due; `counters` are those of all stray leases, as this round read them."""
        known = self._seen
        self._seen = {
            key: seen if (seen := known.get(key)) is not None and seen[0] == counter else (counter, now)
            for key, counter in counters.items()
        }
        return sorted(key for key, (_, since) in self._seen.items() if now - since >= self._failover_s)


class Verdict(StrEnum):
    """What is known of a stream that was asked about."""

    PRESENT = "present"
    UNSURE = "unsure"
    GONE = "gone"
    RECREATED = "recreated"


class StreamLife:
    """One stream's existence, as its worker learns it: from answers about its creation, and from NotFound.

    Gone needs three answers in a row, some ten seconds apart: a single NotFound may be a node that lags behind. A
    stream that is there with another creation time was created again.
    """

    __slots__ = ("_missed_at", "_misses", "created_at_s", "gone")

    def __init__(self, created_at_s: int | None = None) -> None:
        self.created_at_s = created_at_s
        self.gone = False
        self._misses = 0
        self._missed_at = 0.0

    def on_described(self, created_at_s: float) -> Verdict:
        """Take an answer that describes the stream."""
        before, self.created_at_s = self.created_at_s, int(created_at_s)
        self.gone, self._misses = False, 0
        return Verdict.PRESENT if before in (None, self.created_at_s) else Verdict.RECREATED

    def on_missing(self, now: float) -> Verdict:
        """Take an answer that there is no such stream."""
        if not self.gone and (self._misses == 0 or now - self._missed_at >= _CONFIRM_EVERY_S):
            self._misses += 1
            self._missed_at = now
        self.gone = self.gone or self._misses >= _CONFIRMATIONS
        return Verdict.GONE if self.gone else Verdict.UNSURE
