"""Servers that nobody here wrote, for the integration tests: installed once, started and stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock

HOME = Path(os.environ.get("KEYFORM_TEST_SERVERS", Path(__file__).parents[2] / ".servers"))
"""Where servers are installed, for all test processes and for the next run too."""


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The folder of the server ``name``, which ``install`` has filled once."""
    folder = HOME / name
    HOME.mkdir(parents=True, exist_ok=True)
    with FileLock(HOME / f"{name}.lock"):
        if not (folder / "ready").exists():
            folder.mkdir(exist_ok=True)
            install(folder)
            (folder / "ready").touch()
    return folder


def python_programs(name: str, *packages: str) -> Path:
    """The programs folder of a virtual environment with these packages."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)

    return installed(name, install) / "bin"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(
    command: list[str],
    folder: Path,
    probe: str,
    env: Mapping[str, str] | None = None,
    *,
    verify: bool = True,
) -> Iterator[None]:
    """A server that answers at the URL ``probe`` while the block runs; ``env`` adds to its environment.
    ``verify`` False: its certificate is its own."""
    log = folder / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    environment.update(env or {})
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment
        ) as server,
    ):
        try:
            _await(server, probe, log, verify)
            yield
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _await(server: subprocess.Popen[bytes], probe: str, log: Path, verify: bool) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            httpx.get(probe, trust_env=False, verify=verify)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-4000:]}")
