"""keyform in a process of its own that does not start Python and import everything: a fork of this one.

What the start itself does (imports, encodings, closed streams) is for ``test_process.py`` to try.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn


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
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _become(argv, streams, env or {}, pass_fds)
            finally:
                os._exit(99)

    def poll(self) -> int | None:
        """The exit code, once there is one; less than zero is the signal that ended it."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, patience: float = 60.0) -> int:
        """The exit code, waited for as many seconds at most."""
        ends = time.monotonic() + patience
        while (code := self.poll()) is None:
            assert time.monotonic() < ends, "the process does not end"
            time.sleep(0.002)
        return code

    def kill(self) -> None:
        """``kill -9``, if it is still there."""
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)


def _become(
    argv: Sequence[str], streams: tuple[int, int, int], env: Mapping[str, str], pass_fds: Collection[int]
) -> NoReturn:
    """Be as ``python -m keyform ARGV`` is when it starts."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    last = 3
    for kept in sorted(pass_fds):
        os.closerange(last, kept)
        last = kept + 1
    os.closerange(last, os.sysconf("SC_OPEN_MAX"))
    if os.isatty(0):
        os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.update(env)
    sys.argv = ["keyform", *argv]
    from keyform.cli.main import main

    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)
