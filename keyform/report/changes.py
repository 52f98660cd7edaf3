"""The lines that explain one change: shared by the terminal's text and by Markdown.

Every string that comes out is safe for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keyform.engine.diff import EVERYTHING
from keyform.engine.plan import (
    CREATE,
    DROP,
    END,
    ERASE,
    FORGET,
    IMPORT,
    MOVE,
    REFRESH,
    REPLACE,
    REVOKE,
    ROLLBACK,
    ROTATE,
    UPDATE,
    Change,
    FieldDiff,
    Plan,
)
from keyform.profile import ASSISTED
from keyform.report.safe import padded, quoted, visible

_TO = {
    CREATE: "create at",
    UPDATE: "update in place at",
    REPLACE: "replace by a new key at",
    ROTATE: "rotate: a new generation at",
    ROLLBACK: "roll back to an older generation at",
    REVOKE: "revoke at",
    IMPORT: "import from",
}
_IN_STATE = {
    MOVE: "rename in the state",
    FORGET: "drop from the state",
    REFRESH: "take note in the state",
}

_LEGEND = {
    CREATE: "create",
    UPDATE: "update in place",
    REPLACE: "create a new key, then revoke the old one",
    ROTATE: "rotate",
    ROLLBACK: "make an older generation current again",
    REVOKE: "revoke",
    IMPORT: "import",
    MOVE: "rename",
    FORGET: "forget",
    REFRESH: "take note of what changed outside",
}

DONE = {
    CREATE: "created",
    UPDATE: "updated",
    REPLACE: "replaced",
    ROTATE: "rotated",
    ROLLBACK: "rolled back",
    REVOKE: "revoked",
    IMPORT: "imported",
    MOVE: "moved",
    FORGET: "forgotten",
    REFRESH: "refreshed",
}


_FOUND = {
    "missing": "missing",
    "other-value": "another value than keyform wrote",
    "changed": "changed since keyform wrote it; its value cannot be read",
    "other-generation": "the secret of generation {generation}",
    "revoked-generation": "the secret of generation {generation}, which is revoked",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: ``mark`` is ``+``, ``-``, ``~`` or a space, ``depth`` the level, ``remark`` a warning
    about what the line means for whoever holds the key. ``hanging``: how far in its further lines begin,
    where it needs more than one."""

    mark: str
    text: str
    depth: int = 0
    remark: str = ""
    hanging: int = 2


def heading(change: Change) -> str:
    """What happens, where: ``update in place at payments (key_123)``."""
    which = f" ({visible(change.key_id)})" if change.key_id else ""
    if change.action in _IN_STATE:
        return _IN_STATE[change.action] + which
    by_hand = ", by hand" if change.backing == ASSISTED else ""
    return f"{_TO[change.action]} {visible(change.service or 'its service')}{which}{by_hand}"


def rows(change: Change) -> Iterator[Row]:
    """The fields before and after; what a person does, step by step; the secrets that go."""
    new = change.action == CREATE
    width = max((len(visible(d.path)) for d in change.diff), default=0) + 2
    for difference in change.diff:
        path = visible(difference.path)
        before, after = difference.before, difference.after
        if path == "secret" and isinstance(after, list) and len(after) == 1:
            before, after = _one(before), _one(after)
        if _is_set(before) and _is_set(after) and not new:
            yield from _set_rows(path, before or [], after or [], difference)
        elif before is None:
            yield Row("+", padded(path, width) + value(after), remark="" if new else _remark(difference))
        elif after is None:
            yield Row("-", padded(path, width) + value(before), remark=_remark(difference))
        else:
            text = f"{padded(path, width)}{value(before)} -> {value(after)}"
            yield Row("~", text, remark=_remark(difference))
    for one in change.stored:
        found = _FOUND[one.found].format(generation=one.generation)
        yield Row("~", f"secret at {visible(str(one.place))}: {found}", remark=one.remedy)
    left = {one.place: one.why for one in change.left}
    for step in change.steps:
        if step.op == END and (change.action != REVOKE or step.key_id != change.key_id):
            ended = f"{visible(step.key_id or '')} at {visible(step.service or '')}"
            yield Row("-", f"revokes {ended}, last of all")
        for number, line in enumerate(step.checklist, 1):
            yield Row(" ", f"{number}. {visible(line)}", 1, hanging=len(f"{number}. "))
        if step.op in (END, DROP, ERASE):
            for place in step.places:
                if place in left:
                    yield Row(" ", f"leaves {visible(str(place))} as it is: {visible(left[place])}")
                elif step.op == ERASE:  # why the secret moves has been said
                    continue
                elif place.on_revoke == "keep":
                    yield Row(" ", f"keeps the secret at {visible(str(place))}")
                else:
                    yield Row("-", f"deletes the secret at {visible(str(place))}")


def value(item: Any) -> str:
    """A JSON value as a report shows it."""
    if isinstance(item, str):
        return quoted(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, list | tuple):
        return "[" + ", ".join(map(value, item)) + "]"
    if isinstance(item, dict):
        return "{" + ", ".join(f"{visible(str(name))}: {value(entry)}" for name, entry in item.items()) + "}"
    return "none" if item is None else str(item)


_VERBS = {ROLLBACK: "roll back"}


def counted(summary: dict[str, int]) -> str:
    """``2 to create, 1 to update``: the actions that a plan's summary counts."""
    counts = {action: count for action, count in summary.items() if count and action in DONE}
    return ", ".join(f"{count} to {_VERBS.get(action, action)}" for action, count in counts.items())


def done_words(counts: dict[str, int]) -> str:
    """``2 created, 1 updated``: what came of the actions counted in ``counts``."""
    return ", ".join(f"{counts[action]} {word}" for action, word in DONE.items() if counts.get(action))


def legend(plan: Plan) -> list[tuple[str, str]]:
    """Each action that occurs in the plan, and what it means."""
    found = {change.action for change in plan.changes}
    return [(action, words) for action, words in _LEGEND.items() if action in found]


def groups(plan: Plan) -> list[tuple[str, tuple[Change, ...]]]:
    """The changes that somebody asked for, and apart from them those that undo what happened outside."""
    intended = tuple(change for change in plan.changes if not change.drift)
    drift = tuple(change for change in plan.changes if change.drift)
    outside = (
        "Changed outside keyform; apply takes note and touches no key"
        if plan.mode == "refresh-only"
        else "Changed outside keyform; apply makes it as declared again"
    )
    return [(title, found) for title, found in (("Planned changes", intended), (outside, drift)) if found]


def nothing_to_do(plan: Plan) -> str:
    """The sentence for a plan without changes."""
    if plan.mode == "destroy":
        return "Nothing to destroy. The state owns no key."
    if plan.held_back and not plan.failed:
        return "No changes but those that are held back; see the errors."
    if plan.half_seen and not plan.failed:
        return (
            "No changes in what could be read. Not every listing could be read as a whole, so nothing can be "
            "said of the keys that it did not show; see the warnings."
        )
    if plan.half_compared and not plan.failed:
        return (
            "No changes in what could be read. Not every store could be looked at, so nothing can be said of "
            "the secrets there; see the warnings."
        )
    if plan.mode == "refresh-only":
        return "No changes. The services show what the state records."
    if plan.failed:
        return "No changes could be planned; see the errors."
    if plan.targets:
        return f"No changes to {', '.join(map(visible, plan.targets))}."
    return "No changes. Every declared key is as declared."


def summary_line(plan: Plan) -> str:
    """``Plan: 2 to create, 1 to update; 5 unchanged.``"""
    if plan.empty:
        return nothing_to_do(plan)
    return f"Plan: {tally(plan)}" + (" It cannot be applied; see the errors." if plan.failed else "")


def tally(plan: Plan) -> str:
    """What a plan with changes comes to, like ``2 to create; 1 origin loses access; 5 unchanged.``"""
    seen = " as far as could be read" if plan.half_seen or plan.half_compared else ""
    rest = f"; {plan.unchanged} unchanged{seen}" if plan.unchanged else ""
    lost = plan.summary.get("origins_lost", 0)
    access = f"; {lost} {'origin loses' if lost == 1 else 'origins lose'} access" if lost else ""
    held = f"; {len(plan.held_back)} held back by an error" if plan.held_back else ""
    return f"{counted(plan.summary)}{access}{rest}{held}.{people(plan)}"


def people(plan: Plan) -> str:
    """How many changes need a person, as a sentence with a space before it; or nothing."""
    count = plan.summary.get("by_hand", 0)
    if not count:
        return ""
    return " 1 change needs a person." if count == 1 else f" {count} changes need a person."


def unmanaged_lines(plan: Plan) -> list[str]:
    """One line per service that has keys which keyform leaves alone."""
    return [
        f"{visible(name)} has {count} more active {'key' if count == 1 else 'keys'} that keyform does not "
        f"manage and leaves alone (`keyform generate {visible(name)}` writes YAML for them)."
        for name, count in plan.unmanaged
    ]


def _one(places: Any) -> Any:
    """Nearly every secret has one place; then it reads better without a list around it."""
    return places[0] if isinstance(places, list) and len(places) == 1 else places


def _is_set(item: Any) -> bool:
    return item is None or isinstance(item, list)


def _set_rows(path: str, before: list[Any], after: list[Any], difference: FieldDiff) -> Iterator[Row]:
    remark = "" if after or not before else "nothing is left of it"
    yield Row("~", path, remark=remark)
    loss = "loses access" if difference.path == "allowed_origins" else ""
    for item in after:
        if item not in before:
            yield Row("+", value(item), 1)
    for item in before:
        if item not in after:
            yield Row("-", value(item), 1, loss)


def _remark(difference: FieldDiff) -> str:
    path, before, after = difference.path, difference.before, difference.after
    if path == "scopes" and after == EVERYTHING:
        return "no scopes are named"
    if path == "protect" and before is True:
        return "no longer protected"
    if path == "credits.remaining" and isinstance(before, int) and isinstance(after, int):
        return "sets what is left"
    return ""
