"""Going on inside a half-done aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from shardline.consumer.aws_lambda import Record, ResumeStore, Tally, stream_handler

from tests.lambda_.events import ALL_DONE, ARN, FIRST, SHARD, Context, aggregate, event, failing_at, record

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = f"{ARN}/{SHARD}/{FIRST}"


class Store(ResumeStore):
    """A dictionary that can be told to fail."""

    def __init__(self, broken: Iterable[str] = ()) -> None:
        self.kept: dict[str, int] = {}
        self.broken = set(broken)
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            raise ConnectionError(name)

    def load(self, key: str, /) -> int | None:
        """Return what is done."""
        self._call("load")
        return self.kept.get(key)

    def save(self, key: str, done: int, /) -> None:
        """Remember what is done."""
        self._call("save")
        self.kept[key] = done

    def discard(self, key: str, /) -> None:
        """Forget."""
        self._call("discard")
        self.kept.pop(key, None)


EVENT = event(record(aggregate(b"0", b"1", b"2", b"3"), FIRST))
CONTEXT = Context(60_000)


def run(
    store: Store,
    seen: list[bytes],
    *,
    bad: bytes = b"",
    context: Context = CONTEXT,
    on_error: Literal["stop", "continue"] = "stop",
) -> tuple[object, Tally]:
    """Deliver the aggregate of four once; return the answer and the tally."""
    tallies: list[Tally] = []

    @stream_handler(resume=store, failed=lambda *_: None, observe=tallies.append, on_error=on_error)
    def handler(one: Record) -> None:
        if one.data == bad:
            raise ValueError("no")
        seen.append(one.data)

    return handler(EVENT, context), tallies[0]


def test_a_half_done_aggregate_goes_on_after_its_last_good_sub_record() -> None:
    """The second delivery skips what the first one did, and the entry is discarded at the end."""
    store, seen = Store(), list[bytes]()
    assert run(store, seen, bad=b"2")[0] == failing_at(FIRST)
    assert store.kept == {KEY: 2}
    answer, tally = run(store, seen)
    assert (answer, seen, store.kept, tally.skipped) == (ALL_DONE, [b"0", b"1", b"2", b"3"], {}, 2)


def test_a_first_sub_record_that_fails_writes_nothing() -> None:
    """Nothing done, nothing to remember; nor is anything discarded where nothing was remembered."""
    store = Store()
    run(store, [], bad=b"0")
    run(store, [])
    assert store.calls == ["load", "load"]


def test_the_deadline_remembers_too() -> None:
    """What was done before time ran out is not done again."""
    store, seen = Store(), list[bytes]()
    assert run(store, seen, context=Context(9000, 9000, 9000, 10))[0] == failing_at(FIRST)
    assert (seen, store.kept) == ([b"0", b"1", b"2"], {KEY: 3})


def test_continue_remembers_only_the_prefix() -> None:
    """With `continue` later successes are not remembered: only a prefix can be skipped safely."""
    store, seen = Store(), list[bytes]()
    run(store, seen, bad=b"1", on_error="continue")
    assert (seen, store.kept) == ([b"0", b"2", b"3"], {KEY: 1})


def test_a_store_that_cannot_be_asked_fails_the_record() -> None:
    """An unknown progress is not guessed: the aggregate comes again."""
    store, seen = Store(["load"]), list[bytes]()
    assert run(store, seen)[0] == failing_at(FIRST)
    assert seen == []


def test_a_store_that_cannot_remember_costs_only_repetition() -> None:
    """Failing to save or discard changes no answer."""
    store = Store(["save", "discard"])
    assert run(store, [], bad=b"2")[0] == failing_at(FIRST)
    store.kept[KEY] = 2
    assert run(store, [])[0] == ALL_DONE


def test_a_remembered_number_beyond_the_end_skips_no_other_record() -> None:
    """A number that cannot be right (another stream of the same name) skips at most this aggregate."""
    store, seen = Store(), list[bytes]()
    store.kept[KEY] = 99
    assert run(store, seen)[0] == ALL_DONE
    assert seen == []
