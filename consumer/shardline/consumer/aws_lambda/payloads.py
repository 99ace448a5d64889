"""From a record's bytes to the type a handler asks for, without importing what is not installed or not used.

Known: pydantic models, msgspec structs, dataclasses (from a JSON object whose names must be the fields), and any
callable that takes bytes. Nothing is imported to find out: each kind is told by an attribute of the class.
"""

from __future__ import annotations

from shardline.common.envelopes import as_dictionary
from shardline.common.errors import DecodeFailure, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["decoder_of", "dump_state", "load_state"]


def decoder_of(model: Any) -> Callable[[bytes], Any]:
    """Return bytes -> `model`; raise `InvalidInput` for what is neither a model nor a callable."""
    if hasattr(model, "model_validate_json"):
        decode: Callable[[bytes], Any] = model.model_validate_json
        return decode
    if hasattr(model, "__struct_fields__"):
        from msgspec.json import Decoder

        typed: Callable[[bytes], Any] = Decoder(model).decode
        return typed
    if isinstance(model, type) and hasattr(model, "__dataclass_fields__"):
        return _dataclass_decoder(model)
    if callable(model):
        called: Callable[[bytes], Any] = model
        return called
    raise InvalidInput("model", "a dataclass, a pydantic or msgspec model, or a callable that takes bytes")


def _dataclass_decoder(model: type[Any]) -> Callable[[bytes], Any]:
    from json import loads

    def decode(data: bytes) -> Any:
        fields = loads(data)
        if not isinstance(fields, dict):
            raise DecodeFailure(f"{model.__name__} needs a JSON object, got {type(fields).__name__}")
        return model(**fields)

    return decode


def load_state(kind: Any, state: Any) -> Any:
    """Return a window's state as `kind` (dict, dataclass, pydantic, msgspec); a first state is `kind()`."""
    if not state:
        return kind()
    if not isinstance(state, dict):
        raise InvalidInput("state", "an object", type(state).__name__)
    if hasattr(kind, "model_validate"):
        return kind.model_validate(state)
    if hasattr(kind, "__struct_fields__"):
        from msgspec import convert

        return convert(state, kind)
    return kind(**state)


def dump_state(state: Any) -> dict[str, Any]:
    """Return a window's state as the JSON object that Lambda keeps; raise `InvalidInput` for anything else."""
    if hasattr(state, "model_dump"):
        state = state.model_dump(mode="json")
    elif hasattr(state, "__struct_fields__"):
        from msgspec import to_builtins

        state = to_builtins(state)
    elif hasattr(state, "__dataclass_fields__"):
        from dataclasses import asdict

        state = asdict(state)
    kept = as_dictionary(state)
    if kept is None:
        raise InvalidInput("state", "a dict, dataclass, pydantic or msgspec model", type(state).__name__)
    return kept
