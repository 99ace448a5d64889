"""The blocking producer: the same engine on a thread, any number of callers, the same truths."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING

import pytest

from shardline.common.deaggregation import deaggregate
from shardline.common.errors import BufferFull, Closed, InvalidInput, NotFound
from shardline.local.doors.services import LocalServices
from shardline.producer import Delivered, StreamSettings
from shardline.producer import producer as asynchronous
from shardline.producer.blocking import Producer
from shardline.producer.blocking import StreamProducer as BlockingStreamProducer
from shardline.producer.stream import StreamProducer

if TYPE_CHECKING:
    from shardline.producer import Outcome

FAST = StreamSettings(linger_s=0.005)


def services(shards: int = 2) -> LocalServices:
    """Return an in-process stream named orders."""
    made = LocalServices()
    made.state.create_stream("orders", shards, now=made.clock())
    return made


def stored(made: LocalServices) -> list[bytes]:
    """Return the data of every record in the stream, by shard."""
    logs = made.state.streams["orders"].shards.values()
    records = [record for log in logs for record in log.read(0, 10**9, 2**60)[0]]
    return [user.data for record in records for user in deaggregate(record.data, record.partition_key)]


def test_put_and_wait() -> None:
    """A record put is in the stream when its delivery says so; results per record and callbacks work too."""
    made = services()
    seen: list[Outcome] = []
    with Producer("orders", FAST, connection=made) as producer:
        assert isinstance(producer.put(b"1", "k", callback=seen.append).result(10), Delivered)
        assert producer.send_and_wait("2", "k", timeout_s=10).sequence_number
        assert producer.put_nowait({"n": 3}, "k").result(10)
        assert producer.flush(10).ok
        assert producer.pending_records == 0
    assert sorted(stored(made)) == [b"1", b"2", b'{"n":3}']
    assert len(seen) == 1


def test_many_threads_put() -> None:
    """Eight threads at once: every record arrives once."""
    made = services(4)
    with Producer("orders", FAST, connection=made) as producer:

        def put(thread: int) -> None:
            for number in range(2000):
                producer.put(b"%d-%d" % (thread, number), f"key-{number % 50}")

        threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(stored(made)) == sorted(b"%d-%d" % (t, n) for t in range(8) for n in range(2000))


def test_full_buffer_blocks_and_times_out() -> None:
    """A full buffer blocks a put until there is room, at most for its time-out."""
    made = services()
    settings = replace(FAST, buffer_records_max=2, linger_s=5.0)
    with Producer("orders", settings, connection=made) as producer:
        producer.put(b"1", "k")
        producer.put(b"2", "k")
        with pytest.raises(BufferFull):
            producer.put(b"3", "k", timeout_s=0.05)
        waiting = threading.Thread(target=producer.put, args=(b"4", "k"))
        waiting.start()
        producer.flush()
        waiting.join()
    assert sorted(stored(made)) == [b"1", b"2", b"4"]


def test_put_many_in_order() -> None:
    """Outcomes come in the order of the input."""
    made = services()
    with Producer("orders", FAST, connection=made) as producer:
        outcomes = list(producer.put_many([b"%d" % n for n in range(100)], repr, window=16))
    assert all(isinstance(one, Delivered) for one in outcomes)
    assert len(stored(made)) == 100


def test_many_streams_on_one_connection() -> None:
    """The long form opens streams as they are asked for."""
    made = services()
    made.state.create_stream("other", 1, now=made.clock())
    with Producer(made) as producer:
        producer.stream("orders", FAST).put(b"a", "k")
        producer.stream("other", FAST).put(b"b", "k")
        with pytest.raises(InvalidInput, match="settings"):
            producer.stream("other", replace(FAST, linger_s=1.0))
        with pytest.raises(Closed):
            producer.put(b"c", "k")
    assert stored(made) == [b"a"]


def test_missing_stream_and_closed_producer() -> None:
    """A stream that is not there is told at opening; a closed producer refuses."""
    with pytest.raises(NotFound), Producer("missing", FAST, connection=services()):
        pass
    with Producer("orders", FAST, connection=services()) as producer:
        stream = producer.stream("orders", FAST)
    with pytest.raises(Closed):
        producer.put(b"x", "k")
    with pytest.raises(Closed):
        stream.put(b"x", "k")


def test_forked_child_is_refused() -> None:
    """A child process gets a typed error from the parent's producer at once, also where a lock was held."""
    with Producer("orders", FAST, connection=services()) as producer:
        producer.put(b"parent", "k")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                producer.put(b"child", "k")
            except Closed:
                os.write(writer, b"closed")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 10) == b"closed"


@pytest.mark.parametrize("name", ["put", "put_nowait", "send", "send_and_wait", "put_many", "flush", "release"])
def test_both_front_doors_take_the_same_arguments(name: str) -> None:
    """A call that works with asyncio works without: the same parameters in the same places, `timeout_s` aside."""
    for awaited, blocking in ((asynchronous.Producer, Producer), (StreamProducer, BlockingStreamProducer)):
        here, there = (
            [(one.name, one.kind, one.default) for one in signature(getattr(kind, name)).parameters.values()]
            for kind in (awaited, blocking)
        )
        assert here == [one for one in there if one[0] != "timeout_s" or name == "flush"]
