"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from keyform.report.safe import columns, padded, visible
from keyform.report.style import Style


def table(header: Sequence[str], lines: Sequence[Sequence[str]], style: Style) -> str:
    """Columns under a header, two spaces between them. Cells are made safe; the last one is not padded."""
    cells = [[visible(cell) for cell in line] for line in lines]
    widths = [max(columns(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    out = [style.paint(_line([name.upper() for name in header], widths), "bold")]
    out += [_line(line, widths) for line in cells]
    return "\n".join(out) + "\n"


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A GitHub table. Cells are Markdown already, made of code spans and keyform's own words."""
    out = [header, ["---"] * len(header), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in out)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded_cells = [padded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(padded_cells).rstrip()
