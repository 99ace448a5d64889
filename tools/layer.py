"""`make layer`: a zip for a Lambda layer that holds just what `shardline.consumer.aws_lambda` needs, and its figures.

    python -m tools.layer [--out FILE]

The modules are found by following imports (those for type checkers left out) from the Lambda package and the drop-in
for aws_kinesis_agg. Timestamps are fixed, so the same sources give the same bytes. The import is then timed from the
unpacked zip, in processes of their own, against the bare interpreter.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.rings import ROOT, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTS = ("shardline.consumer.aws_lambda", "shardline.common.compat")
FIXED_TIME = (2026, 1, 1, 0, 0, 0)
IMPORTS = 15


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Yield the modules a source imports when it runs, or may import later."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def needed() -> dict[str, Path]:
    """Return module -> source of everything the layer must hold."""
    known = sources()
    todo = [name for name in known if any(name == root or name.startswith(root + ".") for root in ROOTS)]
    found: dict[str, Path] = {}
    while todo:
        name = todo.pop()
        if name in found or name not in known:
            continue
        found[name] = known[name]
        todo += [name.rpartition(".")[0], *imports_of(ast.parse(known[name].read_text()))]
    return dict(sorted(found.items()))


def build_layer(out: Path | None = None) -> Path:
    """Write the zip (folder ``python/``, as Lambda wants it) and return its path."""
    out = out or ROOT / "out" / "shardline-layer.zip"
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in needed().values():
            inside = Path("python", *path.relative_to(ROOT).parts[1:])
            archive.writestr(zipfile.ZipInfo(str(inside), FIXED_TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out


def import_ms(folder: Path) -> float:
    """Return milliseconds that the import adds to a bare interpreter, from the unpacked layer."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    work = "from shardline.consumer.aws_lambda import deaggregate, stream_handler"
    seconds: dict[str, list[float]] = {"": [], work: []}
    for _ in range(IMPORTS + 1):
        for what, spent in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-S", "-E", "-c", code + what], check=True)
            spent.append(time.perf_counter() - start)
    bare, loaded = (statistics.median(spent[1:]) for spent in seconds.values())  # The first writes the byte code.
    return 1000 * (loaded - bare)


def main() -> int:
    """Build the layer, print its figures and write them to out/layer.json."""
    parser = argparse.ArgumentParser(prog="layer", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="the zip to write (default out/shardline-layer.zip)")
    options = parser.parse_args()
    path = build_layer(options.out)
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        took = import_ms(Path(folder) / "python")
    figures = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "modules": len(needed()),
        "dependencies": 0,
        "import_ms": round(took, 2),
    }
    print(f"{path.name}: {figures['bytes']} bytes, {figures['modules']} modules, 0 dependencies")
    print(f"import: {figures['import_ms']} ms over the bare interpreter")
    (ROOT / "out").mkdir(exist_ok=True)
    (ROOT / "out" / "layer.json").write_text(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
