"""The Java originals from their released jars: built by Maven, started as children of ours, their processor time read.

`bench/java` holds a small Maven project for each of the KPL and the KCL, with a program of ours that speaks the words
of the demo's processes. Versions are pinned there or given here; Maven takes the jars from where it is set up to.
Nothing is written outside `out/java` and Maven's own cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shardline.common.errors import ShardlineError

__all__ = ["KCL", "KPL", "KPL_NEWEST", "Program", "command_of", "environment", "missing", "processor_seconds"]

ROOT: Final = Path(__file__).resolve().parent.parent
_SOURCES: Final = ROOT / "bench" / "java"
_OUT: Final = ROOT / "out" / "java"
_BUILD_S_MAX: Final = 600
_TOOLS: Final = ("java", "javac", "mvn")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_HEAP: Final = "-Xmx1g"


@dataclass(frozen=True, slots=True)
class Program:
    """One of the programs of `bench/java`, with the version of the original that it runs."""

    project: str  # The folder, and the prefix of its version's property.
    version: str
    main_class: str

    @property
    def name(self) -> str:
        """The name for people and files."""
        return f"{self.project}-{self.version}"


KPL: Final = Program("kpl", "1.0.9", "shardline.Kpl")
KPL_NEWEST: Final = Program("kpl", "1.1.1", "shardline.Kpl")
KCL: Final = Program("kcl", "3.5.1", "shardline.Kcl")


def missing() -> str | None:
    """Return what is not on PATH of what the originals need, for people; None where they can be run."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"there is no {' and no '.join(absent)} on PATH" if absent else None


def command_of(program: Program, log: Path, *, level: str = "info") -> list[str]:
    """Build the program if its sources changed; return the command that runs it, its log from `level` on in `log`.

    Raises `ShardlineError` where Maven fails, with the end of what it said.
    """
    folder = _OUT / program.name
    classpath = folder / "classpath"
    if not _is_new(classpath, _SOURCES / program.project, _SOURCES / "talk"):
        _build(program, folder, classpath)
    log.parent.mkdir(parents=True, exist_ok=True)
    return [
        str(shutil.which("java")),
        _HEAP,
        f"-Dorg.slf4j.simpleLogger.logFile={log}",
        f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        "-cp",
        f"{folder / 'classes'}{os.pathsep}{classpath.read_text().strip()}",
        program.main_class,
    ]


def _is_new(stamp: Path, *folders: Path) -> bool:
    if not stamp.exists():
        return False
    made = stamp.stat().st_mtime
    return all(one.stat().st_mtime < made for folder in folders for one in folder.rglob("*"))


def _build(program: Program, folder: Path, classpath: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(shutil.which("mvn")),
        "--batch-mode",
        "--quiet",
        "--no-transfer-progress",
        f"--file={_SOURCES / program.project / 'pom.xml'}",
        f"-D{program.project}.version={program.version}",
        f"-Dout={folder}",
        "compile",
        "dependency:build-classpath",
        f"-Dmdep.outputFile={classpath}",
    ]
    run = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_BUILD_S_MAX
    )
    if run.returncode != 0 or not classpath.exists():
        raise ShardlineError(f"Maven could not build {program.name}:\n" + "\n".join(run.stdout.splitlines()[-15:]))


def environment() -> dict[str, str]:
    """Return the environment for the originals: none of the caller's AWS settings, and no asking for metadata."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def processor_seconds(pid: int) -> float:
    """Return the user and system seconds of a process and its descendants, those that have ended included (Linux)."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:  # It has just ended.
            continue
        fields = stat[stat.rindex(")") + 2 :].split()  # From the state on: its name may hold anything.
        own = int(folder.name)
        children.setdefault(int(fields[1]), []).append(own)
        ticks[own] = sum(map(int, fields[11:15]))  # utime, stime, and those of the children it has waited for.
    total, left = 0, [pid]
    while left:
        one = left.pop()
        total += ticks.get(one, 0)
        left += children.get(one, [])
    return total / _TICKS
