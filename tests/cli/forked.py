"""keyform in a process of its own that does not start Python and import everything: forked from a process
that has done so already, and nothing else.

What the start itself does (imports, encodings, closed streams) is for ``test_process.py`` to try.
"""

from __future__ import annotations

import fcntl
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ABOVE = 200
"""Descriptors below this one are a process's own choice; what is handed over is kept above it first."""


class Forked:
    """``keyform ARGV`` with three descriptors as its streams, ``env`` added to the environment, and nothing
    else open but ``pass_fds``. A standard input that is a terminal becomes its controlling terminal."""

    def __init__(
        self,
        argv: Sequence[str],
        streams: tuple[int, int, int],
        env: Mapping[str, str] | None = None,
        pass_fds: Collection[int] = (),
    ) -> None:
        numbers = [0, 1, 2, *pass_fds]
        asked = [list(argv), str(Path.cwd()), {**os.environ, **(env or {})}, numbers]
        self._code: int | None = None
        self._told, tells = os.pipe()
        line, _ = _origin()
        socket.send_fds(line, [json.dumps(asked).encode()], [tells, *streams, *pass_fds])
        os.close(tells)
        self._pid = int(os.read(self._told, 20))

    def wait(self, patience: float = 60.0) -> int:
        """The exit code, waited for as many seconds at most; less than zero is the signal that ended it."""
        if self._code is None:
            assert select.select([self._told], [], [], patience)[0], "the process does not end"
            self._code = int(os.read(self._told, 20))
            os.close(self._told)
        return self._code

    def kill(self) -> None:
        """``kill -9``, if it is still there."""
        if self._code is None and not select.select([self._told], [], [], 0)[0]:
            os.kill(self._pid, signal.SIGKILL)


@cache
def _origin() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process that others are forked from, and a line to it. It ends when this process does."""
    ours, its = socket.socketpair()
    program = f"from tests.cli.forked import _fork_for_ever; _fork_for_ever({its.fileno()})"
    with its:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
    return ours, process


def _fork_for_ever(line: int) -> None:
    for package in ("keyform.apply", "keyform.cli", "keyform.config", "keyform.engine", "keyform.report"):
        for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    for name in ("keyform.services.embedded", "keyform.stores.age", "keyform.states.local"):
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=line) as asking:
        while True:
            asked, fds, _, _ = socket.recv_fds(asking, 1 << 20, 64)
            if not asked:
                return
            if os.fork() == 0:
                try:
                    _attend(json.loads(asked), fds)
                finally:
                    os._exit(99)
            for fd in fds:
                os.close(fd)


def _attend(asked: tuple[list[str], str, dict[str, str], list[int]], fds: list[int]) -> NoReturn:
    """Start keyform and tell its process id, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    tells, *given = [fcntl.fcntl(fd, fcntl.F_DUPFD, ABOVE) for fd in fds]
    pid = os.fork()
    if pid == 0:
        _become(*asked, given)
    os.closerange(0, ABOVE)
    for fd in given:
        os.close(fd)
    os.write(tells, f"{pid}\n".ljust(20).encode())
    os.write(tells, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def _become(
    argv: list[str], folder: str, env: dict[str, str], numbers: list[int], given: list[int]
) -> NoReturn:
    """Be as ``python -m keyform ARGV`` is when it starts."""
    os.setsid()
    # Whoever started the tests in the background had Ctrl-C ignored; on a terminal it is not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.closerange(0, ABOVE)
    for number, fd in zip(numbers, given, strict=True):
        os.dup2(fd, number)
    os.closerange(ABOVE, ABOVE + len(numbers) + 1)
    if os.isatty(0):
        os.close(os.open(os.ttyname(0), os.O_RDWR))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["keyform", *argv]
    from keyform.cli.main import main

    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)
