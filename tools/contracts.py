"""The import-linter contract "cores": a core imports only cores and the I/O-free part of the standard library.

import-linter's own `forbidden` contract wants the cores listed; here every module is a core unless
`[tool.shardline.rings]` says otherwise, so a new file is held to the rule from its first day. Direct imports are
enough: what a core reaches through another core is that core's own import.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output

from tools.rings import PACKAGES, ring_of, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from grimp import ImportGraph


class CoresContract(Contract):
    """Forbid cores to import third-party packages, modules of other rings, and `forbidden_stdlib`."""

    forbidden_stdlib = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001  the base class' signature.
        """Return the check's outcome, with one "importer -> imported (line)" for each offence."""
        del verbose
        rings = table()
        forbidden: Iterable[str] = self.forbidden_stdlib  # type: ignore[assignment]  # a field holds its value here.
        stdlib = sys.stdlib_module_names - set(forbidden)
        cores = [name for name in sorted(graph.modules) if self._is_core(name, rings)]
        offences = [
            f"{core} -> {imported} ({self._line(graph, core, imported)})"
            for core in cores
            for imported in sorted(graph.find_modules_directly_imported_by(core))
            if not self._allowed(imported, stdlib, rings)
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences, "cores": len(cores)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each offence and the way out."""
        for offence in check.metadata["offences"]:
            output.print_error(f"- {offence}")
        output.print_error("A core does no I/O. Is the file none? Name it in the table of rings in pyproject.toml.")

    def _is_core(self, module: str, rings: dict[str, tuple[str, str]]) -> bool:
        parts = module.split(".")
        return parts[0] == "shardline" and parts[1] in PACKAGES and ring_of(module, rings) == "core"

    def _allowed(self, imported: str, stdlib: frozenset[str], rings: dict[str, tuple[str, str]]) -> bool:
        top = imported.partition(".")[0]
        if top == "shardline":
            return self._is_core(imported, rings)
        return top in stdlib

    @staticmethod
    def _line(graph: ImportGraph, importer: str, imported: str) -> str:
        details = graph.get_import_details(importer=importer, imported=imported)
        return ", ".join(f"line {detail['line_number']}" for detail in details)
