"""Fuzz the decoder for a bounded time, print what was run, write the same to out/fuzz.json: `make fuzz`.

Starts from tests/fuzz/corpus, keeps what it learns in out/fuzz-corpus, and leaves an input that fails as
out/fuzz-crash-*. To keep such an input as a test, copy it into the corpus: tests/fuzz/test_fuzz_corpus.py replays it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS_DEFAULT = 60
BYTES_MAX_DEFAULT = 4096


def main() -> int:
    """Run the fuzzer in a process of its own; returns its exit status, 0 if no input failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the aggregate decoder against protobuf.")
    parser.add_argument("--seconds", type=int, default=SECONDS_DEFAULT, help="how long (default: %(default)s)")
    parser.add_argument("--bytes-max", type=int, default=BYTES_MAX_DEFAULT, help="longest input (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="0: by the clock (default)")
    options = parser.parse_args()
    if options.seconds < 1 or options.bytes_max < 1:
        parser.error("--seconds and --bytes-max must be 1 or more")
    out = ROOT / "out"
    learned = out / "fuzz-corpus"
    learned.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.run_atheris"),
        f"-max_total_time={options.seconds}",
        f"-max_len={options.bytes_max}",
        f"-seed={options.seed}",
        f"-artifact_prefix={out}/fuzz-",
        "-print_final_stats=1",
        *(str(learned), str(ROOT / "tests/fuzz/corpus")),
    ]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as fuzzer:
        assert fuzzer.stderr is not None
        for line in fuzzer.stderr:
            sys.stderr.write(line)
            lines.append(line)
    report = summary(lines, fuzzer.returncode, options.seconds)
    (out / "fuzz.json").write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(
        "{executions} executions in {seconds} s, {edges} edges, {corpus} inputs kept, {failures} failures\n".format_map(
            report
        )
    )
    return fuzzer.returncode


def summary(lines: list[str], status: int, seconds: int) -> dict[str, int]:
    """Return the figures of a run from libFuzzer's own lines."""
    text = "".join(lines)

    def last(pattern: str) -> int:
        found = re.findall(pattern, text)
        return int(found[-1]) if found else 0

    return {
        "executions": last(r"stat::number_of_executed_units:\s*(\d+)") or last(r"#(\d+)\s"),
        "seconds": last(r"runs in (\d+) second") or seconds,
        "edges": last(r"cov: (\d+)"),
        "corpus": last(r"corp: (\d+)/"),
        "failures": int(status != 0),
    }


if __name__ == "__main__":
    sys.exit(main())
