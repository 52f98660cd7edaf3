"""How an apply is followed: a bar, a line per key, or one JSON event per line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from keyform.cli.showing import one_line
from keyform.diagnostics import Diagnostic
from keyform.errors import Pending
from keyform.report.changes import DONE
from keyform.report.safe import visible

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from keyform.cli.console import Console
    from keyform.cli.session import Session

_ENDS = ("done", "failed", "skipped", "held")
_WIDE_BAR, _NARROW_BAR, _ROOM_FOR_BOTH = 36, 12, 100
_BESIDE_BAR = len("Applying  []  /    ")


class Events:
    """Takes the events of an apply and counts them. Warnings that come before the first change are told
    at once, later ones are kept for the end."""

    def __init__(self, console: Console, tell: Callable[[Sequence[Diagnostic]], None]) -> None:
        self._console = console
        self._tell = tell
        self._counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("start", *_ENDS)}
        self._expected = 0
        self.warnings: list[Diagnostic] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def expect(self, changes: int) -> None:
        """How many changes will come."""
        self._expected = changes

    def take(self, event: dict[str, Any]) -> None:
        """One event. Called from one thread."""
        if event["type"] in self._counts:
            self._counts[event["type"]][event["action"]] += 1
        elif event["type"] == "warning":
            found = _diagnostic(event["diagnostic"])
            if self._expected:
                self.warnings.append(found)
            else:
                self._tell((found,))
        elif event["type"] == "recovered":
            told = f"Recovered: {visible(event['what'])}"
            self._console.tell("\n".join(self._console.err_style.fitted(told, hanging="  ")))

    def counts(self, kind: str) -> dict[str, int]:
        """How many ``start``, ``done``, ``failed``, ``skipped`` or ``held`` events came, by action."""
        return dict(self._counts[kind])

    @property
    def ended(self) -> int:
        """Changes that are over, one way or another."""
        return sum(sum(self._counts[kind].values()) for kind in _ENDS)

    @property
    def in_flight(self) -> int:
        """Changes that were begun and are not over."""
        over = sum(sum(self._counts[kind].values()) for kind in ("done", "failed", "held"))
        return sum(self._counts["start"].values()) - over


class JsonEvents(Events):
    """Each event as it is, one JSON object per line on stdout."""

    def take(self, event: dict[str, Any]) -> None:
        if event["type"] != "recovered":
            super().take(event)
        self._console.data(one_line(event))


class LineEvents(Events):
    """A line on stderr for each change that is over."""

    def take(self, event: dict[str, Any]) -> None:
        super().take(event)
        kind = event["type"]
        if kind not in _ENDS:
            return
        waits = any(found["code"] == Pending.code for found in event.get("diagnostics", ()))
        words = {
            "done": DONE.get(event["action"], event["action"]),
            "failed": "waits for a person" if waits else _failed(event),
            "held": "held, since it is in use",
            "skipped": f"not begun ({visible(str(event.get('why', '')))})",
        }
        key_id = f" ({visible(event['key_id'])})" if event.get("key_id") else ""
        told = f"[{self.ended}/{self._expected}] {visible(event['address'])}: {words[kind]}{key_id}"
        self._console.tell("\n".join(self._console.err_style.fitted(told, hanging="  ")))


def _failed(event: dict[str, Any]) -> str:
    """What failed of a change; ``key_id`` tells that its new key is stored and in use all the same."""
    if event.get("key_id"):
        return f"{event['action']}: the new key is in use, and what was to follow failed"
    return f"{event['action']} failed"


class BarEvents(Events):
    """A progress bar on the terminal behind stderr."""

    def __init__(self, console: Console, tell: Callable[[Sequence[Diagnostic]], None]) -> None:
        super().__init__(console, tell)
        self._bar: ProgressBar[str] | None = None

    def expect(self, changes: int) -> None:
        super().expect(changes)
        room = self._console.err_style.room or 0
        width = _WIDE_BAR if room >= _ROOM_FOR_BOTH else _NARROW_BAR
        left = max(
            0, min(40, room - width - _BESIDE_BAR - 2 * len(str(changes)))
        )  # a second line stays behind
        self._bar = click.progressbar(
            length=changes,
            label="Applying",
            file=sys.stderr,
            show_pos=True,
            item_show_func=lambda address: visible(address)[:left] if address else "",
            width=width,
        )
        self._bar.__enter__()

    def take(self, event: dict[str, Any]) -> None:
        super().take(event)
        if self._bar is not None and event["type"] in ("done", "failed", "held"):
            self._bar.update(1, event["address"])

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, value, trace)


def follower(session: Session, as_json: bool) -> Events:
    """What suits the session's console."""
    kind = JsonEvents if as_json else BarEvents if session.console.bar else LineEvents
    return kind(session.console, session.tell_all)


def _diagnostic(data: dict[str, Any]) -> Diagnostic:
    return Diagnostic(
        data["severity"], data["code"], data["summary"], data.get("detail", ""), data.get("address")
    )
