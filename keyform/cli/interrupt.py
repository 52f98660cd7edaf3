"""Ctrl-C during an apply: once to finish what is in flight, twice to stop at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from keyform.cli.main import INTERRUPTED

if TYPE_CHECKING:
    from keyform.cli.console import Console
    from keyform.cli.progress import Events

_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def finishing_first(stop: threading.Event, events: Events, console: Console, verb: str) -> Iterator[None]:
    """The first SIGINT or SIGTERM sets ``stop``; a second one leaves the process at once with 130, and
    recovery is the next run's business. Only the main thread can do this; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            if console.at_exit is not None:
                console.at_exit()
            cursor = _SHOW_CURSOR if console.bar else ""
            console.tell_now(
                f"{cursor}\nStopped at once. The next `keyform {verb}` settles what was under way.\n"
            )
            os._exit(INTERRUPTED)
        stop.set()
        count = events.in_flight
        keys = "1 key" if count == 1 else f"{count} keys"
        console.tell_now(f"\nStopping: finishing the {keys} in flight; press Ctrl-C again to stop at once.\n")

    earlier = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
