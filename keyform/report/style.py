"""Colour and symbols: what a terminal can show is decided by the caller, once."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from keyform.engine.plan import (
    CREATE,
    FORGET,
    IMPORT,
    MOVE,
    REFRESH,
    REPLACE,
    REVOKE,
    ROTATE,
    UPDATE,
)

_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "bold": 1, "dim": 2}

SYMBOLS = {
    CREATE: "+",
    UPDATE: "~",
    REPLACE: "+/-",
    ROTATE: "↻",
    REVOKE: "-",
    IMPORT: "←",
    MOVE: "→",
    FORGET: ".",
    REFRESH: "!",
}
_ASCII = {"↻": "@", "←": "<-", "→": "->", "·": "*", "…": "..."}

_COLOURS = {
    CREATE: "green",
    UPDATE: "yellow",
    REPLACE: "magenta",
    ROTATE: "cyan",
    REVOKE: "red",
    IMPORT: "blue",
    MOVE: "blue",
    FORGET: "yellow",
    REFRESH: "yellow",
}


_SPAN = re.compile("`[^`]*`")
_HELD = "\0"


@dataclass(frozen=True, slots=True)
class Style:
    """``colour``: whether escape sequences may be written. ``unicode``: whether more than ASCII may.
    ``width``: the columns that running text is wrapped to."""

    colour: bool = False
    unicode: bool = True
    width: int = 80

    def paint(self, text: str, *kinds: str) -> str:
        """``text`` in the named colours or weights, or as it is."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(str(_CODES[kind]) for kind in kinds)}m{text}\x1b[0m"

    def wrapped(self, text: str, indent: str = "", hanging: str | None = None) -> list[str]:
        """``text`` as lines of the style's width; what stands in backticks is never broken."""
        held = _SPAN.sub(lambda found: found[0].replace(" ", _HELD), text)
        lines = textwrap.wrap(
            held,
            max(20, self.width),
            initial_indent=indent,
            subsequent_indent=indent if hanging is None else hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [line.replace(_HELD, " ") for line in lines]

    def symbol(self, action: str) -> str:
        """The mark of an action, uncoloured."""
        return self.plain(SYMBOLS[action])

    def plain(self, symbol: str) -> str:
        """A symbol of keyform's own, or its ASCII stand-in."""
        return symbol if self.unicode else _ASCII.get(symbol, symbol)


def colour_of(action: str) -> str:
    """The colour of an action."""
    return _COLOURS[action]
