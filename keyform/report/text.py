"""A plan as text for a terminal or a log."""

from __future__ import annotations

from keyform.engine.notes import origins_lost
from keyform.engine.plan import MOVES, NARROWS, REFRESH, REVOKE, WIDENS, Change, Plan
from keyform.report.changes import groups, heading, legend, rows, summary_line, unmanaged_lines
from keyform.report.safe import visible
from keyform.report.style import Style, colour_of

_MARKS = {"+": "green", "-": "red", "~": "yellow"}


_PRIVILEGE = {WIDENS: "WIDENS", MOVES: "MOVES", NARROWS: "narrows"}
_PRIVILEGE_COLOURS = {WIDENS: "red", MOVES: "yellow", NARROWS: "green"}


def plan_text(plan: Plan, style: Style) -> str:
    """The plan, change by change, ending with the summary line. Diagnostics are left to their own report."""
    out: list[str] = []
    if plan.changes:
        marks = [(style.symbol(action), words) for action, words in legend(plan)]
        if any(change.drift and change.action != REFRESH for change in plan.changes):
            marks.append(("!", "in front: changed outside keyform"))
        out += ["Symbols:", *(f"{mark.rjust(4)} {words}" for mark, words in marks), ""]
    for title, changes in groups(plan):
        out += [style.paint(f"{title}:", "bold"), ""]
        for change in changes:
            out += [*_change(change, style), ""]
    if plan.targets:
        out += style.wrapped(f"Only for {', '.join(map(visible, plan.targets))}.")
    for line in unmanaged_lines(plan):
        out += style.wrapped(line)
    if out and out[-1]:
        out.append("")
    out.append(style.paint(summary_line(plan), "bold"))
    return "\n".join(out) + "\n"


def _change(change: Change, style: Style) -> list[str]:
    symbol = style.symbol(change.action)
    if change.drift and change.action != REFRESH:
        symbol = "!" + symbol
    # Whoever is at an origin that goes loses access, as with a key that is revoked.
    colour = colour_of(REVOKE if origins_lost(change) else change.action)
    first = f"{style.paint(symbol.rjust(4), colour, 'bold')} {style.paint(visible(change.address), 'bold')}"
    out = [f"{first}  {style.paint(heading(change), colour)}"]
    out += [style.paint(line, "dim") for line in style.wrapped(visible(change.reason), " " * 7)]
    if change.privilege is not None:
        words = f"{_PRIVILEGE[change.privilege]}: {'; '.join(map(visible, change.privilege_words))}"
        colour = _PRIVILEGE_COLOURS[change.privilege]
        out += [style.paint(line, colour, "bold") for line in style.wrapped(words, " " * 7, " " * 9)]
    for row in rows(change):
        mark = style.paint(row.mark, _MARKS[row.mark]) if row.mark in _MARKS else row.mark
        remark = f"  ({style.paint(row.remark, 'yellow')})" if row.remark else ""
        out.append(" " * (7 + 4 * row.depth) + f"{mark} {row.text}{remark}")
    return out
