"""The coverage gate: the cores together are covered to 95 %, lines and branches each.

Reads the combined data of `coverage`, prints what is missing in the cores, writes out/test.json, and exits with 1 below
the gate. Which modules are cores: tools/rings.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tools.rings import ROOT, core_files

GATE_PERCENT = 95.0


def measured() -> dict[str, Any]:
    """Return coverage's own JSON report of the cores, printing its table for people on the way."""
    coverage = [sys.executable, "-m", "coverage"]
    include = f"--include={','.join(core_files())}"
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    report = out / ".coverage.json"
    subprocess.run([*coverage, "json", "--quiet", include, "-o", str(report)], cwd=ROOT, check=True)
    subprocess.run([*coverage, "report", include], cwd=ROOT, check=True)
    content: dict[str, Any] = json.loads(report.read_text())
    report.unlink()
    return content


def percent(covered: int, total: int) -> float:
    """Return the share of `covered` in `total` in percent; 100 where there is nothing to cover."""
    return 100.0 if total == 0 else round(100.0 * covered / total, 2)


def main() -> int:
    """Print and write the figures; return the exit status."""
    totals = measured()["totals"]
    figures = {
        "lines_percent": percent(totals["covered_lines"], totals["num_statements"]),
        "branches_percent": percent(totals["covered_branches"], totals["num_branches"]),
        "gate_percent": GATE_PERCENT,
        "core_files": len(core_files()),
    }
    (ROOT / "out" / "test.json").write_text(json.dumps(figures) + "\n")
    passed = min(figures["lines_percent"], figures["branches_percent"]) >= GATE_PERCENT
    verdict = "passed" if passed else "FAILED"
    print(f"cores: lines {figures['lines_percent']} %, branches {figures['branches_percent']} %: gate {verdict}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
