"""A plan as text for a terminal or a log."""

from __future__ import annotations

from keyform.engine.access import origins_lost
from keyform.engine.plan import REFRESH, REVOKE, Change, Plan
from keyform.report.changes import Row, groups, heading, legend, rows, summary_line, unmanaged_lines
from keyform.report.privilege import COLOURS, privilege_counts, privilege_line
from keyform.report.safe import columns, visible
from keyform.report.style import Style, colour_of

_MARKS = {"+": "green", "-": "red", "~": "yellow"}
_INSIDE = " " * 7


def plan_text(plan: Plan, style: Style) -> str:
    """The plan, change by change, ending with the summary line. Diagnostics are left to their own report."""
    out: list[str] = []
    if plan.changes:
        marks = [(style.symbol(action), words) for action, words in legend(plan)]
        if any(change.drift and change.action != REFRESH for change in plan.changes):
            marks.append(("!", "in front: changed outside keyform"))
        out.append("Symbols:")
        for mark, words in marks:
            out += style.fitted(f"{mark.rjust(4)} {words}", hanging=" " * 7)
        out.append("")
    for title, changes in groups(plan):
        out += [*(style.paint(line, "bold") for line in style.fitted(f"{title}:")), ""]
        for change in changes:
            out += [*_change(change, style), ""]
    if plan.targets:
        out += style.wrapped(f"Only for {', '.join(map(visible, plan.targets))}.")
    for line in unmanaged_lines(plan):
        out += style.wrapped(line)
    if counts := privilege_counts(plan):
        out += style.wrapped(counts)
    if out and out[-1]:
        out.append("")
    out += [style.paint(line, "bold") for line in style.fitted(summary_line(plan))]
    return "\n".join(out) + "\n"


def _change(change: Change, style: Style) -> list[str]:
    symbol = style.symbol(change.action)
    if change.drift and change.action != REFRESH:
        symbol = "!" + symbol
    # Whoever is at an origin that goes loses access, as with a key that is revoked.
    colour = colour_of(REVOKE if origins_lost(change) else change.action)
    address, what = visible(change.address), heading(change)
    first = f"{style.paint(symbol.rjust(4), colour, 'bold')} {style.paint(address, 'bold')}"
    if style.room is None or columns(f"{symbol.rjust(4)} {address}  {what}") <= style.room:
        out = [f"{first}  {style.paint(what, colour)}"]
    else:
        out = [first, *(style.paint(line, colour) for line in style.fitted(what, _INSIDE))]
    out += [style.paint(line, "dim") for line in style.wrapped(visible(change.reason), _INSIDE)]
    if line := privilege_line(change):
        colour = COLOURS[change.privilege or ""]
        out += [style.paint(part, colour, "bold") for part in style.wrapped(line, _INSIDE, " " * 9)]
    for row in rows(change):
        out += _row(row, style)
    return out


def _row(row: Row, style: Style) -> list[str]:
    indent = _INSIDE + " " * 4 * row.depth
    hanging = indent + " " * (2 + row.hanging)
    remark = f"({row.remark})" if row.remark else ""
    mark = style.paint(row.mark, _MARKS[row.mark]) if row.mark in _MARKS else row.mark
    plain = f"{indent}{row.mark} {row.text}" + (f"  {remark}" if remark else "")
    if style.room is None or columns(plain) <= style.room:
        told = f"  ({style.paint(row.remark, 'yellow')})" if remark else ""
        return [f"{indent}{mark} {row.text}{told}"]
    first, *others = style.fitted(row.text, f"{indent}{row.mark} ", hanging)
    lines = [first.replace(f"{indent}{row.mark}", f"{indent}{mark}", 1), *others]
    return lines + [style.paint(line, "yellow") for line in style.fitted(remark, hanging)]
