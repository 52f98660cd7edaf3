"""Running a program to its end, and what that took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PYTHON = sys.executable
SCRIPTS = Path(sys.executable).parent
"""Where the console scripts of this Python environment are."""

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts, in bytes


class Failed(Exception):
    """A measurement could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process: wall-clock seconds, user and system CPU seconds, peak resident memory in MB
    (10**6 bytes), and what it wrote."""

    wall: float
    cpu: float
    peak_mb: float
    output: str


def script(name: str) -> str:
    """A console script of this environment. Raises ``Failed`` where it is not installed."""
    path = SCRIPTS / name
    if not path.exists():
        raise Failed(f"there is no {path}; install with: pip install -e '.[bench]'")
    return str(path)


def run(argv: Sequence[str], *, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Run:
    """Run a program and measure it and the processes it waited for. Raises ``Failed`` if it fails."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(env or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        output = out.read().decode(errors="replace")
    if process.returncode != 0:
        raise Failed(f"{Path(argv[0]).name} ended with {process.returncode}: {output.strip()[-1500:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(wall, cpu, usage.ru_maxrss * _RSS_UNIT / 1e6, output)


def alternating(rounds: int, *measures: Callable[[], Run]) -> list[list[Run]]:
    """Every measure ``rounds`` times, taking turns, so that a slow moment of the machine falls on all."""
    found: list[list[Run]] = [[] for _ in measures]
    for _ in range(rounds):
        for runs, measure in zip(found, measures, strict=True):
            runs.append(measure())
    return found


def middle(runs: Sequence[Run], of: str) -> float:
    """The median of a figure: ``wall``, ``cpu`` or ``peak_mb``."""
    values: list[float] = [getattr(one, of) for one in runs]
    return median(values)
