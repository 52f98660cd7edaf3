"""Lines that fit: text is broken between words alone, so that each id, path and origin can be copied."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keyform.report.safe import columns

_WORD = re.compile(r"(\s*)((?:[^\s`]|`[^`]*`|`)+)")


def wrap(text: str, room: int, indent: str = "", hanging: str | None = None) -> list[str]:
    """``text`` in lines of ``room`` columns. The first begins with ``indent``, the others with ``hanging``.
    What stands in backticks stays together where a line can hold it. A word that no line can hold beside its
    indent stands on a line of its own, as far to the left as it needs."""
    hanging = indent if hanging is None else hanging
    lines: list[str] = []
    line, empty = indent, True
    for space, word in _words(text, room - columns(hanging)):
        if not empty and columns(line) + columns(space) + columns(word) <= room:
            line += space + word
            continue
        if not empty:
            lines.append(line)
            line = hanging
        elif line is indent:
            line += space if columns(indent) + columns(space) + columns(word) <= room else ""
        if columns(line) + columns(word) > room:
            if line.strip():
                lines.append(line.rstrip())
                line = hanging
            line = line[: max(0, room - columns(word))]
        line, empty = line + word, False
    return lines if empty else [*lines, line]


def _words(text: str, room: int) -> Iterator[tuple[str, str]]:
    """Each word with the space before it; what is in backticks is one, unless it is wider than ``room``."""
    for space, word in _WORD.findall(text):
        if columns(word) <= room or " " not in word:
            yield space, word
            continue
        for number, part in enumerate(word.split(" ")):
            yield (" " if number else space), part
