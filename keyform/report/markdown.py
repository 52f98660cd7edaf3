"""A plan as Markdown for a pull request. Whatever a value holds, it stays a value: see ``safe``."""

from __future__ import annotations

from keyform.diagnostics import Diagnostic
from keyform.engine.plan import Change, Plan
from keyform.report.changes import DONE, groups, heading, nothing_to_do, rows, tally
from keyform.report.diagnostics import diagnostics_text
from keyform.report.privilege import by_privilege, gains, privilege_counts, privilege_line
from keyform.report.safe import code_span, fenced
from keyform.report.style import SYMBOLS, Style

LARGEST = 60_000
"""Characters after which changes are only counted; a comment on GitHub may have 65,536."""

_FOLD_FROM = 25
_DIFF_MARKS = {"+": "+", "-": "-", "~": "!"}


def plan_markdown(plan: Plan, digest: str) -> str:
    """The whole comment. ``digest`` is that of the plan file, so that a reader can tell which plan it is."""
    out = ["## keyform plan", "", f"**{_headline(plan)}**", ""]
    room = LARGEST
    if told := gains(plan):
        block = [f"**{privilege_counts(plan)}**", "", *fenced(told, "diff"), ""]
        room -= sum(len(line) + 1 for line in block)
        out += block
    for title, changes in groups(plan):
        out += [f"### {title}", ""]
        for action in DONE:
            found = by_privilege(change for change in changes if change.action == action)
            if found:
                block = _section(action, found, room)
                room -= sum(len(line) + 1 for line in block)
                out += block
    out += _diagnostics(plan.diagnostics)
    for name, count in plan.unmanaged:
        noun = "key" if count == 1 else "keys"
        out += [f"{code_span(name)} has {count} more active {noun} that keyform leaves alone.", ""]
    if plan.targets:
        out += ["Only for " + ", ".join(map(code_span, plan.targets)) + ".", ""]
    out.append(f"Plan {code_span(digest)}, state serial {plan.serial}.")
    return "\n".join(out) + "\n"


def _headline(plan: Plan) -> str:
    if plan.failed:
        errors = sum(d.severity == "error" for d in plan.diagnostics)
        return f"This plan cannot be applied: {errors} {'error' if errors == 1 else 'errors'}."
    if plan.empty:
        return nothing_to_do(plan)
    return tally(plan)


def _section(action: str, changes: list[Change], room: int) -> list[str]:
    lines: list[str] = []
    left_out = 0
    for change in changes:
        block = [*([""] if lines else []), *_change(change)]
        size = sum(len(line) + 1 for line in block)
        if size > room:
            left_out += 1
            continue
        room -= size
        lines += block
    out = [f"#### {action.capitalize()}", ""]
    if lines:
        folded = len(lines) > _FOLD_FROM
        if folded:
            out += ["<details>", f"<summary>Show {len(changes)}</summary>", ""]
        out += [*fenced(lines, "diff"), ""]
        if folded:
            out += ["</details>", ""]
    if left_out:
        out += [f"{left_out} more are left out here for their length; see the plan file.", ""]
    return out


def _change(change: Change) -> list[str]:
    mark = _DIFF_MARKS.get(SYMBOLS[change.action][0], "!")
    out = [f"{mark} {change.address}  {heading(change)}", f"    # {change.reason}"]
    if line := privilege_line(change):
        out.append(f"    {line}")
    for row in rows(change):
        remark = f"  ({row.remark})" if row.remark else ""
        out.append(f"{_DIFF_MARKS.get(row.mark, ' ')}   {'  ' * row.depth}{row.text}{remark}")
    return out


def _diagnostics(diagnostics: tuple[Diagnostic, ...]) -> list[str]:
    if not diagnostics:
        return []
    lines = diagnostics_text(diagnostics, Style(width=100)).rstrip("\n").split("\n")
    return ["### Messages", "", *fenced(lines), ""]
