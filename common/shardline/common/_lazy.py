"""Lazy exports (PEP 562) for the packages' `__init__` files.

A package's `__init__` imports nothing of the package at run time: a Lambda that deaggregates must not pay for an SDK it
does not use. Each `__init__` keeps one table, exported name -> module of the package, and says

    __getattr__, __dir__ = exports(__name__, _EXPORTS, extra="producer")

Type checkers see the same names through an `if TYPE_CHECKING:` import beside the table; tests/tidy holds the table, the
import and `__all__` against each other. `TYPE_CHECKING = False` is written out because importing `typing` costs more
than the rest of this file.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def exports(
    package: str, table: Mapping[str, str], *, extra: str | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package whose `table` maps exported names to its modules.

    `extra` names the optional dependencies the package needs. The returned `__getattr__` raises `AttributeError` for a
    name that is not in the table, and `ModuleNotFoundError` that says which `pip install` to run where a library of the
    extra is missing.
    """

    def get(name: str) -> object:
        module = table.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{package}.{module}"), name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if extra is None or missing.partition(".")[0] == "shardline":
                raise
            message = f"{package}.{name} needs {missing}: run pip install 'shardline[{extra}]'"
            raise ModuleNotFoundError(message, name=missing) from error

    def names() -> list[str]:
        return sorted(table)

    return get, names
