"""The types a handler asks for: of payloads (`shardline.common.models`) and of a window's state.

Nothing is imported to find out what a type is: each kind is told by an attribute of the class.
"""

from __future__ import annotations

from importlib import import_module

from shardline.common.envelopes import as_dictionary
from shardline.common.errors import InvalidInput
from shardline.common.models import decoder_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["decoder_of", "dump_state", "load_state"]


def load_state(kind: Any, state: Any) -> Any:
    """Return a window's state as `kind` (dict, dataclass, pydantic, msgspec); a first state is `kind()`."""
    if not state:
        return kind()
    if not isinstance(state, dict):
        raise InvalidInput("state", "an object", type(state).__name__)
    if hasattr(kind, "model_validate"):
        return kind.model_validate(state)
    if hasattr(kind, "__struct_fields__"):
        return import_module("msgspec").convert(state, kind)
    return kind(**state)


def dump_state(state: Any) -> dict[str, Any]:
    """Return a window's state as the JSON object that Lambda keeps; raise `InvalidInput` for anything else."""
    if hasattr(state, "model_dump"):
        state = state.model_dump(mode="json")
    elif hasattr(state, "__struct_fields__"):
        state = import_module("msgspec").to_builtins(state)
    elif hasattr(state, "__dataclass_fields__"):
        from dataclasses import asdict

        state = asdict(state)
    kept = as_dictionary(state)
    if kept is None:
        raise InvalidInput("state", "a dict, dataclass, pydantic or msgspec model", type(state).__name__)
    return kept
