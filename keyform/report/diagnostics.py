"""Diagnostics as text: what happened, where (the user's own line with a caret under it), what to do."""

from __future__ import annotations

from collections.abc import Sequence

from keyform.diagnostics import ERROR, Diagnostic
from keyform.report.safe import columns, visible
from keyform.report.style import Style

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_TAB = "    "
_MANY, _NAMED = 3, 8
"""Warnings of one kind that are told as one, and how many of their addresses are named."""


def diagnostics_text(diagnostics: Sequence[Diagnostic], style: Style) -> str:
    """All of them, a blank line between two, and a line that counts them when there are several."""
    if not diagnostics:
        return ""
    blocks = [diagnostic_text(first, style, like_it) for first, like_it in _alike(diagnostics)]
    if len(diagnostics) > 1:
        blocks.append(style.paint(f"{count_line(diagnostics)}.", "bold"))
    return "\n\n".join(blocks) + "\n"


def count_line(diagnostics: Sequence[Diagnostic]) -> str:
    """``2 errors, 1 warning``."""
    counts = [(sum(d.severity == severity for d in diagnostics), severity) for severity in _COLOURS]
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count)


def _alike(diagnostics: Sequence[Diagnostic]) -> list[tuple[Diagnostic, list[str]]]:
    """Each diagnostic with the addresses of those that it stands for: many warnings of one kind about many
    keys are told once."""
    kinds: dict[tuple[str, str, str], list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        if diagnostic.severity != ERROR and diagnostic.address:
            kind = (diagnostic.severity, diagnostic.code, diagnostic.detail)
            kinds.setdefault(kind, []).append(diagnostic)
    first_of = {id(found[0]): found for found in kinds.values() if len(found) >= _MANY}
    told = {id(diagnostic) for found in first_of.values() for diagnostic in found[1:]}
    return [
        (diagnostic, [other.address or "" for other in first_of.get(id(diagnostic), [])[1:]])
        for diagnostic in diagnostics
        if id(diagnostic) not in told
    ]


def diagnostic_text(diagnostic: Diagnostic, style: Style, like_it: Sequence[str] = ()) -> str:
    """One diagnostic, without a line break at its end. ``like_it`` are addresses that the same holds for."""
    summary = visible(diagnostic.summary)
    place = visible(str(diagnostic.location)) + ": " if diagnostic.location else ""
    if diagnostic.address and diagnostic.address not in diagnostic.summary:
        summary = f"{visible(diagnostic.address)}: {summary}"
    out = _head(place, f"{diagnostic.severity}:", summary, style)
    if diagnostic.location and diagnostic.snippet is not None:
        out += _excerpt(diagnostic.snippet, diagnostic.location.line, diagnostic.location.column, style)
    for paragraph in diagnostic.explanation.splitlines():
        out += style.wrapped(visible(paragraph), "  ")
    if like_it:
        named = ", ".join(map(visible, like_it[:_NAMED]))
        rest = f" and {len(like_it) - _NAMED} more" if len(like_it) > _NAMED else ""
        out += style.wrapped(f"The same holds for {named}{rest}.", "  ")
    return "\n".join(out)


def _head(place: str, severity: str, summary: str, style: Style) -> list[str]:
    first, *others = style.fitted(f"{place}{severity} {summary}", hanging="  ")
    begins = f"{place}{severity}"
    if first.startswith(begins):
        painted = style.paint(severity, _COLOURS.get(severity.rstrip(":"), "red"), "bold")
        rest = first.removeprefix(begins).removeprefix(" ")
        first = f"{place}{painted} {style.paint(rest, 'bold')}"
    return [first, *(style.paint(line, "bold") for line in others)]


def _excerpt(snippet: str, line: int, column: int, style: Style) -> list[str]:
    """The line and a caret under ``column`` (counted in characters, from 1), cut around it when long."""
    source = snippet.rstrip("\r\n").split("\n", 1)[0]
    gutter = f"{line:>5} | "
    room = max(30, style.width - len(gutter))
    shown = [_TAB if character == "\t" else visible(character) for character in source]
    at = max(0, min(column - 1, len(shown)))
    start, end = 0, len(shown)
    if sum(map(columns, shown)) > room:
        dots = style.plain("…")
        room -= 2 * len(dots)
        start = at
        used = 0
        while start > 0 and used + columns(shown[start - 1]) <= room // 2:
            start -= 1
            used += columns(shown[start])
        end = at
        while end < len(shown) and used + columns(shown[end]) <= room:
            used += columns(shown[end])
            end += 1
        head, tail = dots if start else "", dots if end < len(shown) else ""
    else:
        head = tail = ""
    before = head + "".join(shown[start:at])
    text = before + "".join(shown[at:end]) + tail
    caret = " " * columns(before) + style.paint("^", "red", "bold")
    return [style.paint(gutter, "dim") + text, style.paint(" " * 5 + " | ", "dim") + caret]
