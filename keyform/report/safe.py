"""Making text from elsewhere harmless: names that a live service or a file holds are shown, never obeyed.

Names may hold escape sequences that drive a terminal, controls that reorder or hide text, line breaks
that forge a line of a report, and Markdown or HTML. On a terminal they become visible escapes; in
Markdown they stand in code spans and fenced blocks that they cannot leave.
"""

from __future__ import annotations

import re
import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Letters, marks and symbols by category that nevertheless draw nothing, or join onto what stands beside.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
_WIDE_SPACE = "\u3000"
_MARKS_IN_A_ROW = 4


def visible(text: str) -> str:
    """``text`` on one line with nothing in it that a terminal obeys or hides.

    Controls (C0 and C1), bidirectional and zero-width characters, unassigned and private ones, lone
    surrogates, unusual spaces and line separators become escapes like ``\\x1b`` and ``\\u202e``; so
    do combining marks stacked higher than any writing system does.
    """
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for character in text:
        combining = unicodedata.category(character) in ("Mn", "Me")
        marks = marks + 1 if combining else 0
        shown = (
            (character.isprintable() or character == _WIDE_SPACE)
            and character not in _INVISIBLE
            and marks <= _MARKS_IN_A_ROW
        )
        out.append(character if shown else _escape(character))
    return "".join(out)


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """A value in double quotes; a backslash or quote of its own is escaped, so nothing is ambiguous."""
    return '"' + visible(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def json_text(text: str) -> str:
    """A JSON document with every character that a terminal would obey or hide as a JSON escape.

    It still is the same JSON value: outside its strings a document holds ASCII only.
    """
    return _NOT_PLAIN.sub(_json_escape, text)


# Everything but ASCII that prints and the line breaks of the document's own layout.
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]")


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    if (character.isprintable() or character == _WIDE_SPACE) and character not in _INVISIBLE:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def columns(text: str) -> int:
    """How many columns ``text`` (after :func:`visible`) takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def padded(text: str, width: int) -> str:
    """``text`` filled up with spaces to ``width`` columns."""
    return text + " " * max(0, width - columns(text))


def code_span(text: str) -> str:
    """A Markdown code span that shows ``text`` and nothing else, whatever it holds."""
    shown = visible(text)
    if not shown.strip(" "):
        shown = f'"{shown}"'
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def fenced(lines: list[str], language: str = "text") -> list[str]:
    """A Markdown fenced block around ``lines``, each of which stays one line of it."""
    body = [visible(line) for line in lines]
    fence = "`" * max(3, max(map(_longest_run, body), default=0) + 1)
    return [f"{fence}{language}", *body, fence]


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
