"""Standard output and standard error: colour where it belongs, and what happens when nobody listens."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from keyform.report.style import Style

_GLANCE = 0.1  # seconds
NARROWEST, WIDEST, OFF_TERMINAL = 40, 120, 80


class Console:
    """Data goes to stdout (``data``), all else to stderr (``tell``). ``style`` and ``err_style`` say what
    either can show. A reader that goes away (``| head``) is no error, and never stops an apply."""

    def __init__(self, no_color: bool = False) -> None:
        self._streams: dict[str, TextIO | None] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._problem: OSError | None = None
        plain = no_color or bool(os.environ.get("NO_COLOR"))
        dumb = os.environ.get("TERM", "") in ("dumb", "")
        self.style = _style(sys.stdout, plain or dumb)
        self.err_style = _style(sys.stderr, plain or dumb)
        # A CI system may lend a terminal, but its log keeps every redrawn line.
        self.bar = _is_terminal(sys.stderr) and not (plain or dumb or os.environ.get("CI"))
        self.interactive = _is_terminal(sys.stdin) and _is_terminal(sys.stderr)
        self.at_exit: Callable[[], None] | None = None  # what a process that leaves at once puts back first

    def data(self, text: str) -> None:
        """Write to stdout."""
        self._write("stdout", text)

    def tell(self, text: str) -> None:
        """Write a line to stderr."""
        self._write("stderr", text + "\n")

    def tell_now(self, text: str) -> None:
        """Write to stderr from a signal handler, which may have interrupted a write."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.write(sys.stderr.fileno(), text.encode())

    def ask_on(self, question: str) -> None:
        """Put a question on stderr whose answer is read elsewhere."""
        self._write("stderr", question)

    def ask(self, question: str) -> str:
        """Put a question on stderr and read the answer; empty at the end of the input."""
        self._write("stderr", question)
        self._await_line()
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            self._write("stderr", "\n")
        return answer.strip()

    def _await_line(self) -> None:
        """Wait until there is something to read. A Ctrl-C that comes just before a read is noticed only when
        the read is over; between these short waits it is noticed at once."""
        if self.interactive:
            while not select.select([sys.stdin], [], [], _GLANCE)[0]:
                pass

    def flushed(self) -> bool:
        """Whether all data could be written. If not, says why on stderr."""
        if self._problem is None:
            return True
        why = self._problem.strerror or type(self._problem).__name__
        self.tell(f"error: standard output could not be written: {why}")
        self._problem = None
        return False

    def _write(self, name: str, text: str) -> None:
        stream = self._streams[name]
        if stream is None:
            return
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            self._let_go(name, stream)
        except OSError as problem:
            if name == "stdout":
                self._problem = problem
            self._let_go(name, stream)

    def _let_go(self, name: str, stream: TextIO) -> None:
        """Nobody can be reached there any more; what Python still holds for it must not fail at exit."""
        self._streams[name] = None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _style(stream: TextIO | None, plain: bool) -> Style:
    terminal = _is_terminal(stream)
    try:
        "↻←→…·".encode(getattr(stream, "encoding", None) or "ascii")
        unicode = True
    except (UnicodeError, LookupError):
        unicode = False
    room = shutil.get_terminal_size((OFF_TERMINAL, 24)).columns if terminal else None
    width = OFF_TERMINAL if room is None else max(NARROWEST, min(room, WIDEST))
    return Style(terminal and not plain, unicode, width, room)
