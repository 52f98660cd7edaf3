"""Diagnostics: what keyform tells a user, as data until the edge prints it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keyform.model import Location

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message.

    ``code`` is a stable word for machines (``unknown-field``); ``summary`` one line that says what;
    ``detail`` what to do next, or empty; ``snippet`` the user's own line, shown with a caret under
    ``location.column``, or None; ``also`` a second place and the words that lead up to it. No part of it
    ever holds a secret.
    """

    severity: str
    code: str
    summary: str
    detail: str = ""
    address: str | None = None
    location: Location | None = None
    snippet: str | None = None
    also: tuple[str, Location] | None = None

    @property
    def explanation(self) -> str:
        """The second place, and what to do."""
        second = f"{self.also[0]} {self.also[1]}. " if self.also else ""
        return (second + self.detail).rstrip()

    def as_json(self) -> dict[str, Any]:
        """The form used in plan files and in ``--format json``; absent parts are left out."""
        out: dict[str, Any] = {"severity": self.severity, "code": self.code, "summary": self.summary}
        if self.explanation:
            out["detail"] = self.explanation
        if self.address:
            out["address"] = self.address
        if self.location:
            out["location"] = {
                "file": self.location.file,
                "line": self.location.line,
                "column": self.location.column,
            }
        return out


def error(code: str, summary: str, detail: str = "", **where: Any) -> Diagnostic:
    """An error diagnostic; ``where`` takes ``address``, ``location`` and ``snippet``."""
    return Diagnostic(ERROR, code, summary, detail, **where)


def warning(code: str, summary: str, detail: str = "", **where: Any) -> Diagnostic:
    """A warning diagnostic."""
    return Diagnostic(WARNING, code, summary, detail, **where)


def note(code: str, summary: str, detail: str = "", **where: Any) -> Diagnostic:
    """A note: worth knowing, nothing to mend."""
    return Diagnostic(NOTE, code, summary, detail, **where)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean `x`?``, or ``Known: …``, or nothing when nothing is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1) if len(word) <= 200 else []
    if not close:
        folded = {name.lower(): name for name in names}
        close = [folded[word.lower()]] if word.lower() in folded else []
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Known: {listed(names)}." if names else ""


def listed(names: Iterable[str], most: int = 12) -> str:
    """``a, b and c`` in the given order, cut after ``most``."""
    words = [str(name) for name in names]
    if len(words) > most:
        return ", ".join(words[:most]) + f" and {len(words) - most} more"
    return words[0] if len(words) == 1 else " and ".join((", ".join(words[:-1]), words[-1])) if words else ""
