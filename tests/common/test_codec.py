"""Objects as payloads: what goes out comes back, headers say how, and failures never quote the payload."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import traceback
import zlib
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.common.aggregation import AggregateBuilder
from shardline.common.codec import Codec, Compression, Encoded, JsonCodec, decode, encode
from shardline.common.deaggregation import deaggregate
from shardline.common.errors import DecodeFailure, EncodeFailure, InvalidInput, ShardlineError
from shardline.common.models import decoder_of

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "canary-payload"
JSON = {"content-type": "application/json"}


class PydanticOrder(pydantic.BaseModel):
    """A model that validates."""

    id: int
    note: str = ""


class StructOrder(msgspec.Struct):
    """A msgspec struct."""

    id: int
    note: str = ""


@dataclass
class Line:
    """A part of an order."""

    sku: str


@dataclass
class DataOrder:
    """A dataclass that holds others, and itself."""

    id: int
    note: str = ""
    lines: list[Line] = field(default_factory=list)
    first: Line | None = None
    by_name: dict[str, Line] = field(default_factory=dict)
    before: DataOrder | None = None


class Reversed(Codec):
    """A user's own codec."""

    content_type = "text/reversed"

    def encode(self, value: Any, /) -> bytes:
        """Return text backwards."""
        return str(value)[::-1].encode()

    def decode(self, data: bytes, /) -> Any:
        """Return it forwards."""
        return int(data.decode()[::-1])


@pytest.mark.parametrize("kind", [PydanticOrder, StructOrder, DataOrder])
def test_models_come_back(kind: Callable[..., Any]) -> None:
    """Pydantic models, msgspec structs and dataclasses are recognised, out and in."""
    codec = JsonCodec(kind)
    put = encode(kind(id=7, note="ü"), codec)
    assert put.headers == JSON
    assert decode(put.data, codec, JSON) == kind(id=7, note="ü")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_plain_values_come_back(value: object) -> None:
    """Without a model, JSON values come back as they were."""
    codec = JsonCodec()
    assert decode(codec.encode(value), codec) == value


def test_dataclasses_within_dataclasses_are_built() -> None:
    """Lists, dictionaries, optional fields and classes that hold themselves."""
    order = DataOrder(1, "n", [Line("a")], Line("b"), {"c": Line("c")}, DataOrder(0))
    codec = JsonCodec(DataOrder)
    assert decode(encode(order, codec).data, codec) == order


def test_annotations_that_mean_nothing_at_run_time_are_passed_over() -> None:
    """A field whose type is imported for checkers only is taken as JSON gives it; the others are still built."""
    codec = JsonCodec(make_dataclass("Order", [("at", "datetime_of_nowhere"), ("line", Line)]))
    made = decode(b'{"at": "noon", "line": {"sku": "a"}}', codec)
    assert (made.at, made.line) == ("noon", Line("a"))


def test_models_within_plain_values_are_written() -> None:
    """A dictionary or list of models is JSON too."""
    assert JsonCodec().encode([DataOrder, PydanticOrder(id=1), StructOrder(2), Line("x")][1:]) == (
        b'[{"id":1,"note":""},{"id":2,"note":""},{"sku":"x"}]'
    )


@pytest.mark.parametrize("value", [b"raw", bytearray(b"raw"), memoryview(b"raw"), "raw"])
def test_bytes_and_text_pass_verbatim(value: object) -> None:
    """Bytes verbatim, text as UTF-8, neither with headers: no codec is needed to read them."""
    put = encode(value, JsonCodec(schema_id="s", compression=Compression(bytes_min=0)))
    assert put == Encoded(b"raw", None)
    assert type(put.data) is bytes


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression_is_announced_and_undone(encoding: str) -> None:
    """Compressed data carry `content-encoding`, and come back with headers or, by their own mark, without."""
    codec = JsonCodec(compression=Compression(encoding=encoding))
    put = encode(["x" * 100] * 100, codec)
    assert put.headers == {**JSON, "content-encoding": encoding}
    assert len(put.data) < 200
    assert decode(put.data, codec, put.headers) == decode(put.data, codec) == ["x" * 100] * 100
    assert decode(put.data, JsonCodec(), put.headers) == ["x" * 100] * 100
    assert decode(b'"plain"', codec) == "plain"


def test_compression_that_gains_nothing_is_left_out() -> None:
    """Short or incompressible data go as they are, and say so by having no `content-encoding`."""
    codec = JsonCodec(compression=Compression(bytes_min=10))
    assert encode("x" * 9, JsonCodec()).data == b"x" * 9
    for value in (1, [1, 2, 3, 4, 5, 67]):
        put = encode(value, codec)
        assert put.headers == JSON
        assert decode(put.data, codec, JSON) == value


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_bombs_stop_at_the_bound(pack: Callable[[bytes], bytes]) -> None:
    """A few kilobytes that claim 64 MiB are refused at the bound, by default 10 MiB."""
    encoding = "gzip" if pack is gzip.compress else "deflate"
    bomb = pack(bytes(64 * 2**20))
    with pytest.raises(DecodeFailure, match="hold more than 10485760 bytes"):
        decode(bomb, JsonCodec(), {"content-encoding": encoding})
    exact = JsonCodec(compression=Compression(encoding=encoding, decoded_bytes_max=100))
    assert decode(pack(b'"' + b"x" * 98 + b'"'), exact) == "x" * 98
    with pytest.raises(DecodeFailure, match="hold more than 100 bytes"):
        decode(pack(b'"' + b"x" * 99 + b'"'), exact)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"not gzip", "gzip"),
        (gzip.compress(b"1", mtime=0)[:-1], "gzip"),
        (gzip.compress(b"1", mtime=0) * 2, "gzip"),
        (zlib.compress(b"1") + b"!", "deflate"),
        (b"", "gzip"),
        (b"1", "br"),
    ],
)
def test_broken_compression_is_a_decode_failure(data: bytes, encoding: str) -> None:
    """Other bytes, cut or doubled streams and unknown encodings are refused."""
    with pytest.raises(DecodeFailure):
        decode(data, JsonCodec(), {"content-encoding": encoding})
    assert decode(b"1", JsonCodec(), {"content-encoding": "identity"}) == 1


def test_headers_that_contradict_the_codec_are_refused() -> None:
    """Another content type or schema id is a failure; parameters of a content type are not looked at."""
    codec = JsonCodec(schema_id="orders-2")
    put = encode({}, codec)
    assert put.headers == {**JSON, "schema-id": "orders-2"}
    assert decode(put.data, codec, {"content-type": "Application/JSON; charset=utf-8"}) == {}
    assert decode(put.data, JsonCodec(), put.headers) == {}
    for headers in ({"content-type": "text/plain"}, {"schema-id": "orders-1"}):
        with pytest.raises(DecodeFailure, match=next(iter(headers))):
            decode(put.data, codec, headers)


def test_headers_travel_in_the_aggregate() -> None:
    """What `encode` gives is what a builder takes and a user record brings back."""
    codec = JsonCodec(DataOrder, compression=Compression(bytes_min=0))
    put = encode(DataOrder(1, "x" * 500), codec)
    builder = AggregateBuilder()
    assert builder.try_append("k", put.data, None, put.headers)
    (record,) = deaggregate(builder.seal().data, "a")
    assert decode(record.data, codec, record.headers) == DataOrder(1, "x" * 500)


def test_a_codec_of_the_users_own() -> None:
    """Any object with the members is a codec; its errors arrive as ours."""
    put = encode(123, Reversed())
    assert put == Encoded(b"321", {"content-type": "text/reversed"})
    assert decode(put.data, Reversed()) == 123
    failure = failure_of(lambda: decode(CANARY.encode(), Reversed()))
    assert isinstance(failure, DecodeFailure)


@pytest.mark.parametrize(
    "call",
    [
        lambda: decode(f'{{"id": "{CANARY}"}}'.encode(), JsonCodec(PydanticOrder)),
        lambda: decode(f'{{"id": "{CANARY}"}}'.encode(), JsonCodec(StructOrder)),
        lambda: decode(f'{{"{CANARY}": 1}}'.encode(), JsonCodec(DataOrder)),
        lambda: decode(f'"{CANARY}"'.encode(), JsonCodec(DataOrder)),
        lambda: decode(f'{{"id": 1, "lines": ["{CANARY}"]}}'.encode(), JsonCodec(DataOrder)),
        lambda: decode(CANARY.encode(), JsonCodec()),
        lambda: decode(CANARY.encode() + b"\xff", JsonCodec()),
        lambda: decode(b"[NaN]", JsonCodec()),
        lambda: decode(b"[" * 100_000, JsonCodec()),
        lambda: decode(b"9" * 100_000, JsonCodec()),
        lambda: decode(CANARY.encode(), JsonCodec(int)),
        lambda: encode(object(), JsonCodec()),
        lambda: encode({"x": {CANARY}}, JsonCodec()),
        lambda: encode([float("nan"), CANARY], JsonCodec()),
        lambda: encode(["\ud800" + CANARY], JsonCodec()),
        lambda: encode("\ud800" + CANARY, JsonCodec()),
        lambda: encode(DataOrder, JsonCodec()),
    ],
)
def test_failures_are_typed_and_quote_nothing(call: Callable[[], object]) -> None:
    """Whatever fails, the error is ours, and neither it nor its trace back holds content."""
    failure = failure_of(call)
    assert isinstance(failure, DecodeFailure | EncodeFailure)
    shown = "".join(traceback.format_exception_only(failure)) + repr(failure.__cause__)
    assert CANARY not in shown
    assert failure.__suppress_context__ or failure.__context__ is None


def failure_of(call: Callable[[], object]) -> ShardlineError:
    """Return the error of ours that a call raises."""
    with pytest.raises(ShardlineError) as caught:
        call()
    return caught.value


def test_positions_are_shown() -> None:
    """A syntax error says where, so that it can be found without printing the payload."""
    with pytest.raises(DecodeFailure, match="9 bytes are no JSON: JSONDecodeError at character 5"):
        decode(b'{"a":x  }', JsonCodec(), JSON)


def test_what_is_no_model_is_refused() -> None:
    """Models and compressions are checked where they are named."""
    with pytest.raises(InvalidInput, match="model"):
        decoder_of(42)
    for name, value in (("encoding", "br"), ("level", 0), ("level", 10), ("bytes_min", -1), ("decoded_bytes_max", 0)):
        with pytest.raises(InvalidInput, match=name):
            Compression(**{name: value})  # type: ignore[arg-type]  # Of several types on purpose.


def test_reprs_show_no_content() -> None:
    """An encoded value shows lengths, a codec its settings."""
    assert repr(encode({"x": CANARY}, JsonCodec())) == "Encoded(22 bytes, 1 headers)"
    assert repr(JsonCodec(DataOrder)) == "JsonCodec(DataOrder, schema_id=None, compression=None)"


def test_libraries_are_imported_only_for_their_own_models() -> None:
    """A dataclass or a plain value needs neither pydantic nor msgspec."""
    code = (
        "import sys; from dataclasses import make_dataclass; from shardline.common.codec import *\n"
        "codec = JsonCodec(make_dataclass('D', ['x'])); decode(encode({'x': 1}, codec).data, codec)\n"
        "sys.exit('pydantic' in sys.modules or 'msgspec' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [PydanticOrder, StructOrder, DataOrder])
def test_a_codec_can_go_to_another_process(kind: Callable[..., Any]) -> None:
    """Pickled and back, a codec has its model, schema id and compression, and decodes as before."""
    codec = JsonCodec(kind, schema_id="order-1", compression=Compression())
    again = pickle.loads(pickle.dumps(codec))
    assert repr(again) == repr(codec)
    encoded = encode(kind(id=7, note="n"), again)
    assert decode(encoded.data, again, encoded.headers) == kind(id=7, note="n")
