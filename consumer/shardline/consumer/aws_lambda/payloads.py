"""From a record to the payload that a handler asks for, and a window's state from and to what Lambda keeps.

The models are those of producer and worker (`shardline.common.models`), or a whole `Codec`, which also reads the
headers of an aggregate's records (content type, compression). Invariant: no library is imported that a handler
does not use.
"""

from __future__ import annotations

from shardline.common.envelopes import as_dictionary
from shardline.common.errors import InvalidInput
from shardline.common.models import decoder_of, encode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from shardline.consumer.aws_lambda.records import Record

__all__ = ["STATE_BYTES_MAX", "dump_state", "load_state", "payload_of"]

STATE_BYTES_MAX = 1_000_000
"""Lambda Developer Guide, "Tumbling windows": the state can be 1 MB per shard; beyond it the window ends early."""


def payload_of(model: Any) -> Callable[[Record], Any]:
    """Return record -> payload for a model or a `Codec`; raise `InvalidInput` for neither."""
    if hasattr(model, "content_type") and hasattr(model, "decode") and not isinstance(model, type):
        from shardline.common.codec import decode as decode_by

        return lambda record: decode_by(record.data, model, record.headers)
    decode = decoder_of(model)
    return lambda record: decode(record.data)


def load_state(kind: Any, state: Any) -> Any:
    """Return a window's state as `kind` (dict, dataclass, pydantic, msgspec); a first state is `kind()`.

    Raises `InvalidInput` where Lambda's state is no object, `DecodeFailure` where it is no `kind`.
    """
    if not state:
        return kind()
    kept = as_dictionary(state)
    if kept is None:
        raise InvalidInput("state", "an object", type(state).__name__)
    return kept if kind is dict else decoder_of(kind)(encode_json(kept))


def dump_state(state: Any) -> dict[str, Any]:
    """Return a window's state as the object that Lambda keeps.

    Raises `InvalidInput` where it is no object or above 1 MB, `EncodeFailure` where JSON cannot hold it.
    """
    text = encode_json(state)
    if len(text) > STATE_BYTES_MAX:
        raise InvalidInput("state", f"at most {STATE_BYTES_MAX} bytes of JSON", f"{len(text)} bytes")
    from json import loads

    kept = as_dictionary(loads(text))
    if kept is None:
        raise InvalidInput("state", "a dict, dataclass, pydantic or msgspec model", type(state).__name__)
    return kept
