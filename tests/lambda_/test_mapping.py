"""I21 and I14 as properties: whatever fails, the event source mapping never moves past an unprocessed user record."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.deaggregation import deaggregate
from shardline.consumer.aws_lambda import Record, ResumeStore, stream_handler

from tests.lambda_.events import Context, aggregate, malformed
from tests.lambda_.mapping import Mapping


class Memory(ResumeStore):
    """A store that outlives invocations, and forgets or fails now and then."""

    def __init__(self, random: Random, trouble: float = 0.0) -> None:
        self.kept: dict[str, int] = {}
        self._random = random
        self._trouble = trouble

    def _stumble(self) -> None:
        if self._random.random() < self._trouble:
            raise ConnectionError("no store")

    def load(self, key: str, /) -> int | None:
        """Return what is done."""
        self._stumble()
        return self.kept.get(key)

    def save(self, key: str, done: int, /) -> None:
        """Remember what is done."""
        self._stumble()
        self.kept[key] = done

    def discard(self, key: str, /) -> None:
        """Forget."""
        self._stumble()
        self.kept.pop(key, None)


def stream(random: Random) -> list[tuple[int, bytes, str]]:
    """Return some Kinesis records: plain, aggregates, malformed, empty; every user payload is unique."""
    records: list[tuple[int, bytes, str]] = []
    names = iter(range(10**6))
    for number in sorted(random.sample(range(1, 10**6), random.randint(1, 30))):
        kind = random.random()
        if kind < 0.4:
            data = b"%d" % next(names)
        elif kind < 0.9:
            data = aggregate(*(b"%d" % next(names) for _ in range(random.randint(2, 6))))
        else:
            data = malformed()
        records.append((number, data, f"key-{random.randint(0, 5)}"))
    return records


def user_records(data: bytes) -> list[tuple[int, bytes]]:
    """Return what a handler must see of one Kinesis record."""
    return [(one.sub_sequence_number, one.data) for one in deaggregate(data, "k")]


class World:
    """A handler that fails at random, and the truth about what it did."""

    def __init__(self, seed: int, *, fails: float, **settings: Any) -> None:
        self.random = Random(seed)
        self.records = stream(self.random)
        self.processed: Counter[tuple[str, int]] = Counter()
        self.order: list[tuple[int, int]] = []
        self.fails = fails
        self.handler = stream_handler(failed=lambda *_: None, **settings)(self.one)

    def one(self, record: Record) -> None:
        """Handle one record, or fail."""
        if self.random.random() < self.fails:
            raise ValueError("no")
        self.processed[record.sequence_number, record.sub_sequence_number] += 1
        self.order.append((int(record.sequence_number), record.sub_sequence_number))

    def passed(self, number: int) -> None:
        """Check what the mapping moves past."""
        data = next(data for known, data, _ in self.records if known == number)
        missing = [sub for sub, _ in user_records(data) if not self.processed[str(number), sub]]
        assert missing == [], f"moved past {number} without sub-records {missing}"

    def check_all(self) -> None:
        """Everything was processed."""
        for number, _, _ in self.records:
            self.passed(number)


settings_drawn = st.fixed_dictionaries(
    {
        "batch_max": st.integers(1, 12),
        "lanes": st.integers(1, 4),
        "bisect": st.booleans(),
    }
)


@given(st.integers(0, 2**32), settings_drawn, st.sampled_from(["stop", "continue"]), st.booleans())
def test_nothing_is_passed_unprocessed(seed: int, mapping: dict[str, Any], on_error: str, resume: bool) -> None:
    """With random failures, deadlines, bisection and lanes, every user record is processed before it is passed."""
    random = Random(seed)
    extra = {"resume": Memory(random, trouble=0.2)} if resume else {}
    world = World(seed, fails=0.15, on_error=on_error, reserve_s=1.0, **extra)

    class Clock(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 10 if random.random() < 0.05 else 10_000

    Mapping(world.handler, world.records, passed=world.passed, **mapping).run(Clock(0))
    world.check_all()


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_stop_keeps_order(seed: int, batch_max: int) -> None:
    """Stopping at the first failure, first deliveries that succeed come in the stream's order."""
    world = World(seed, fails=0.2)
    Mapping(world.handler, world.records, passed=world.passed, batch_max=batch_max).run()
    world.check_all()
    firsts = list(dict.fromkeys(world.order))
    assert firsts == sorted(firsts)


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_resuming_repeats_nothing(seed: int, batch_max: int) -> None:
    """With a store that works, stopping and going on handles every user record exactly once."""
    world = World(seed, fails=0.2, resume=Memory(Random(seed)))
    Mapping(world.handler, world.records, passed=world.passed, batch_max=batch_max).run()
    world.check_all()
    assert set(world.processed.values()) <= {1}


def test_a_poison_record_ends_at_the_destination_and_takes_no_neighbour_along() -> None:
    """With bisection and an end of attempts only the poison record is discarded."""
    seen: list[bytes] = []

    @stream_handler(failed=lambda *_: None)
    def handler(record: Record) -> None:
        if record.data == b"poison":
            raise ValueError("no")
        seen.append(record.data)

    records = [(n, b"poison" if n == 5 else b"%d" % n, "k") for n in range(1, 11)]
    mapping = Mapping(handler, records, passed=lambda _number: None, bisect=True, attempts_max=6)
    mapping.run()
    assert 5 in mapping.discarded
    assert [int(one) for one in dict.fromkeys(seen)] == [n for n in range(1, 11) if n not in mapping.discarded]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}])
def test_the_model_takes_an_empty_answer_for_success(answer: Any) -> None:
    """The model is as unforgiving as Lambda: an empty answer moves past everything, so a liar is caught."""
    world = World(1, fails=0.0)
    with pytest.raises(AssertionError, match="moved past"):
        Mapping(lambda _event, _context: answer, world.records, passed=world.passed).run()


@pytest.mark.parametrize("name", ["", None, "unknown"])
def test_the_model_takes_a_bad_name_for_complete_failure(name: Any) -> None:
    """An empty or unknown identifier fails the whole batch."""
    world = World(1, fails=0.0)
    answer = {"batchItemFailures": [{"itemIdentifier": name}]}
    mapping = Mapping(
        lambda _event, _context: answer, world.records, passed=world.passed, batch_max=1000, attempts_max=2
    )
    mapping.run()
    assert mapping.discarded == [number for number, _, _ in world.records]


@given(st.binary(max_size=200))
def test_any_bytes_are_handled_or_named(data: bytes) -> None:
    """I14 at the handler: whatever the bytes, the record is handled whole or named, and nothing else happens."""
    seen: list[bytes] = []

    @stream_handler
    def handler(record: Record) -> None:
        seen.append(record.data)

    Mapping(handler, [(7, data, "k")], passed=lambda _number: None).run()
    assert seen == [one for _, one in user_records(data)]
