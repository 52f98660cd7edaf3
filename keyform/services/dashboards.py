"""The ``dashboard`` block of a profile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from keyform import patterns
from keyform.dashboard import GENERAL, PLACEHOLDERS, Dashboard, Line

Path = tuple[str | int, ...]

_PLACE = re.compile(r"\{([^{}]*)\}")


def dashboard_of(tree: Mapping[str, Any]) -> Dashboard:
    """The dashboard that a profile describes, or what can be said of any. The tree has passed the schema."""
    if "dashboard" not in tree:
        return GENERAL
    block = tree["dashboard"]
    return Dashboard(
        where=block["where"],
        source=block["source"],
        create=_lines(block.get("create", ())),
        revoke=_lines(block.get("revoke", ())),
        update={field: _lines(lines) for field, lines in block.get("update", {}).items()},
        origins=_lines(block.get("origins", ())),
        words=block.get("words", {}),
        hint=block.get("hint", GENERAL.hint),
    )


def dashboard_problems(tree: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    """What is wrong with a block beyond its shape: path, summary, what to do."""
    block = tree.get("dashboard", {})
    lists: list[tuple[Path, Any]] = [(("dashboard", part), block.get(part, ())) for part in _LISTS]
    lists += [(("dashboard", "update", field), lines) for field, lines in block.get("update", {}).items()]
    for path, lines in lists:
        for index, line in enumerate(lines):
            text = line if isinstance(line, str) else line["line"]
            for name in _PLACE.findall(text):
                if name not in PLACEHOLDERS:
                    yield (*path, index), f"there is no {{{name}}}", f"Known: {', '.join(PLACEHOLDERS)}."
    if "hint" in block and (wrong := patterns.fault(block["hint"], groups=1)):
        yield (
            ("dashboard", "hint"),
            f"this pattern {wrong}",
            f"Put what may be shown into ( ). {patterns.SYNTAX}",
        )


_LISTS = ("create", "revoke", "origins")


def _lines(raw: Any) -> tuple[Line, ...]:
    return tuple(Line(line) if isinstance(line, str) else _conditional(line) for line in raw)


def _conditional(line: Mapping[str, Any]) -> Line:
    only = {field: tuple(values) for field, values in line.get("only", {}).items()}
    return Line(line["line"], only, line.get("without"))
