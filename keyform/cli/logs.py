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
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        message = visible(record.getMessage())
        self._console.tell(f"{record.levelname.lower()}: {record.name}: {message}")
        if record.exc_info and record.exc_info[1]:
            self._console.tell(frames(record.exc_info[1]))


def log_to(console: Console, verbose: int) -> None:
    """Send the log of this run to ``console``: nothing at 0, INFO at 1, DEBUG from 2 on."""
    logger = logging.getLogger("keyform")
    for handler in [h for h in logger.handlers if isinstance(h, _ToConsole)]:
        logger.removeHandler(handler)
    if verbose:
        logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
        logger.addHandler(_ToConsole(console))


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
