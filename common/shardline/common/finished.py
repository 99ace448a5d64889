"""Did a plain function do its work? One that returns a coroutine or a generator did nothing, and nobody would know.

Imports only what costs nothing (a Lambda loads this file).
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType

from shardline.common.errors import InvalidInput

__all__ = ["check_finished"]


def check_finished(name: str, answer: object) -> None:
    """Raise `InvalidInput` about `name` where its answer is a coroutine, another awaitable, or a generator."""
    if answer is None:
        return
    generator = isinstance(answer, GeneratorType | AsyncGeneratorType)
    if not (generator or hasattr(answer, "__await__")):
        return
    if isinstance(answer, CoroutineType | GeneratorType):
        answer.close()  # A coroutine that is dropped would warn.
    returned = "a generator" if generator else "an awaitable"
    raise InvalidInput(name, "a plain function, or declared with async def", f"a function that returns {returned}")
