"""What servers and programs say, made fit for a message."""

from __future__ import annotations

from collections.abc import Iterable

from keyform.masking import masked
from keyform.model import Secret

_MOST_READ, _LONGEST = 4_000, 300


def quoted(text: str, hide: Iterable[Secret] = ()) -> str:
    """Foreign text on one line: what repeats a secret of ``hide`` masked, control characters gone, and the
    end of it where it is long, since programs say last why they failed."""
    shown = masked(text, hide)[-_MOST_READ:]
    words = "".join(char if char.isprintable() else " " for char in shown).split()
    line = " ".join(words)
    return line if len(line) <= _LONGEST else "…" + line[1 - _LONGEST :]
