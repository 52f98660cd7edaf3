"""The table: what was measured, beside what, against which target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_FORMS = {"x": "{:.2f}x", "ms": "+{:.0f} ms", "MB": "{:.0f} MB"}
_LIMITS = {"x": "{:g}x", "ms": "+{:g} ms", "MB": "{:g} MB"}
NONE = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. ``judged`` (in ``unit``: ``x`` for a ratio, ``ms`` for a difference, ``MB``) is held
    against ``limit``, which is the most it may be, or the least with ``at_least``. Without a limit it is
    shown for what it says and not judged."""

    what: str
    keyform: str
    beside: str
    judged: float
    unit: str = "x"
    limit: float | None = None
    at_least: bool = False
    terraform: str = NONE

    def cells(self, judging: bool) -> tuple[str, ...]:
        """The row as text. Without ``judging`` nothing is said of met or missed."""
        target = met = NONE
        if self.limit is not None:
            target = (">= " if self.at_least else "<= ") + _LIMITS[self.unit].format(self.limit)
            good = self.judged >= self.limit if self.at_least else self.judged <= self.limit
            met = ("met" if good else "MISSED") if judging else NONE
        figure = _FORMS[self.unit].format(self.judged)
        return (self.what, self.keyform, self.beside, figure, target, met, self.terraform)


def table(rows: Sequence[Row], terraform: str | None, *, judging: bool) -> str:
    """A Markdown table that is readable as plain text too."""
    if terraform is None:
        rows = [replace(row, terraform="not on PATH") for row in rows]
    header = ("measured", "keyform", "beside it", "compared", "target", "verdict", terraform or "Terraform")
    lines = [header, *(row.cells(judging) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]]) + "\n"


def seconds(value: float) -> str:
    """A time in seconds, or in milliseconds below one tenth of a second."""
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"
