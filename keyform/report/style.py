"""Colour and symbols: what a terminal can show is decided by the caller, once."""

from __future__ import annotations

from dataclasses import dataclass

from keyform.engine.plan import (
    CREATE,
    FORGET,
    IMPORT,
    MOVE,
    REFRESH,
    REPLACE,
    REVOKE,
    ROLLBACK,
    ROTATE,
    UPDATE,
)
from keyform.report.wrap import wrap

_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "bold": 1, "dim": 2}

SYMBOLS = {
    CREATE: "+",
    UPDATE: "~",
    REPLACE: "+/-",
    ROTATE: "↻",
    ROLLBACK: "↺",
    REVOKE: "-",
    IMPORT: "←",
    MOVE: "→",
    FORGET: ".",
    REFRESH: "!",
}
_ASCII = {"↻": "@", "↺": "<@", "←": "<-", "→": "->", "·": "*", "…": "..."}

_COLOURS = {
    CREATE: "green",
    UPDATE: "yellow",
    REPLACE: "magenta",
    ROTATE: "cyan",
    ROLLBACK: "cyan",
    REVOKE: "red",
    IMPORT: "blue",
    MOVE: "blue",
    FORGET: "yellow",
    REFRESH: "yellow",
}


@dataclass(frozen=True, slots=True)
class Style:
    """``colour``: whether escape sequences may be written. ``unicode``: whether more than ASCII may.
    ``width``: the columns that running text is wrapped to. ``room``: the columns of the terminal, which would
    break longer lines inside words; None off a terminal, where what is one thing stays on one line."""

    colour: bool = False
    unicode: bool = True
    width: int = 80
    room: int | None = None

    def paint(self, text: str, *kinds: str) -> str:
        """``text`` in the named colours or weights, or as it is."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(str(_CODES[kind]) for kind in kinds)}m{text}\x1b[0m"

    def wrapped(self, text: str, indent: str = "", hanging: str | None = None) -> list[str]:
        """Running text as lines of the style's width."""
        return wrap(text, max(20, self.width), indent, hanging)

    def fitted(self, text: str, indent: str = "", hanging: str | None = None) -> list[str]:
        """What is one line off a terminal, as the lines that fit on this one."""
        return [indent + text] if self.room is None else wrap(text, max(20, self.room), indent, hanging)

    def symbol(self, action: str) -> str:
        """The mark of an action, uncoloured."""
        return self.plain(SYMBOLS[action])

    def plain(self, symbol: str) -> str:
        """A symbol of keyform's own, or its ASCII stand-in."""
        return symbol if self.unicode else _ASCII.get(symbol, symbol)


def colour_of(action: str) -> str:
    """The colour of an action."""
    return _COLOURS[action]
