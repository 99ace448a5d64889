"""How a handler wants to be called, read from its signature once: the payload first, `record` and `context` by name."""

from __future__ import annotations

from shardline.common.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from shardline.consumer.aws_lambda.records import Record

    Call = Callable[[Any, Record, Any], Any]

__all__ = ["call_of", "is_async", "keyword_names"]

_CO_VARARGS, _CO_COROUTINE = 0x04, 0x80  # Of code objects; `inspect` would cost a cold start 10 ms to say the same.


def _function_of(function: Any) -> Any:
    """Return the plain function behind a method, callable, partial or decorated function; None for a built-in."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if hasattr(function, "func"):
        return _function_of(function.func)  # functools.partial.
    if not hasattr(function, "__code__"):
        function = getattr(function, "__call__", None)  # noqa: B004 - its code is wanted, not whether it can be called.
    function = getattr(function, "__func__", function)
    return function if hasattr(function, "__code__") else None


def is_async(function: Any) -> bool:
    """Say whether calling `function` gives a coroutine."""
    plain = _function_of(function)
    return plain is not None and bool(plain.__code__.co_flags & _CO_COROUTINE)


def keyword_names(function: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the `known` names `function` takes behind its first parameter; raise `InvalidInput` for others.

    A parameter with a default that is not known is left to its default.
    """
    plain = _function_of(function)
    if plain is None:
        return ()
    code = plain.__code__
    positional = list(code.co_varnames[: code.co_argcount])
    required = positional[: len(positional) - len(plain.__defaults__ or ())]
    if positional[:1] in (["self"], ["cls"]):
        positional, required = positional[1:], required[1:]
    if not positional and not code.co_flags & _CO_VARARGS:
        raise InvalidInput("handler", "a function whose first parameter takes the payload, record or records")
    keywords = list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    required = required[1:] + [name for name in keywords if name not in (plain.__kwdefaults__ or {})]
    if not set(required) <= set(known):
        raise InvalidInput("handler", f"a function of the payload and, by name, of {', '.join(known)}")
    return tuple(name for name in positional[1:] + keywords if name in known)


def call_of(function: Any) -> Call:
    """Return (payload, record, context) -> the handler's result, passing only what its signature asks for."""
    wanted = keyword_names(function, ("record", "context"))
    if wanted == ("record",):
        return lambda payload, record, _context: function(payload, record=record)
    if wanted == ("context",):
        return lambda payload, _record, context: function(payload, context=context)
    if wanted:
        return lambda payload, record, context: function(payload, record=record, context=context)
    return lambda payload, _record, _context: function(payload)
