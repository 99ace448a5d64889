"""Objects put through the stream's codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shardline.common.codec import Compression, JsonCodec, decode
from shardline.common.errors import EncodeFailure, InvalidInput
from shardline.producer.config import StreamSettings
from shardline.producer.outcome import Delivered

from tests.producer.producer_world import World

if TYPE_CHECKING:
    from shardline.producer.producer import Producer


@pytest.mark.parametrize("aggregation", [True, False])
def test_objects_are_encoded_and_say_how(aggregation: bool) -> None:
    """Objects travel as the codec's bytes with its headers; bytes and text stay as they are."""
    world = World()
    codec = JsonCodec(schema_id="order-1", compression=Compression(bytes_min=64))

    async def main(producer: Producer) -> None:
        for one in ({"n": 1}, b"raw", "text", {"pad": "x" * 500}):
            assert isinstance(await producer.send_and_wait(one, "k", headers={"mine": "1"}), Delivered)
        with pytest.raises(EncodeFailure):
            await producer.put(object(), "k")

    world.run_with(main, StreamSettings(linger_s=0.01, codec=codec, aggregation=aggregation))
    first, raw, text, large = world.stored
    assert (first.data, raw.data, text.data) == (b'{"n":1}', b"raw", b"text")
    assert first.headers == {"content-type": "application/json", "schema-id": "order-1", "mine": "1"}
    assert raw.headers == text.headers == {"mine": "1"}
    assert large.headers["content-encoding"] == "gzip"
    assert decode(large.data, codec, large.headers) == {"pad": "x" * 500}


@pytest.mark.parametrize(("data", "error"), [(object(), EncodeFailure), ({1, 2}, EncodeFailure), (None, InvalidInput)])
def test_what_the_default_codec_cannot_say_is_refused(data: object, error: type[Exception]) -> None:
    """Without a codec objects are JSON; nothing is pickled or stringified behind the caller's back."""
    world = World()

    async def main(producer: Producer) -> None:
        with pytest.raises(error):
            await producer.put(data, "k")

    world.run_with(main)
    assert world.data() == []
