"""The producer's truth as a state machine: Hypothesis puts, loses, delays, refuses, reshards, and looks for a lie (I7).

The pure pipeline stands before the pure stream, and nothing else: time, answers and their loss are what the rules say.
Checked at every step: an outcome never changes; what is called delivered is in the stream, there; what is called not
written is not, nor does it come later; memory and records stay within their bounds. In the end all is resolved, late
requests have landed, and nothing of the memory is held.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shardline.common.errors import Ambiguous, ProtocolViolation, Rejected, Throttled, Unreachable
from shardline.common.limits import MIB
from shardline.common.ports.kinesis import Distribution, PutOutcome, Stream, StreamSummary
from shardline.local.state.core import KinesisState
from shardline.local.state.events import RecordStored
from shardline.producer.budget import Budget, Share
from shardline.producer.concurrency import Slots
from shardline.producer.config import OnGap, Ordering, StreamSettings
from shardline.producer.effects import AskMap, AskSummary, SendRequest
from shardline.producer.outcome import Delivered, NotWritten
from shardline.producer.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shardline.common.ports.kinesis import PutEntry
    from shardline.local.state.events import StateEvent
    from shardline.producer.delivery import Delivery
    from shardline.producer.outcome import Outcome

STREAM = Stream("orders")
MARK = re.compile(rb"<(\d+)>")
RECORDS_MAX = 40
CODES = st.sampled_from(
    [None, None, None, "ProvisionedThroughputExceededException", "InternalFailure", "KMSThrottlingException", "New2030"]
)
ERRORS = st.sampled_from([Throttled("Throttled"), Unreachable("Refused"), Rejected("ValidationException")])
WHICH = st.integers(0, 7)
TURNS_MAX = 2000


class TruthMachine(RuleBasedStateMachine):
    """One producer of one stream, its requests in flight, and those that will still land."""

    kinds: ClassVar[set[str]] = set()
    """The kinds of outcomes that were told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.state = KinesisState(sink=self.stored)
        self.places: dict[int, list[tuple[str, int, int]]] = {}
        self.state.create_stream(STREAM.name, 2, now=self.now)
        self.budget = Budget(16 * MIB)
        self.puts: list[tuple[Delivery, int]] = []
        self.told: dict[int, Outcome] = {}
        self.flying: dict[int, SendRequest] = {}
        self.late: list[tuple[PutEntry, ...]] = []
        self.asked: set[type] = set()

    def stored(self, event: StateEvent) -> None:
        """Note where the stream put the records of an entry."""
        if isinstance(event, RecordStored):
            for sub, mark in enumerate(MARK.finditer(event.record.data)):
                self.places.setdefault(int(mark[1]), []).append((event.shard_id, event.number, sub))

    @initialize(
        ordering=st.sampled_from(list(Ordering)),
        on_gap=st.sampled_from(list(OnGap)),
        aggregation=st.booleans(),
        small=st.booleans(),
    )
    def open(self, ordering: Ordering, on_gap: OnGap, *, aggregation: bool, small: bool) -> None:
        """Open the stream with some settings."""
        chosen = StreamSettings(
            ordering=ordering,
            on_gap=on_gap,
            aggregation=aggregation,
            aggregate_bytes_max=100 if small else 51_200,
            request_entries_max=2 if small else 500,
            buffer_records_max=RECORDS_MAX,
            linger_s=0.5,
            ttl_s=20.0,
        )
        self.share = Share(self.budget, None, RECORDS_MAX)
        self.pipeline = Pipeline("orders", chosen, self.share, Slots(4), Random(1), self.now)
        self.pump()

    # --- the driver --------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Do what the driver does: let it do what is due, and take what it asks for."""
        self.pipeline.pump(self.now)
        for effect in self.pipeline.take_effects():
            if isinstance(effect, SendRequest):
                self.flying[effect.request_id] = effect
            else:
                self.asked.add(type(effect))

    def taken(self, which: int) -> SendRequest:
        """Take one of the requests in flight."""
        return self.flying.pop(sorted(self.flying)[which % len(self.flying)])

    def apply(self, entries: Sequence[PutEntry]) -> list[PutOutcome]:
        """Let the stream store entries."""
        return list(self.state.put_records(STREAM, entries, now=self.now)) if entries else []

    # --- what happens ------------------------------------------------------------------------------------------------

    @rule(keys=st.text("abcdef", min_size=1, max_size=6), size=st.sampled_from([0, 30, 200]))
    def put(self, keys: str, size: int) -> None:
        """Put some records; where there is no room nothing has changed."""
        for key in keys:
            data = b"<%d>" % len(self.puts) + b"." * size
            accepted = self.pipeline.put(data, key, None, None, self.now)
            if accepted is not None:
                self.puts.append(accepted)
        self.pump()

    @rule(seconds=st.sampled_from([0.01, 0.3, 0.6, 2.0, 7.0, 21.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.pump()

    @precondition(lambda self: self.flying)
    @rule(which=WHICH, codes=st.lists(CODES, min_size=1, max_size=4))
    def answer(self, which: int, codes: list[str | None]) -> None:
        """Answer a request; some entries fail."""
        request = self.taken(which)
        wanted = [codes[index % len(codes)] for index in range(len(request.entries))]
        applied = iter(self.apply([one for one, code in zip(request.entries, wanted, strict=True) if code is None]))
        outcomes = [next(applied) if code is None else PutOutcome(None, None, code, "") for code in wanted]
        self.pipeline.on_answer(request.request_id, outcomes, self.now)
        self.pump()

    @precondition(lambda self: self.flying)
    @rule(which=WHICH, fate=st.sampled_from(["applied", "lost", "late"]), broken=st.booleans())
    def lose(self, which: int, fate: str, *, broken: bool) -> None:
        """Lose a request, or its answer; it may land much later."""
        request = self.taken(which)
        if fate == "applied":
            self.apply(request.entries)
        elif fate == "late":
            self.late.append(request.entries)
        error = ProtocolViolation("another number of entries") if broken else Ambiguous("RequestTimeout")
        self.pipeline.on_failure(request.request_id, error, self.now)
        self.pump()

    @precondition(lambda self: self.flying)
    @rule(which=WHICH, error=ERRORS)
    def refuse(self, which: int, error: Exception) -> None:
        """Refuse a request whole: it is not applied."""
        self.pipeline.on_failure(self.taken(which).request_id, error, self.now)
        self.pump()

    @precondition(lambda self: self.late)
    @rule()
    def land(self) -> None:
        """Let a late request land."""
        self.apply(self.late.pop(0))

    @precondition(lambda self: len(self.state.streams["orders"].open) < 6)
    @rule(index=st.integers(0, 5))
    def split(self, index: int) -> None:
        """Split a shard; the producer does not know yet."""
        shards = self.state.streams["orders"].open
        shard = shards[index % len(shards)]
        middle = (shard.hash_range.start + shard.hash_range.end) // 2
        self.state.split_shard(STREAM, shard.shard_id, str(middle), now=self.now)

    @rule(works=st.booleans())
    def tell(self, *, works: bool) -> None:
        """Answer what was asked about the stream, or fail to."""
        asked, self.asked = self.asked, set()
        pipeline = self.pipeline
        if AskMap in asked and works:
            pipeline.on_map(self.state.list_shards(STREAM, now=self.now).shards, self.now)
        elif AskMap in asked:
            pipeline.on_map_failure(Ambiguous("RequestTimeout"), self.now)
        if AskSummary in asked and works:
            pipeline.on_summary(self.summary(), self.now)
        elif AskSummary in asked:
            pipeline.on_summary_failure(Ambiguous("RequestTimeout"), self.now)
        self.pump()

    def summary(self) -> StreamSummary:
        """Return what DescribeStreamSummary says."""
        stream = self.state.streams["orders"]
        placement = Distribution.USER_PARTITION_KEY
        return StreamSummary(
            "orders", stream.arn, "ACTIVE", 1.0, 24, len(stream.open), stream.on_demand, 1 * MIB, placement
        )

    @rule()
    def flush(self) -> None:
        """Ask for a barrier."""
        self.pipeline.flush(self.now)
        self.pump()

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def tells_the_truth(self) -> None:
        """Outcomes do not change and agree with the stream; memory stays within its bounds."""
        for number, (delivery, index) in enumerate(self.puts):
            outcome = delivery.result_at(index)
            assert number not in self.told or outcome == self.told[number], f"{number}: was {self.told[number]}"
            if outcome is None:
                continue
            self.told[number] = outcome
            self.kinds.add(type(outcome).__name__)
            places = self.places.get(number, [])
            if isinstance(outcome, Delivered):
                place = (outcome.shard_id, int(outcome.sequence_number), outcome.sub_sequence_number)
                assert place in places, f"{number} was called {outcome} and is at {places}"
            elif isinstance(outcome, NotWritten):
                assert not places, f"{number} was called {outcome} and is at {places}"
        assert self.budget.peak <= self.budget.bytes_max
        if self.puts:
            assert self.share.records <= RECORDS_MAX

    def teardown(self) -> None:
        """Close, let everything be answered, and let what is late land: all is resolved, truly, and given back."""
        if not hasattr(self, "pipeline"):
            return
        barrier = self.pipeline.close(self.now)
        for _ in range(TURNS_MAX):
            self.pump()
            if self.pipeline.passed(barrier):
                break
            self.tell(works=True)
            while self.flying:
                self.answer(0, [None])
            wakeup = self.pipeline.next_wakeup()
            self.now = max(self.now + 0.01, self.now if wakeup is None else wakeup)
        assert self.pipeline.passed(barrier), "records are open that nothing resolves"
        while self.late:
            self.land()
        self.tells_the_truth()
        assert len(self.told) == len(self.puts)
        assert self.budget.used == 0


@pytest.mark.slow
def test_no_history_makes_the_producer_lie() -> None:
    """Whatever is lost, late, refused or resharded in whatever order: each put resolves once, and truthfully."""
    run_state_machine_as_test(TruthMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
    assert TruthMachine.kinds == {"Delivered", "NotWritten", "Unknown"}
