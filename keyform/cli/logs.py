"""The log under ``-v``: keyform's own lines, of which each HTTP request has one. What the libraries under it
log is left out: they would log whole addresses, headers and what a service says, and those may hold
credentials."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from keyform.report.safe import visible

if TYPE_CHECKING:
    from keyform.cli.console import Console


class _ToConsole(logging.Handler):
    def __init__(self, console: Console, names: bool) -> None:
        super().__init__()
        self._console, self._names = console, names

    def emit(self, record: logging.LogRecord) -> None:
        message = visible(record.getMessage())
        name = f"{record.name}: " if self._names else ""
        self._console.tell(f"{record.levelname.lower()}: {name}{message}")
        if record.exc_info and record.exc_info[1]:
            self._console.tell(frames(record.exc_info[1]))


def log_to(console: Console, verbose: int) -> None:
    """Send the log of this run to ``console``: warnings at 0, INFO at 1, DEBUG from 2 on."""
    end_log()
    logger = logging.getLogger("keyform")
    logger.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    logger.addHandler(_ToConsole(console, names=verbose > 0))


def end_log() -> None:
    """Send no more of it."""
    logger = logging.getLogger("keyform")
    for handler in [h for h in logger.handlers if isinstance(h, _ToConsole)]:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def frames(problem: BaseException) -> str:
    """Where an exception came from. Neither its message nor any local variable, since either might hold a
    secret."""
    out: list[str] = []
    seen: BaseException | None = problem
    while seen is not None:
        out.append(f"  {type(seen).__name__}")
        out += [f"    {f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(seen.__traceback__)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(out)
