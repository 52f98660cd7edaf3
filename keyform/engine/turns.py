"""What a key gains and loses, as values: the directions of privilege."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from keyform.engine.plan import MOVES, NARROWS, WIDENS
from keyform.model import KeySpec

GAIN, LOSS, SIDEWAYS = "gain", "loss", "sideways"


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that a key gains or loses, or that is other than before (``sideways``). The subject of
    ``words`` is the key. ``powerful``: a reviewer has to look twice at it."""

    way: str
    words: str
    powerful: bool = False

    def __str__(self) -> str:
        return f"powerful: {self.words}" if self.powerful else self.words


@dataclass(frozen=True, slots=True)
class Reach:
    """What decides what a key can do: what its service holds of it, the span that each generation lives
    (None where a moment or nothing is declared) and the origins that its project allows, if that is known."""

    spec: KeySpec
    expires_in: timedelta | None = None
    project_origins: tuple[str, ...] = ()


def direction(turns: Iterable[Turn]) -> str | None:
    """``widens``, ``narrows``, ``moves`` where something is gained and something lost, or where nobody knows;
    None where a key can do what it could."""
    ways = {turn.way for turn in turns}
    if not ways:
        return None
    if len(ways) > 1 or SIDEWAYS in ways:
        return MOVES
    return WIDENS if GAIN in ways else NARROWS


def in_words(turns: Iterable[Turn]) -> tuple[str, ...]:
    """What is to be looked at first comes first: what is gained and powerful, gained, unclear, lost."""
    order = {GAIN: 0, SIDEWAYS: 1, LOSS: 2}
    return tuple(str(turn) for turn in sorted(turns, key=lambda turn: (order[turn.way], not turn.powerful)))
