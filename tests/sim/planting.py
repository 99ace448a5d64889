"""Planting bugs: a function of the product is replaced by a broken one, by name, for a while.

Nothing of this is in the product. A bug whose target no longer exists raises `TargetGoneError`: it must be planted anew
where the rule lives now. `worlds` of a bug are the profiles whose first seeds are tried, the likeliest first.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Bug", "TargetGoneError", "planted"]


class TargetGoneError(AttributeError):
    """The function that a planted bug replaces is gone."""


class Bug(NamedTuple):
    """A planted bug: what it replaces (owner, name, maker of the broken one from the original), and where it shows."""

    targets: tuple[tuple[Any, str, Callable[[Any], Any]], ...]
    worlds: tuple[str, ...]
    model: str = ""
    """The broken rule of the model check, where that is what catches it first."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Have the bug in the product for a while."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, make in bug.targets:
            original = vars(owner).get(name)
            if original is None:
                raise TargetGoneError(f"{getattr(owner, '__name__', owner)}.{name} is gone: plant the bug anew")
            undo.append((owner, name, original))
            setattr(owner, name, make(original))
        yield
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)
