"""What is wrong with a configuration, gathered until all of it is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from keyform.diagnostics import ERROR, NOTE, WARNING, Diagnostic
from keyform.model import SourceRef

MOST_PROBLEMS = 10_000
_LONGEST_WORDS = 800
_LONGEST_QUOTE = 80


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


class TooManyProblems(Exception):
    """There are so many problems that looking for more helps nobody."""


class Problems:
    """Collects problems, and keeps out of their words what came from the environment."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, SourceRef | Spot | None, str], Problem] = {}
        self.broken_files: set[str] = set()
        self.elsewhere: list[Diagnostic] = []
        """Diagnostics of files that are no configuration, such as a user's own profile."""
        self._environment: dict[str, str] = {}

    @property
    def found(self) -> Collection[Problem]:
        """Each problem once; one that several of a ``for_each`` share has the address of the first."""
        return self._found.values()

    @property
    def any_error(self) -> bool:
        """Whether anything but warnings was recorded."""
        return any(p.severity == ERROR for p in self.found) or any(
            d.severity == ERROR for d in self.elsewhere
        )

    def told_elsewhere(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record what another file's reader says, in which the name of the file may come from the
        environment too."""
        for said in diagnostics:
            place = said.location and replace(said.location, file=self._presentable(said.location.file))
            summary, detail = self._presentable(said.summary), self._presentable(said.detail)
            self.elsewhere.append(replace(said, summary=summary, detail=detail, location=place))

    def absorb(self, other: Problems) -> None:
        """Record what another one has."""
        self.broken_files |= other.broken_files
        for problem in other.found:
            self._record(problem)

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
        """Record an error. Raises :class:`TooManyProblems` once there are :data:`MOST_PROBLEMS`."""
        self._record(Problem(ERROR, code, summary, detail, where, on_name, address, also))

    def warning(
        self,
        code: str,
        where: SourceRef | Spot | None,
        summary: str,
        detail: str = "",
        *,
        on_name: bool = False,
        address: str | None = None,
    ) -> None:
        """Record a warning."""
        self._record(Problem(WARNING, code, summary, detail, where, on_name, address))

    def note(self, code: str, where: SourceRef | Spot | None, summary: str, detail: str = "") -> None:
        """Record something worth knowing."""
        self._record(Problem(NOTE, code, summary, detail, where))

    def _record(self, problem: Problem) -> None:
        summary, detail = self._presentable(problem.summary), self._presentable(problem.detail)
        known = (problem.code, problem.where, summary)
        if known not in self._found:
            if len(self._found) >= MOST_PROBLEMS:
                raise TooManyProblems
            self._found[known] = replace(problem, summary=summary, detail=detail)

    def _presentable(self, words: str) -> str:
        for value, shown in self._environment.items():
            for form in (value, value.lower()):
                words = words.replace(form, shown)
        if len(words) > _LONGEST_WORDS:
            words = words[:_LONGEST_WORDS] + "…"
        if not words.isprintable():
            words = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in words)
        return words


def brief(text: str) -> str:
    """A text of the user's, cut so that a message stays one line."""
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
