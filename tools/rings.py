"""Which module belongs to which ring: the table `[tool.shardline.rings]` of pyproject.toml, read in one place.

A module is a core unless the table holds it or a package above it; the longest match wins.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("common", "producer", "consumer", "local", "cli")
RINGS = ("core", "driver", "adapter", "edge")


def table() -> dict[str, tuple[str, str]]:
    """Return module prefix -> (ring, reason), as written in pyproject.toml."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {prefix: (ring, why) for prefix, (ring, why) in config["tool"]["shardline"]["rings"].items()}


def ring_of(module: str, rings: dict[str, tuple[str, str]]) -> str:
    """Return the ring of the dotted `module`: that of the longest prefix in `rings`, else "core"."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        entry = rings.get(".".join(parts[:length]))
        if entry is not None:
            return entry[0]
    return "core"


def sources() -> dict[str, Path]:
    """Return dotted module name -> source file, of the five packages."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        top = ROOT / package
        for path in sorted((top / "shardline").rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def core_files() -> list[str]:
    """Return the source files of the cores, relative to the repository."""
    rings = table()
    return [str(path.relative_to(ROOT)) for name, path in sources().items() if ring_of(name, rings) == "core"]
