"""Settings from text: the environment, and the `.properties` files of KCL, KCLPy and KPL, into frozen dataclasses.

The dataclasses are the caller's and check their own ranges; here text becomes values of the fields' types. A table of
`Key`s says which external name means which field; without one the fields' own names are the keys. Pure: the caller
reads the environment and the file.

Invariants: a key that is not known is refused, by name, with the nearest known ones (a setting that silently does
nothing is a setting that loses data); keys that are known and have no meaning here are named in `Loaded.ignored`;
messages name keys and ranges, never values (a value may be a password).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from inspect import get_annotations
from math import isfinite
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from shardline.common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Key",
    "Loaded",
    "UnknownSetting",
    "from_environment",
    "load",
    "millis_as_s",
    "parse_properties",
]

S = TypeVar("S")
ENVIRONMENT_PREFIX = "SHARDLINE_"
_KNOWN_SHOWN_MAX = 40


class UnknownSetting(InvalidInput):
    """A key that no setting has; `key` is it, `near` the known keys that resemble it."""

    def __init__(self, key: str, known: tuple[str, ...], source: str) -> None:
        self.key = key
        self.near = tuple(get_close_matches(key, known, n=3, cutoff=0.6))
        shown = ", ".join(self.near or known[:_KNOWN_SHOWN_MAX]) or "none"
        what = "did you mean" if self.near else "known are"
        more = "" if self.near or len(known) <= _KNOWN_SHOWN_MAX else ", ..."
        super().__init__(f"{source}: {key}", f"a known setting ({what} {shown}{more})")


@dataclass(frozen=True, slots=True)
class Key:
    """What an external key means: a field (``retry.first_s`` for one of a group), read by `convert` or by its type.

    `field` None stands for a key that is known and has no meaning here; `note` says why, for documentation.
    """

    field: str | None
    convert: Callable[[str], object] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """The settings, and the keys that were given, known and left without effect."""

    settings: S
    ignored: tuple[str, ...] = ()


def from_environment(environ: Mapping[str, str], prefix: str = ENVIRONMENT_PREFIX) -> dict[str, str]:
    """Return an environment's settings: ``SHARDLINE_LINGER_S`` as ``linger_s``, ``A__B`` as ``a.b`` (a group's)."""
    return {
        name.removeprefix(prefix).lower().replace("__", "."): value
        for name, value in environ.items()
        if name.startswith(prefix) and len(name) > len(prefix)
    }


def load(
    cls: type[S],
    values: Mapping[str, str],
    keys: Mapping[str, Key] | None = None,
    *,
    source: str = "settings",
    given: Mapping[str, object] | None = None,
) -> Loaded[S]:
    """Return an instance of the dataclass `cls` made from `values`, on top of the already typed fields `given`.

    `source` names where the values are from in errors. Raises `UnknownSetting` for a key that neither `keys` nor (where
    that is None) the fields know, and `InvalidInput` naming the external key for a value that does not fit.
    """
    table = own_keys(cls) if keys is None else keys
    arguments: dict[str, Any] = dict(given or {})
    names: dict[str, str] = {}
    ignored: list[str] = []
    for name, text in values.items():
        key = table.get(name)
        if key is None:
            raise UnknownSetting(name, tuple(sorted(table)), source)
        if key.field is None:
            ignored.append(name)
            continue
        if key.field in names:
            raise InvalidInput(f"{source}: {name}", f"given once: {names[key.field]} means the same")
        names[key.field] = name
        _put(arguments, key.field, _converted(cls, key, name, text, source))
    try:
        return Loaded(_made(cls, arguments), tuple(ignored))
    except InvalidInput as error:
        # The dataclass speaks of its fields, the user of his keys.
        said = [external for field, external in names.items() if field.rpartition(".")[2] == error.field]
        raise InvalidInput(f"{source}: {said[0] if said else error.field}", error.allowed) from error


def own_keys(cls: type) -> dict[str, Key]:
    """Return a dataclass's own field names as keys, groups' fields with a dot."""
    found: dict[str, Key] = {}
    for field in fields(cls):
        group = _group(cls, field.name)
        if group is None:
            found[field.name] = Key(field.name)
        else:
            found |= {f"{field.name}.{inner}": Key(f"{field.name}.{inner}") for inner in own_keys(group)}
    return found


def _put(arguments: dict[str, Any], path: str, value: object) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        arguments[head] = value
        return
    inner = arguments.get(head)
    arguments[head] = inner if isinstance(inner, _Group) else _Group()
    _put(arguments[head], rest, value)


class _Group(dict[str, Any]):
    """Arguments of a nested dataclass, not made yet."""


def _made(cls: type[S], arguments: Mapping[str, Any]) -> S:
    made: dict[str, Any] = {
        name: _made(_must_group(cls, name), value) if isinstance(value, _Group) else value
        for name, value in arguments.items()
    }
    return cls(**made)


def _must_group(cls: type, name: str) -> type:
    group = _group(cls, name)
    assert group is not None, f"{cls.__name__}.{name} is no group of settings"
    return group


def _group(cls: type, name: str) -> type | None:
    """Return the dataclass that a field holds, None for a plain field (or one whose type only type checkers know)."""
    try:
        kind = _type_of(cls, name)
    except NameError:
        return None
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def _type_of(cls: type, name: str) -> Any:  # noqa: ANN401 - a type expression has no type of its own.
    """Return a field's type, evaluated where its class was written; raises `NameError` for a type checker's name."""
    for owner in cls.__mro__:
        annotation = get_annotations(owner).get(name)
        if annotation is not None:
            space = SimpleNamespace(__annotations__={name: annotation})
            return get_type_hints(space, vars(sys.modules[owner.__module__]))[name]
    raise AssertionError(f"{cls.__name__} has no field {name}")


def _converted(cls: type, key: Key, name: str, text: str, source: str) -> object:
    assert key.field is not None
    convert = key.convert
    try:
        if convert is not None:
            return convert(text)
        owner, (*path, last) = cls, key.field.split(".")
        for part in path:
            owner = _must_group(owner, part)
        return _by_type(_type_of(owner, last), text.strip())
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {name}", error.allowed) from error
    except ValueError as error:
        raise InvalidInput(f"{source}: {name}", str(error)) from error


def _by_type(kind: Any, text: str) -> object:  # noqa: ANN401, PLR0911 - one return per kind of type.
    """Return `text` as a value of the type; raises `ValueError` that says what is allowed."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if NoneType in arguments and text.lower() in ("", "none", "null"):
            return None
        return _first(tuple(one for one in arguments if one is not NoneType), text)
    if origin is Literal:
        return _literal(arguments, text)
    if origin is tuple:
        return tuple(_by_type(arguments[0], part.strip()) for part in text.split(",") if part.strip())
    if origin is frozenset:
        return frozenset(_by_type(arguments[0], part.strip()) for part in text.split(",") if part.strip())
    if isinstance(kind, type):
        if issubclass(kind, Enum):
            return _member(kind, text)
        if kind in _SIMPLE:
            return _SIMPLE[kind](text)
    raise AssertionError(f"no way from text to {kind}: give the key a converter")


def _first(kinds: tuple[Any, ...], text: str) -> object:
    said: list[str] = []
    for kind in kinds:
        try:
            return _by_type(kind, text)
        except ValueError as error:
            said.append(str(error))
    raise ValueError(" or ".join(said))


def _literal(allowed: tuple[Any, ...], text: str) -> object:
    for one in allowed:
        if str(one).lower() == text.lower():
            return one
    raise ValueError(f"one of {', '.join(map(str, allowed))}")


def _member(kind: type[Enum], text: str) -> Enum:
    for one in kind:
        if text.lower() in (one.name.lower(), str(one.value).lower()):
            return one
    raise ValueError(f"one of {', '.join(one.name for one in kind)}")


def _bool(text: str) -> bool:
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError("true or false")


def _int(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text):
        raise ValueError("a whole number")
    return int(text)


def _float(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text) or not isfinite(float(text)):
        raise ValueError("a finite number")
    return float(text)


_SIMPLE: dict[type, Callable[[str], object]] = {bool: _bool, int: _int, float: _float, str: str}


def millis_as_s(text: str) -> float:
    """Return milliseconds, as the originals write times, in seconds; raises `ValueError`."""
    return _int(text.strip()) / 1000


# --- .properties files ---

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_KEY_END = re.compile(r"(?<!\\)(?:\\\\)*[=: \t\f]")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|u|.|$)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(text: str) -> dict[str, str]:
    r"""Return the keys and values of a Java `.properties` file: comments, continuations and escapes as Java reads them.

    A key that stands twice has its last value, as in Java. Raises `InvalidInput` for a malformed ``\uXXXX``.
    """
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        end = _KEY_END.search(line)
        if end is None:
            found[_unescaped(line)] = ""
            continue
        separator = end.end() - 1
        rest = line[separator:].lstrip(" \t\f")
        if rest[:1] in ("=", ":"):
            rest = rest[1:].lstrip(" \t\f")
        found[_unescaped(line[:separator])] = _unescaped(rest)
    return found


def _logical_lines(text: str) -> list[str]:
    """Return the lines with continuations joined, comments and empty lines left out."""
    lines: list[str] = []
    pending: str | None = None
    for natural in _LINE_ENDS.split(text.removeprefix("\ufeff")):
        line = natural.lstrip(" \t\f")
        if pending is None and (not line or line[0] in "#!"):
            continue
        line = (pending or "") + line
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending = line[:-1]
        else:
            lines.append(line)
            pending = None
    if pending:
        lines.append(pending)
    return lines


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code == "u":
            raise InvalidInput("properties", "a file whose \\u escapes have four hexadecimal digits")
        if len(code) > 1:
            return chr(int(code[1:], 16))
        return _ESCAPED.get(code, code)

    return _ESCAPE.sub(one, text)
