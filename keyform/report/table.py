"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from keyform.report.safe import columns, padded, visible
from keyform.report.style import Style
from keyform.report.wrap import wrap

_GAP = 2
_NARROW = 16
"""A column is not wrapped to less: such a table is easier to read entry by entry."""
_SHORT = 20


def table(header: Sequence[str], lines: Sequence[Sequence[str]], style: Style) -> str:
    """Columns under a header, two spaces between them. Cells are made safe; the last one is not padded. Where
    the terminal is too narrow, cells are wrapped between words; where that is not enough, each line becomes a
    block of its own. A column that is empty from top to bottom is left out."""
    used = [at for at in range(len(header)) if not lines or any(line[at] for line in lines)]
    header = [header[at] for at in used]
    cells = [[visible(line[at]) for at in used] for line in lines]
    widths = [max(columns(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    if style.room is not None and sum(widths) + _GAP * (len(widths) - 1) > style.room:
        least = [max(map(_least, column)) for column in zip(header, *cells, strict=True)]
        fitting = _fitting(widths, least, style.room - _GAP * (len(widths) - 1))
        if fitting is None:
            return "".join(f"{entry}\n" for line in cells for entry in _block(header, line, style))
        widths = fitting
    out = [style.paint(line, "bold") for line in _row([name.upper() for name in header], widths)]
    for line in cells:
        out += _row(line, widths)
    return "\n".join(out) + "\n"


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A GitHub table. Cells are Markdown already, made of code spans and keyform's own words."""
    out = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in out)


def _least(cell: str) -> int:
    """The narrowest that a cell can be."""
    return max(min(columns(cell), _NARROW), max(map(columns, cell.split()), default=0))


def _fitting(widths: Sequence[int], least: Sequence[int], room: int) -> list[int] | None:
    """Widths that fill ``room``, sharing out what is beyond the least; None where it has no room for that."""
    left = room - sum(least)
    if left < 0:
        return None
    fitting = list(least)
    order = sorted(range(len(widths)), key=lambda at: widths[at] - least[at])
    for number, at in enumerate(order):
        more = min(widths[at] - least[at], left // (len(order) - number))
        fitting[at] += more
        left -= more
    return fitting


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    parts = [wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    return [
        (" " * _GAP).join(padded(part, width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def _block(header: Sequence[str], cells: Sequence[str], style: Style) -> list[str]:
    """One line of a table under its first cell: what is short runs on, the rest stands by itself."""
    out = [style.paint(line, "bold") for line in style.fitted(cells[0], hanging="  ")]
    run: list[str] = []

    def end() -> None:
        line = ""
        for told in run:
            if line and columns(f"  {line}; {told}") > (style.room or 0):
                out.append(f"  {line};")
                line = told
            else:
                line = f"{line}; {told}" if line else told
        out.extend([f"  {line}"] if line else ())
        run.clear()

    for name, cell in zip(header[1:], cells[1:], strict=True):
        told = f"{name}: {cell}" if name else cell
        if not cell:
            continue
        if columns(told) > _SHORT:
            end()
            out += style.fitted(told, "  ", "    ")
        else:
            run.append(told)
    end()
    return out
