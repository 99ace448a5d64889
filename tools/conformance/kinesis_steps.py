"""The script for Kinesis: each step does something on a stream of its own and says what came of it.

A step returns plain values; its expectation is what the real service does, by its API reference, botocore's model, or
`endpoints.md` (knowledge of the live service written down there). A refused call is the error's code.
"""

from __future__ import annotations

from functools import partial
from hashlib import md5
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.conformance.drivers import Entry, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.conformance.drivers import Kinesis

MIB = 1024 * 1024
TOP = 2**128 - 1
HALF = str(2**127)


class Step(NamedTuple):
    """One step: what it shows, what the service does, and the calls."""

    name: str
    expected: object
    act: Callable[[Kinesis, str], Any]


STEPS: list[Step] = []


def step(name: str, expected: object) -> Callable[[Callable[[Kinesis, str], Any]], Callable[[Kinesis, str], Any]]:
    """Enter a step into the script."""

    def enter(act: Callable[[Kinesis, str], Any]) -> Callable[[Kinesis, str], Any]:
        STEPS.append(Step(name, expected, act))
        return act

    return enter


def code(call: Callable[[], Any]) -> str:
    """Return the error's code of a call that should be refused, or "accepted"."""
    try:
        call()
    except Failed as failed:
        return failed.code
    return "accepted"


def drain(kinesis: Kinesis, name: str, shard: int, calls: int = 12) -> tuple[list[bytes], Any]:
    """Read a shard from the horizon; return its data and the last answer."""
    iterator: str | None = kinesis.iterator(name, shard, "TRIM_HORIZON")
    data: list[bytes] = []
    page = None
    for _ in range(calls):
        if iterator is None:
            break
        page = kinesis.read(name, iterator)
        data += page.data
        iterator = page.following
    return data, page


@step("hash ranges of 3 shards cover the key space", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 3)
    shards = sorted(kinesis.shards(name), key=lambda s: s.start)
    edges = [shards[0].start == 0, shards[-1].end == TOP]
    return all(edges + [a.end + 1 == b.start for a, b in pairwise(shards)])


@step("an on-demand stream starts with 4 shards", 4)
def _(kinesis: Kinesis, name: str) -> int:
    kinesis.create(name, 0, on_demand=True)
    return len(kinesis.shards(name))


@step("records are placed by MD5, or by their hash key up to 2^128 - 1", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 2)
    puts = kinesis.put(name, [Entry(b"", k) for k in "abcd"] + [Entry(b"", "a", str(TOP)), Entry(b"", "a", "0")])
    upper = [int(md5(k.encode(), usedforsecurity=False).hexdigest(), 16) >= 2**127 for k in "abcd"]
    return [p.shard for p in puts] == [*map(int, upper), 1, 0]


@step("a hash key of 2^128 is refused", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.put(name, [Entry(b"", "k", str(TOP + 1))]))


@step("an empty partition key is refused", "ValidationException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.put(name, [Entry(b"", "")]))


@step("a partition key of 257 characters is refused, one of 256 taken", ["ValidationException", "accepted"])
def _(kinesis: Kinesis, name: str) -> list[str]:
    kinesis.create(name, 1)
    return [code(partial(kinesis.put, name, [Entry(b"", "k" * n)])) for n in (257, 256)]


@step("501 records and 0 records are refused, 500 taken", ["ValidationException", "ValidationException", "accepted"])
def _(kinesis: Kinesis, name: str) -> list[str]:
    kinesis.create(name, 1)
    return [code(partial(kinesis.put, name, [Entry(b"x")] * n)) for n in (501, 0, 500)]


@step("a record of 1 MiB with its key is taken, one byte more refused whole", ["accepted", "ValidationException", 1])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 1)
    got: list[Any] = [code(partial(kinesis.put, name, [Entry(bytes(n))])) for n in (MIB - 1, MIB)]
    return [*got, len(drain(kinesis, name, 0)[0])]


@step("with MaxRecordSizeInKiB 2048, 2 MiB are taken and one byte more refused", ["accepted", "ValidationException"])
def _(kinesis: Kinesis, name: str) -> list[str]:
    kinesis.create(name, 1)
    kinesis.grow_records(name, 2048)
    return [code(partial(kinesis.put, name, [Entry(bytes(n))])) for n in (2 * MIB - 1, 2 * MIB)]


@step("a request of more than 10 MiB is refused", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.put(name, [Entry(bytes(MIB - 10))] * 11))


@step("sequence numbers have 56 digits and grow, also across a split within a second", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 1)
    first = kinesis.put(name, [Entry(b"1"), Entry(b"2")])
    kinesis.split(name, 0, HALF)
    later = kinesis.put(name, [Entry(b"3")])
    numbers = [p.number or "" for p in first + later]
    return numbers == sorted(set(numbers), key=int) and {len(n) for n in numbers} == {56}


@step("DryRun stores nothing", ["DryRunOperationException", 0])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 1)
    return [code(lambda: kinesis.put(name, [Entry(b"x")], dry_run=True)), len(drain(kinesis, name, 0)[0])]


@step("the starts of an iterator: horizon, latest, at, after, time", [2, 0, 2, 1, 2])
def _(kinesis: Kinesis, name: str) -> list[int]:
    kinesis.create(name, 1)
    before = kinesis.now() - 60
    number = kinesis.put(name, [Entry(b"1"), Entry(b"2")])[0].number
    starts: list[tuple[str, str | None, float | None]] = [
        ("TRIM_HORIZON", None, None),
        ("LATEST", None, None),
        ("AT_SEQUENCE_NUMBER", number, None),
        ("AFTER_SEQUENCE_NUMBER", number, None),
        ("AT_TIMESTAMP", None, before),
    ]
    return [len(kinesis.read(name, kinesis.iterator(name, 0, *start)).data) for start in starts]


@step("AT_TIMESTAMP in the future is refused", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.iterator(name, 0, "AT_TIMESTAMP", at_s=kinesis.now() + 3600))


@step("LATEST, then put, then read: nothing is lost", [b"x"])
def _(kinesis: Kinesis, name: str) -> list[bytes]:
    kinesis.create(name, 1)
    iterator = kinesis.iterator(name, 0, "LATEST")
    kinesis.put(name, [Entry(b"x")])
    return kinesis.read(name, iterator).data


@step("a garbage iterator is refused as invalid", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.read(name, "A" * 64))


@step("a limit above 10,000 is refused", "ValidationException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    iterator = kinesis.iterator(name, 0, "TRIM_HORIZON")
    return code(lambda: kinesis.read(name, iterator, 10_001))


@step("a page holds 10 MiB at most", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 1)
    for _ in range(3):
        kinesis.put(name, [Entry(bytes(MIB - 1))] * 4)
    page = kinesis.read(name, kinesis.iterator(name, 0, "TRIM_HORIZON"))
    return sum(map(len, page.data)) <= 10 * MIB and page.following is not None


@step("MillisBehindLatest is above 0 before the tip and 0 at it", [True, 0])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 1)
    kinesis.put(name, [Entry(b"1")])
    kinesis.put(name, [Entry(b"2")])
    until = kinesis.now() + 0.05
    while kinesis.now() < until:
        pass
    iterator = kinesis.iterator(name, 0, "TRIM_HORIZON")
    return [kinesis.read(name, iterator, 1).behind_ms > 0, kinesis.read(name, iterator).behind_ms]


@step("split: the parent stays, closed, with its unread data; writes go to the children", [1, [b"before"], True, True])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 1)
    kinesis.put(name, [Entry(b"before")])
    kinesis.split(name, 0, HALF)
    after = kinesis.put(name, [Entry(b"after")])[0]
    shards = {s.which: s for s in kinesis.shards(name)}
    closed = [s for s in shards.values() if not s.is_open]
    data, _ = drain(kinesis, name, 0)
    return [len(closed), data, after.shard in {1, 2}, [shards[1].parents, shards[2].parents] == [(0,), (0,)]]


@step("the end of a closed shard: no next iterator, and its children", [None, [(1, (0,)), (2, (0,))]])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 1)
    kinesis.put(name, [Entry(b"x")])
    kinesis.split(name, 0, HALF)
    _, page = drain(kinesis, name, 0)
    return [page.following and "goes on", page.children]


@step("EndingSequenceNumber lies above every record and below the children's first", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 1)
    number = int(kinesis.put(name, [Entry(b"x")])[0].number or 0)
    kinesis.split(name, 0, HALF)
    parent, *children = sorted(kinesis.shards(name))
    return parent.last_number is not None and number < parent.last_number < min(c.first_number for c in children)


@step("merge: two parents, one child over both ranges, each record read once", [(0, 1), True, [b"a", b"b", b"c"]])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 2)
    kinesis.put(name, [Entry(b"a", "k", "0"), Entry(b"b", "k", str(TOP))])
    kinesis.merge(name, 0, 1)
    kinesis.put(name, [Entry(b"c")])
    child = next(s for s in kinesis.shards(name) if s.which not in {0, 1})
    data = sorted(d for s in kinesis.shards(name) for d in drain(kinesis, name, s.which, 4)[0])
    return [child.parents, (child.start, child.end) == (0, TOP), data]


@step("a merge of shards that are no neighbours is refused", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 3)
    return code(lambda: kinesis.merge(name, 0, 2))


@step("a split of a closed shard is refused", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 1)
    kinesis.split(name, 0, HALF)
    return code(lambda: kinesis.split(name, 0, str(2**126))) != "accepted"


@step("a split at the shard's own start is refused", "InvalidArgumentException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.split(name, 0, "0"))


@step("UpdateShardCount 2 to 4: every record still read, open shards cover the keys", [20, 4, True])
def _(kinesis: Kinesis, name: str) -> list[Any]:
    kinesis.create(name, 2)
    kinesis.put(name, [Entry(b"%d" % i, str(i)) for i in range(20)])
    kinesis.scale(name, 4)
    shards = kinesis.shards(name)
    data = {d for s in shards for d in drain(kinesis, name, s.which, 3)[0]}
    still_open = sorted((s for s in shards if s.is_open), key=lambda s: s.start)
    whole = sum(s.end - s.start + 1 for s in still_open) == TOP + 1
    return [len(data), len(still_open), whole]


@step("UpdateShardCount beyond twice the shards is refused", True)
def _(kinesis: Kinesis, name: str) -> bool:
    kinesis.create(name, 2)
    return code(lambda: kinesis.scale(name, 5)) != "accepted"


@step("ShardFilter AT_LATEST and AT_TRIM_HORIZON after a split", [[1, 2], [0]])
def _(kinesis: Kinesis, name: str) -> list[list[int]]:
    kinesis.create(name, 1)
    kinesis.split(name, 0, HALF)
    return [sorted(s.which for s in kinesis.shards(name, kind)) for kind in ("AT_LATEST", "AT_TRIM_HORIZON")]


@step("ListShards pages by token", 5)
def _(kinesis: Kinesis, name: str) -> int:
    kinesis.create(name, 5)
    return len({s.which for s in kinesis.shards(name, page_max=2)})


@step("OpenShardCount after a split", 2)
def _(kinesis: Kinesis, name: str) -> int:
    kinesis.create(name, 1)
    kinesis.split(name, 0, HALF)
    return kinesis.summary(name)[1]


@step("a consumer's name twice is refused", "ResourceInUseException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    kinesis.register(name, "app")
    return code(lambda: kinesis.register(name, "app"))


@step("a stream's name twice is refused", "ResourceInUseException")
def _(kinesis: Kinesis, name: str) -> str:
    kinesis.create(name, 1)
    return code(lambda: kinesis.create(name, 1))


@step("deleting an unknown stream is an error and nothing more", ["ResourceNotFoundException", "ACTIVE"])
def _(kinesis: Kinesis, name: str) -> list[str]:
    refused = code(lambda: kinesis.delete(name))
    kinesis.create(name, 1)
    until = kinesis.now() + 0.3
    while kinesis.now() < until:
        pass
    return [refused, code(lambda: kinesis.summary(name)).replace("accepted", "ACTIVE")]
