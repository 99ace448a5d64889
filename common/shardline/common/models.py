"""Between JSON and the types users name: pydantic models, msgspec structs, dataclasses, plain values, any callable.

Nothing is imported to find out what a type is: each kind is told by an attribute of the class. What must be imported
(json, msgspec, typing) is imported when the first such type is seen, so that a Lambda pays for what it uses.

Failures are `EncodeFailure` and `DecodeFailure` with the type's name and a position at most; the library's own error is
not chained, because its text quotes the payload.
"""

from __future__ import annotations

from importlib import import_module

from shardline.common.errors import DecodeFailure, EncodeFailure, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["decoder_of", "encode_json"]


def decoder_of(model: Any) -> Callable[[bytes], Any]:
    """Return bytes -> `model`; None stands for whatever the JSON holds.

    A dataclass takes a JSON object whose names are its fields; dataclasses within it, also in lists, dictionaries and
    optional fields, are built too (where the annotation can be read at run time), other values are taken as JSON gives
    them (pydantic and msgspec check them). A callable gets the bytes, and its errors pass through. Raises
    `InvalidInput` for what is neither.
    """
    if model is None:
        return _guarded(_json_reader(), "JSON")
    if hasattr(model, "model_validate_json"):
        return _guarded(model.model_validate_json, model.__name__)
    if hasattr(model, "__struct_fields__"):
        return _guarded(import_module("msgspec.json").Decoder(model).decode, model.__name__)
    if _is_dataclass_type(model):
        read, build = _json_reader(), _Builder().of(model)
        return _guarded(lambda data: build(read(data)), model.__name__)
    if callable(model):
        called: Callable[[bytes], Any] = model
        return called
    raise InvalidInput("model", "a dataclass, a pydantic or msgspec model, or a callable that takes bytes")


def _guarded(decode: Callable[[bytes], Any], name: str) -> Callable[[bytes], Any]:
    """Return `decode` with every error of it turned into `DecodeFailure`."""

    def guarded(data: bytes) -> Any:
        try:
            return decode(data)
        except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever a model's validators raise.
            at = getattr(error, "pos", None)
            where = "" if at is None else f" at character {at}"
            # `from None`: the library's text quotes the payload.
            raise DecodeFailure(f"{len(data)} bytes are no {name}: {_kind_of(error)}{where}") from None

    return guarded


def _kind_of(error: Exception) -> str:
    """Return what of an error may be shown: ours say no payload, of others only the name."""
    return str(error) if isinstance(error, _Mismatch) else type(error).__name__


class _Mismatch(Exception):
    """JSON of another shape than the dataclass; the message names fields of the class, never content."""


def _json_reader() -> Callable[[bytes], Any]:
    """Return a reader of strict JSON in UTF-8: NaN and Infinity, which are none, are refused."""

    def refuse(_: str) -> Any:
        raise _Mismatch("NaN or Infinity")

    read: Callable[[str], Any] = import_module("json").JSONDecoder(parse_constant=refuse).decode
    return lambda data: read(data.decode())


def _is_dataclass_type(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")


class _Builder:
    """From JSON values to dataclasses, by the types of their fields; each class is looked at once."""

    def __init__(self) -> None:
        self._typing = import_module("typing")
        self._fields: dict[Any, dict[str, Callable[[Any], Any]]] = {}

    def of(self, kind: Any) -> Callable[[Any], Any]:
        """Return value -> an instance of `kind`; values of other types stay as they are."""
        if _is_dataclass_type(kind):
            self._learn(kind)
            return lambda value: self._made(kind, value)
        origin, arguments = self._typing.get_origin(kind), self._typing.get_args(kind)
        if origin is list and arguments:
            item = self.of(arguments[0])
            return lambda value: list(map(item, value)) if _is(list, value) else value
        if origin is dict and arguments:
            entry = self.of(arguments[1])
            return lambda value: {k: entry(v) for k, v in value.items()} if _is(dict, value) else value
        others = [each for each in arguments if each is not type(None)]
        if len(arguments) == len(others) + 1 and len(others) == 1:
            inner = self.of(others[0])
            return lambda value: None if value is None else inner(value)
        return lambda value: value

    def _learn(self, kind: Any) -> None:
        if kind not in self._fields:
            self._fields[kind] = {}  # First, for classes that hold themselves.
            self._fields[kind].update((name, self.of(self._hint(kind, name))) for name in kind.__dataclass_fields__)

    def _hint(self, kind: Any, name: str) -> Any:
        """Return the type of one field, None where its name means nothing at run time (`if TYPE_CHECKING` imports)."""
        alone = {"__module__": kind.__module__, "__annotations__": {name: kind.__dataclass_fields__[name].type}}
        try:
            return self._typing.get_type_hints(type(kind.__name__, (), alone))[name]
        except (NameError, TypeError, AttributeError):
            return None

    def _made(self, kind: Any, value: Any) -> Any:
        if not _is(dict, value):
            raise _Mismatch(f"{kind.__name__} needs an object, got {type(value).__name__}")
        fields = self._fields[kind]
        if not fields.keys() >= value.keys():
            raise _Mismatch(f"{kind.__name__} has no field of some name given")
        return kind(**{name: fields[name](inner) for name, inner in value.items()})


def encode_json(value: Any) -> bytes:
    """Return a model's instance or a plain value as compact JSON in UTF-8; raise `EncodeFailure` for anything else."""
    try:
        if _has(value, "__struct_fields__"):
            return bytes(import_module("msgspec.json").encode(value))
        return str(value.model_dump_json() if _has(value, "model_dump_json") else _dumps(value)).encode()
    except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever a model's serializers raise.
        # `from None`: the library's text may quote the value.
        raise EncodeFailure(f"{type(value).__name__} is no JSON: {type(error).__name__}") from None


def _has(value: Any, attribute: str) -> bool:
    """Say whether `value` is an instance (not a class) that has the attribute."""
    return hasattr(value, attribute) and not isinstance(value, type)


def _is(kind: type, value: Any) -> bool:
    """`isinstance`, without narrowing Any to a container of unknown."""
    return isinstance(value, kind)


def _dumps(value: Any) -> str:
    dumped: str = import_module("json").dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
    )
    return dumped


def _plain(value: Any) -> Any:
    """Return a model's instance within a plain value as what JSON knows; raise `TypeError` for other objects."""
    if _has(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if _has(value, "model_dump"):
        return value.model_dump(mode="json")
    if _has(value, "__struct_fields__"):
        return import_module("msgspec").to_builtins(value)
    raise TypeError(type(value).__name__)
