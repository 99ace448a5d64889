"""Requests in flight, and what their answers mean for each package: delivered, again, cut anew, or given up.

The rules of `kpl.md` 10.3 and of I7 live here. A package leaves exactly one way; what it leaves with is true: once an
attempt is in doubt (`Package.doubt`) giving up means *unknown*.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from shardline.common.deaggregation import NO_HEADERS, UserRecord
from shardline.common.limits import RECORD_BYTES_MAX_DEFAULT
from shardline.producer.aggregator import record_cost
from shardline.producer.budget import PACKAGE_OVERHEAD_BYTES
from shardline.producer.config import Consumers, Ordering
from shardline.producer.events import Failed, Misplaced, Received, RequestDone, RequestFailed
from shardline.producer.outcome import (
    Delivered,
    FaultKind,
    NotWritten,
    Outcome,
    Reason,
    Unknown,
    judge_code,
    judge_error,
)
from shardline.producer.package import Records, Stage
from shardline.producer.stats import Failures, Stats
from shardline.producer.tally import Finishes, Tallies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from shardline.common.hashing import HashRange
    from shardline.common.ports.kinesis import PutOutcome
    from shardline.producer.aggregator import Group
    from shardline.producer.delivery import Part
    from shardline.producer.outcome import Fault
    from shardline.producer.package import Package
    from shardline.producer.pipeline import Pipeline

__all__ = ["Settler"]

_NO_SEQUENCE = "NoSequenceNumber"


class _Request(NamedTuple):
    packages: list[Package]
    body: int
    sent_at: float


class Settler:
    """Judges answers for a `Pipeline`, which owns the queues."""

    def __init__(self, pipeline: Pipeline, random: Random) -> None:
        self._pipeline = pipeline
        self._random = random
        self._in_flight: dict[int, _Request] = {}
        self._unjudged: dict[int, Package] = {}
        """Packages that landed on a shard whose range is not known yet, by identity."""
        self._expiries: list[tuple[float, int, Package]] = []
        self.stats = Stats()
        self.finished = Finishes()
        self.failures = Failures()

    def on_sent(self, request_id: int, packages: list[Package], body: int, now: float) -> None:
        """Note a request that is being sent."""
        stats = self.stats
        stats.requests += 1
        for package in packages:
            package.stage = Stage.IN_FLIGHT
            package.attempts += 1
            package.sent_at = now
            stats.kinesis_records += 1
            stats.kinesis_retries += package.attempts > 1
        self._in_flight[request_id] = _Request(packages, body, now)
        received = self._pipeline.aggregator.take_received()
        if received:
            self._pipeline.events.append(Received(stream=self._pipeline.stream, user_records=received))

    def on_answer(self, request_id: int, outcomes: Sequence[PutOutcome], now: float) -> None:
        """Judge each entry of an answered request."""
        request = self._in_flight.pop(request_id, None)
        if request is None:
            return  # Given up by `abort`, long ago.
        pipeline = self._pipeline
        pipeline.end_request(request.body, now, answered=True)
        pipeline.gate.on_answer()
        tallies = Tallies()
        for package, outcome in zip(request.packages, outcomes, strict=True):
            tallies.add(package, outcome)
            self._settle_entry(package, outcome, now)
        pipeline.events.append(
            RequestDone(
                stream=pipeline.stream,
                entries=len(request.packages),
                user_records=sum(package.count for package in request.packages),
                bytes=sum(package.size for package in request.packages),
                duration_s=now - request.sent_at,
                failed=tallies.failed,
                shards=tallies.shards(),
                pending_records=pipeline.pending_records,
                oldest_age_s=now - (pipeline.oldest_at() or now),
            )
        )

    def on_failure(self, request_id: int, error: BaseException, now: float) -> None:
        """Take the failure of a whole request: again after a back-off, apart to find the culprit, or given up."""
        request = self._in_flight.pop(request_id, None)
        if request is None:
            return
        pipeline = self._pipeline
        fault = judge_error(error)
        pipeline.end_request(request.body, now, answered=not fault.doubtful)
        packages = request.packages
        if fault.kind is FaultKind.REFUSED:
            pipeline.gate.on_answer()
        else:
            pipeline.gate.on_failure(now)
        self.stats.requests_failed += 1
        pipeline.events.append(
            RequestFailed(
                stream=pipeline.stream,
                entries=len(packages),
                user_records=sum(package.count for package in packages),
                bytes=sum(package.size for package in packages),
                duration_s=now - request.sent_at,
                code=fault.code,
                kind=fault.kind.name.lower(),
                in_a_row=pipeline.gate.failures,
            )
        )
        for package in packages:
            package.note_attempt(now, fault.code)
            package.doubt = package.doubt or fault.doubtful
            pipeline.batcher.settled(package)
        self._after_failure(packages, fault, now)

    def _after_failure(self, packages: list[Package], fault: Fault, now: float) -> None:
        if fault.kind is FaultKind.REFUSED and len(packages) > 1:
            self._isolate(packages)
        elif fault.kind is FaultKind.REFUSED:
            (package,) = packages
            self._give_up(package, self._refusal(package), fault.code, now)
        elif fault.kind in {FaultKind.FATAL, FaultKind.BROKEN}:
            for package in packages:
                self._give_up(package, fault.reason, fault.code, now)
            if fault.kind is FaultKind.FATAL:
                self._pipeline.router.keeper.inquiry.want(now)
                self.fail_queued(fault.reason, fault.code, now)
        else:
            for package in packages:
                self._again(package, fault, now)

    def _isolate(self, packages: list[Package]) -> None:
        """Send each half by itself: the service refuses a request whole for the sake of one entry."""
        middle = len(packages) // 2
        for half in (packages[:middle], packages[middle:]):
            for package in half:
                package.stage = Stage.QUEUED
            self._pipeline.batcher.isolated.append(half)

    @staticmethod
    def _refusal(package: Package) -> Reason:
        return Reason.TOO_LARGE if package.size > RECORD_BYTES_MAX_DEFAULT else Reason.REJECTED

    def _settle_entry(self, package: Package, outcome: PutOutcome, now: float) -> None:
        pipeline = self._pipeline
        pipeline.batcher.settled(package)
        if outcome.error_code is None and outcome.shard_id is not None and outcome.sequence_number is not None:
            lane = pipeline.batcher.lanes.get(package.shard_id)
            if lane is not None:
                lane.limiter.on_success()
            package.landed = (outcome.shard_id, outcome.sequence_number)
            self._judge(package, now)
            return
        fault = judge_code(outcome.error_code or _NO_SEQUENCE)
        package.note_attempt(now, fault.code)
        package.doubt = package.doubt or fault.doubtful
        limiter = pipeline.batcher.lane(package.shard_id, now).limiter
        if fault.kind is FaultKind.THROTTLED:
            self.stats.throttled += 1
            limiter.on_throttle(now, self._random)
        else:
            limiter.on_failure(now, self._random)
        if fault.kind is FaultKind.FATAL:
            self._give_up(package, fault.reason, fault.code, now)
        else:
            self._again(package, fault, now)

    def _again(self, package: Package, fault: Fault, now: float) -> None:
        """Queue a package for another attempt, unless its time is over or throttling is to fail it."""
        if fault.kind is FaultKind.THROTTLED and self._pipeline.settings.fail_if_throttled:
            self._give_up(package, Reason.THROTTLED, fault.code, now)
        elif package.expires_at <= now:
            self._give_up(package, Reason.EXPIRED, fault.code, now)
        else:
            package.stage = Stage.QUEUED
            self._pipeline.batcher.add_again(package, now)

    def _judge(self, package: Package, now: float) -> None:
        """Decide whether a package that is in the stream is where a KCL will read it."""
        pipeline = self._pipeline
        router = pipeline.router
        assert package.landed is not None
        shard_id = package.landed[0]
        if shard_id == package.shard_id:
            router.summary.on_hit()
            self._deliver(package, now)
            return
        if package.shard_id is not None:
            router.keeper.inquiry.want(now)
            if router.summary.on_miss(now):
                pipeline.on_auto(now)
        anywhere = not package.aggregated or package.uniform or pipeline.settings.consumers is Consumers.ANY
        # An aggregate that was under way when the stream began to place records itself lies anywhere; plain ones may.
        owned = True if anywhere else router.owns(package, shard_id)
        if owned is None:
            if package.stage is not Stage.UNJUDGED:
                package.stage = Stage.UNJUDGED
                pipeline.batcher.hold(package)
                self._unjudged[id(package)] = package
                heappush(self._expiries, (package.expires_at, id(package), package))
            router.keeper.inquiry.want(now)
        elif owned:
            self._deliver(package, now)
        else:
            self._resend(package, now)

    def judge_again(self, now: float) -> None:
        """Judge what waited for the map."""
        waiting, self._unjudged = self._unjudged, {}
        for package in waiting.values():
            self._judge(package, now)
            if package.stage is Stage.UNJUDGED:
                self._unjudged[id(package)] = package

    def _resend(self, package: Package, now: float) -> None:
        """Send a misplaced aggregate again, cut by the map: a KCL drops it whole where it is now."""
        pipeline = self._pipeline
        assert package.landed is not None
        self.stats.misplaced += 1
        expired = package.expires_at <= now
        pipeline.events.append(
            Misplaced(
                stream=pipeline.stream,
                predicted_shard=package.shard_id or "",
                actual_shard=package.landed[0],
                user_records=package.count,
                resent=not expired,
            )
        )
        package.note_attempt(now, "Misplaced")
        package.doubt = True
        package.misplaced = True
        package.landed = None
        if expired:
            self._give_up(package, Reason.EXPIRED, "Misplaced", now)
            return
        self.stats.resent += package.count
        pipeline.batcher.let_go(package)
        package.stage = Stage.QUEUED
        pipeline.cut(package, now)

    # ---- ends -------------------------------------------------------------------------------------------------------

    def _deliver(self, package: Package, now: float) -> None:
        assert package.landed is not None
        stats = self.stats
        stats.delivered += package.count
        stats.delivered_bytes += package.size
        self._end(package, package.delivered(*package.landed), now, good=True)

    def _give_up(self, package: Package, reason: Reason, code: str, now: float) -> None:
        outcome = package.failed(reason, code)
        self._count(outcome, package.count)
        self._pipeline.events.append(
            Failed(
                stream=self._pipeline.stream,
                user_records=package.count,
                bytes=package.size,
                reason=reason.value,
                code=code,
                unknown=isinstance(outcome, Unknown),
                attempts=package.attempts,
                shard_id=package.shard_id or "",
            )
        )
        self._end(package, outcome, now, good=False)

    def _end(self, package: Package, outcome: Outcome, now: float, *, good: bool) -> None:
        """Resolve a package's parts and give back its memory."""
        package.stage = Stage.DONE
        self._pipeline.batcher.let_go(package)
        self.finished.add(outcome, package.count, package)
        pipeline = self._pipeline
        first = 0
        for part in package.parts:
            count = len(part.indexes)
            self._resolve(part, outcome, first, () if good else Records(package, first, count))
            first += count
        pipeline.share.release(package.cost, package.count)
        pipeline.room = True
        if pipeline.settings.ordering is not Ordering.NONE:
            pipeline.go_on(package, now, good=good)

    def _resolve(self, part: Part, outcome: Outcome, first: int, failed: Sequence[UserRecord]) -> None:
        delivery = part.delivery
        if not isinstance(outcome, Delivered):
            self.failures.keep(delivery, len(part.indexes))
        if delivery.resolve(part, outcome, first, failed):
            self._pipeline.finish(delivery)

    def _count(self, outcome: NotWritten | Unknown, count: int) -> None:
        if isinstance(outcome, Unknown):
            self.stats.unknown += count
        else:
            self.stats.not_written += count
        self.stats.reasons[outcome.reason] = self.stats.reasons.get(outcome.reason, 0) + count

    # ---- expiry and giving up ---------------------------------------------------------------------------------------

    def expire(self, expired: list[Package], now: float) -> None:
        """Give up packages that expired in their queue, and those whose verdict did not come in time."""
        for package in expired:
            code = package.history[-1].code if package.history else "Expired"
            self._give_up(package, Reason.EXPIRED, code, now)
        while self._expiries and self._expiries[0][0] <= now:
            package = heappop(self._expiries)[2]
            if self._unjudged.pop(id(package), None) is not None:
                package.doubt = True  # It is in the stream, perhaps where a KCL drops it.
                self._give_up(package, Reason.EXPIRED, "Unjudged", now)

    def next_expiry(self) -> float | None:
        """Return when the next verdict is overdue."""
        while self._expiries and id(self._expiries[0][2]) not in self._unjudged:
            heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    def fail_queued(self, reason: Reason, code: str, now: float) -> None:
        """Give up everything queued: no send of this stream can succeed."""
        for package in self._pipeline.batcher.drain():
            self._give_up(package, reason, code, now)

    def fail_successors(self, hash_range: HashRange, now: float) -> None:
        """Give up what is queued for a range in which a predecessor failed."""
        pipeline = self._pipeline
        for buffer in list(pipeline.aggregator.buffers.values()):
            if buffer.place.hash_range is not None and buffer.place.hash_range.overlaps(hash_range):
                pipeline.aggregator.seal(buffer, now)
        pipeline.queue_sealed(now)
        lanes = [
            lane
            for lane in pipeline.batcher.lanes.values()
            if any(one.hash_range is not None and one.hash_range.overlaps(hash_range) for one in lane.heads())
        ]
        for package in pipeline.batcher.drain(lanes):
            self._give_up(package, Reason.PREDECESSOR, "PredecessorFailed", now)

    def fail_line(self, group: Group) -> None:
        """Fail records that waited in line behind a key's failed record."""
        self.release_line([group])
        self.fail_group(group, Reason.PREDECESSOR, "PredecessorFailed")

    def fail_group(self, group: Group, reason: Reason, code: str) -> None:
        """Fail records that never were in a package; what was accounted for them is the caller's to release."""
        outcome = NotWritten(reason, code, 0)
        self._count(outcome, len(group.records))
        self.finished.add(outcome, len(group.records))
        failed = [
            UserRecord(one.data, one.partition_key, one.explicit_hash_key, 0, False, one.headers or NO_HEADERS)
            for one in group.records
        ]
        self._resolve(group.part, outcome, 0, failed)

    def release_line(self, groups: list[Group]) -> None:
        """Give back what was accounted for records in line, and for each delivery that leaves it whole."""
        for group in groups:
            cost = sum(map(record_cost, group.records)) + (PACKAGE_OVERHEAD_BYTES if group.ends else 0)
            self._pipeline.share.release(cost, len(group.records))

    def abort(self, now: float) -> None:
        """Give up everything: queued, unjudged, in line, in flight."""
        pipeline = self._pipeline
        for group in pipeline.keys.drain() if pipeline.keys is not None else ():
            self.release_line([group])
            self.fail_group(group, Reason.CLOSED, "Closed")
        self.fail_queued(Reason.CLOSED, "Closed", now)
        unjudged, self._unjudged = self._unjudged, {}
        requests, self._in_flight = self._in_flight, {}
        for package in (*unjudged.values(), *(p for request in requests.values() for p in request.packages)):
            package.doubt = True
            self._give_up(package, Reason.CLOSED, "Closed", now)
        for request in requests.values():
            pipeline.end_request(request.body, now, answered=False)
