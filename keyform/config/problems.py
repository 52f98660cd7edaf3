"""What is wrong with a configuration, gathered until all of it is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from keyform.diagnostics import ERROR, WARNING, Diagnostic
from keyform.model import SourceRef


@dataclass(frozen=True, slots=True)
class Spot:
    """A known position in a file; ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnostic whose position may still have to be looked up.

    ``on_name`` puts the caret under the name of a field instead of under its value. ``also`` is a
    phrase and a second place, which end up in the detail.
    """

    severity: str
    code: str
    summary: str
    detail: str
    where: SourceRef | Spot | None
    on_name: bool = False
    address: str | None = None
    also: tuple[str, SourceRef] | None = None


class Problems:
    """Collects problems, and keeps values that came from the environment out of their words."""

    def __init__(self) -> None:
        self.found: dict[Problem, None] = {}
        self.broken_files: set[str] = set()
        self.elsewhere: list[Diagnostic] = []
        """Diagnostics of files that are no configuration, such as a user's own profile."""
        self._environment: dict[str, str] = {}

    def came_from_environment(self, name: str, value: str) -> None:
        """From now on ``value`` is written as ``${env:NAME}`` in every message."""
        # Shorter ones are no secrets, and replacing them would garble the words around them.
        if len(value) >= 6:
            self._environment[value] = "${env:" + name + "}"

    def error(
        self,
        code: str,
        where: SourceRef | Spot | None,
        summary: str,
        detail: str = "",
        *,
        on_name: bool = False,
        address: str | None = None,
        also: tuple[str, SourceRef] | None = None,
    ) -> None:
        """Record an error; the same one found twice (by two of a ``for_each``) counts once."""
        summary, detail = self._scrubbed(summary), self._scrubbed(detail)
        self.found[Problem(ERROR, code, summary, detail, where, on_name, address, also)] = None

    def warning(
        self,
        code: str,
        where: SourceRef | Spot | None,
        summary: str,
        detail: str = "",
        *,
        address: str | None = None,
    ) -> None:
        """Record a warning."""
        summary, detail = self._scrubbed(summary), self._scrubbed(detail)
        self.found[Problem(WARNING, code, summary, detail, where, address=address)] = None

    @property
    def any_error(self) -> bool:
        return any(p.severity == ERROR for p in self.found) or any(
            d.severity == ERROR for d in self.elsewhere
        )

    def _scrubbed(self, words: str) -> str:
        for value, shown in self._environment.items():
            for form in (value, value.lower()):
                words = words.replace(form, shown)
        return words


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
