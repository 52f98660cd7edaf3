"""What reports say of the direction of privilege: of one change, of a whole plan, and what comes first."""

from __future__ import annotations

from collections.abc import Iterable

from keyform.engine.plan import CREATE, MOVES, NARROWS, WIDENS, Change, Plan
from keyform.engine.privilege import widening
from keyform.report.safe import visible

COLOURS = {WIDENS: "red", MOVES: "yellow", NARROWS: "green"}

LISTED = 10
"""Changes that a summary for reviewers tells of; of more, the rest is counted."""

_MARKS = {WIDENS: "WIDENS", MOVES: "MOVES", NARROWS: "narrows"}
_PLURALS = {WIDENS: "widen", MOVES: "move", NARROWS: "narrow"}


def privilege_line(change: Change) -> str:
    """``WIDENS: can now …; …``: what becomes of what the key can do; empty where that stays."""
    if change.privilege is None:
        return ""
    return f"{_MARKS[change.privilege]}: {'; '.join(map(visible, change.privilege_words))}"


def privilege_counts(plan: Plan) -> str:
    """``2 changes widen and 1 narrows what keys can do.``; empty where none does."""
    summary = plan.summary
    found = [(summary[way], way) for way in _MARKS if summary.get(way)]
    if not found:
        return ""
    told = [f"{count} {way if count == 1 else _PLURALS[way]}" for count, way in found]
    count, _, verb = told[0].partition(" ")
    told[0] = f"{count} change{'' if count == '1' else 's'} {verb}"
    listed = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
    return f"{listed} what keys can do."


def by_privilege(changes: Iterable[Change]) -> list[Change]:
    """The changes in their order, but first those by which a key can do more, then something else."""
    order = {WIDENS: 0, MOVES: 1}
    return sorted(changes, key=lambda change: order.get(change.privilege or "", 2))


def gains(plan: Plan) -> list[str]:
    """For a reviewer: the changes by which keys can do more, a line each and one for each thing; those of
    keys that exist come before new ones."""
    found = sorted(by_privilege(widening(plan)), key=lambda change: change.action == CREATE)
    lines = []
    for change in found[:LISTED]:
        lines.append(f"! {change.address}  {_MARKS[change.privilege or WIDENS]}")
        lines += [f"!   {words}" for words in change.privilege_words]
    if len(found) > LISTED:
        lines.append(f"! and {len(found) - LISTED} more, below")
    return lines
