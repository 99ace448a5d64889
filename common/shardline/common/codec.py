"""Objects as payloads: one `Codec` for producer, worker and Lambda, and what travels beside the payload.

`encode` turns a caller's value into data and headers, `decode` turns a record's data and headers into a model. Bytes
pass verbatim and text as UTF-8, without headers: such records need no codec to be read. Objects go through the codec
and carry

    content-type      the codec's, e.g. ``application/json``
    content-encoding  ``gzip`` or ``deflate``, where compression made the data smaller
    schema-id         the codec's, if it has one

in the aggregate's tags (`record.headers`); consumers that do not know tags (the KCL, Firehose) see the data alone.

Invariants: decompression stops at a bound (`Compression.decoded_bytes_max`), whatever the data claim; what a header
says is checked, never trusted; errors name types, lengths and positions, never content.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from shardline.common.errors import DecodeFailure, EncodeFailure, InvalidInput
from shardline.common.limits import RECORD_BYTES_MAX
from shardline.common.models import decoder_of, encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CONTENT_ENCODING",
    "CONTENT_TYPE",
    "SCHEMA_ID",
    "Codec",
    "Compression",
    "Encoded",
    "JsonCodec",
    "decode",
    "encode",
]

CONTENT_TYPE = "content-type"
CONTENT_ENCODING = "content-encoding"
SCHEMA_ID = "schema-id"

_NO_HEADERS: Mapping[str, str] = {}
_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # zlib's `wbits`: deflate is the zlib format, as in HTTP.
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZLIB_METHOD = 8  # In the low four bits of the first byte; the first two bytes are a multiple of 31.
_IDENTITY = "identity"
_LEVEL_MAX = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How a codec compresses: from `bytes_min` on, and only where it makes the data smaller.

    `encoding` is ``gzip`` or ``deflate``, `level` zlib's 1 (fast) to 9; `decoded_bytes_max` bounds what decompressing
    may give (10 MiB, the largest Kinesis record, unless a producer is known to compress more). Raises `InvalidInput`
    for a value out of range.
    """

    encoding: str = "gzip"
    level: int = 6
    bytes_min: int = 256
    decoded_bytes_max: int = RECORD_BYTES_MAX

    def __post_init__(self) -> None:
        if self.encoding not in _WINDOW_BITS:
            raise InvalidInput("encoding", " or ".join(_WINDOW_BITS))
        if not 1 <= self.level <= _LEVEL_MAX:
            raise InvalidInput("level", f"1 to {_LEVEL_MAX}", str(self.level))
        if self.bytes_min < 0:
            raise InvalidInput("bytes_min", "0 or more", str(self.bytes_min))
        if self.decoded_bytes_max < 1:
            raise InvalidInput("decoded_bytes_max", "1 or more", str(self.decoded_bytes_max))


class Codec(Protocol):
    """Turns objects into bytes and bytes into a model. Inherit from it for the defaults, or just have its members.

    `encode` and `decode` may raise anything: callers get `EncodeFailure` and `DecodeFailure`, without the original
    error's text. They are called on the event loop: they must not block.
    """

    content_type: str = "application/octet-stream"
    schema_id: str | None = None
    compression: Compression | None = None

    def encode(self, value: Any, /) -> bytes:
        """Return an object as bytes."""
        ...

    def decode(self, data: bytes, /) -> Any:
        """Return the object that bytes stand for."""
        ...


class JsonCodec(Codec):
    """JSON: pydantic models, msgspec structs, dataclasses and plain values out; `model` in (None: plain values).

    Raises `InvalidInput` for a `model` that is no model.
    """

    content_type = "application/json"

    def __init__(
        self, model: Any = None, *, schema_id: str | None = None, compression: Compression | None = None
    ) -> None:
        self.schema_id = schema_id
        self.compression = compression
        self._model = model
        self._name = getattr(model, "__name__", type(model).__name__)
        self._decode: Callable[[bytes], Any] = decoder_of(model)

    def encode(self, value: Any, /) -> bytes:
        """Return compact JSON in UTF-8; raise `EncodeFailure`."""
        return encode_json(value)

    def decode(self, data: bytes, /) -> Any:
        """Return an instance of the model; raise `DecodeFailure`."""
        return self._decode(data)

    def __reduce__(self) -> tuple[Callable[..., JsonCodec], tuple[object, ...]]:
        # What the codec was made of goes to another process; what decodes is made anew there.
        return _json_codec, (self._model, self.schema_id, self.compression)

    def __repr__(self) -> str:
        return f"JsonCodec({self._name}, schema_id={self.schema_id!r}, compression={self.compression!r})"


def _json_codec(model: object, schema_id: str | None, compression: Compression | None) -> JsonCodec:
    return JsonCodec(model, schema_id=schema_id, compression=compression)


class Encoded(NamedTuple):
    """What to put: the data, and the headers that say how to read them (None for bytes and text)."""

    data: bytes
    headers: dict[str, str] | None

    def __repr__(self) -> str:
        return f"Encoded({len(self.data)} bytes, {len(self.headers or _NO_HEADERS)} headers)"


def encode(value: Any, codec: Codec) -> Encoded:
    """Return a value as data and headers; raise `EncodeFailure` if the codec cannot.

    Bytes, bytearrays and memoryviews are taken verbatim (the latter two copied), text as UTF-8, all without headers.
    """
    if isinstance(value, bytes | bytearray):
        return Encoded(bytes(value), None)
    if isinstance(value, memoryview):
        return Encoded(value.tobytes(), None)
    if isinstance(value, str):
        return Encoded(_utf8(value), None)
    try:
        data = codec.encode(value)
    except EncodeFailure:
        raise
    except Exception as error:  # noqa: BLE001 - a codec may raise anything; its text may quote the value.
        raise EncodeFailure(f"{type(value).__name__}: {type(error).__name__}") from None
    headers = {CONTENT_TYPE: codec.content_type}
    compression = codec.compression
    if compression is not None and len(data) >= compression.bytes_min:
        small = _compressed(data, compression)
        if len(small) < len(data):
            data, headers[CONTENT_ENCODING] = small, compression.encoding
    if codec.schema_id is not None:
        headers[SCHEMA_ID] = codec.schema_id
    return Encoded(data, headers)


def decode(data: bytes, codec: Codec, headers: Mapping[str, str] | None = None) -> Any:
    """Return what a record holds as the codec's model; raise `DecodeFailure`.

    A header that contradicts the codec (content type, schema id of a codec that has one) is a failure. Data without
    headers that the codec's own compression would have produced are decompressed: tags do not survive every road.
    """
    headers = headers or _NO_HEADERS
    _check_headers(headers, codec)
    encoding = headers.get(CONTENT_ENCODING) or _guessed_encoding(data, codec, headers)
    if encoding not in {None, _IDENTITY}:
        bound = (codec.compression or Compression()).decoded_bytes_max
        data = _decompressed(data, encoding or _IDENTITY, bound)
    try:
        return codec.decode(data)
    except DecodeFailure:
        raise
    except Exception as error:  # noqa: BLE001 - a codec may raise anything; its text may quote the payload.
        raise DecodeFailure(f"{len(data)} bytes: {type(error).__name__}") from None


def _check_headers(headers: Mapping[str, str], codec: Codec) -> None:
    """Raise `DecodeFailure` where headers say that the data are not the codec's."""
    content_type = headers.get(CONTENT_TYPE)
    if content_type is not None and _essence(content_type) != _essence(codec.content_type):
        raise DecodeFailure(f"{CONTENT_TYPE} is not {codec.content_type}")
    schema_id = headers.get(SCHEMA_ID)
    if schema_id is not None and codec.schema_id is not None and schema_id != codec.schema_id:
        raise DecodeFailure(f"{SCHEMA_ID} is not {codec.schema_id}")


def _essence(content_type: str) -> str:
    """Return a content type without parameters (``; charset=utf-8``)."""
    return content_type.partition(";")[0].strip().lower()


def _guessed_encoding(data: bytes, codec: Codec, headers: Mapping[str, str]) -> str | None:
    """Return the encoding of data that lost their headers, as far as the codec's own compression marks its output."""
    if codec.compression is None or CONTENT_TYPE in headers:
        return None
    encoding = codec.compression.encoding
    if encoding == "gzip":
        return encoding if data.startswith(_GZIP_MAGIC) else None
    marked = len(data) > 1 and data[0] & 15 == _ZLIB_METHOD and int.from_bytes(data[:2], "big") % 31 == 0
    return encoding if marked else None


def _compressed(data: bytes, compression: Compression) -> bytes:
    work = zlib.compressobj(compression.level, wbits=_WINDOW_BITS[compression.encoding])
    return work.compress(data) + work.flush()


def _decompressed(data: bytes, encoding: str, bytes_max: int) -> bytes:
    """Return the one stream that `data` hold, at most `bytes_max` of it; raise `DecodeFailure` for anything else."""
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise DecodeFailure(f"{CONTENT_ENCODING} is not " + " or ".join(_WINDOW_BITS))
    work = zlib.decompressobj(wbits=bits)
    try:
        content = work.decompress(data, bytes_max + 1)
    except zlib.error:
        raise DecodeFailure(f"{len(data)} bytes are no {encoding}") from None
    if len(content) > bytes_max:
        raise DecodeFailure(f"{len(data)} bytes of {encoding} hold more than {bytes_max} bytes")
    if not work.eof or work.unused_data:
        raise DecodeFailure(f"{len(data)} bytes of {encoding} end early or late")
    return content


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # Not the error's own text: it quotes the value.
        raise EncodeFailure(f"text with a surrogate at position {error.start}") from None
