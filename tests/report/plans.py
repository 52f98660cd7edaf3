"""Plans to report on."""

from datetime import UTC, datetime
from typing import Any

from keyform.diagnostics import error, warning
from keyform.engine.options import Options
from keyform.engine.plan import Change, FieldDiff, Plan, Step
from keyform.model import Location, Place

NOW = datetime(2027, 1, 31, tzinfo=UTC)


def plan(*changes: Change, **rest: Any) -> Plan:
    """A plan of these changes; ``mode`` and ``targets`` are of its options."""
    asked = {name: rest.pop(name) for name in ("mode", "targets") if name in rest}
    rest = {"options": Options(**asked), **rest}
    return Plan("11111111-2222-3333-4444-555555555555", 7, "sha256:config", NOW, changes, **rest)


def hostile_plan(text: str) -> Plan:
    """A plan with ``text`` in every place where something from outside can stand."""
    end = Step("revoke", text, text, text + "2", places=(Place(text, text, text),))
    diff = (
        FieldDiff("name", text, text + "!"),
        FieldDiff("scopes", [text], [text, text + "+"]),
        FieldDiff("description", None, text),
        FieldDiff("environment", text, None),
        FieldDiff(text, {text: text}, [text, {text: [text]}]),
    )
    changes = tuple(
        Change(
            text + str(at),
            action,
            text,
            text,
            text,
            1,
            diff,
            drift,
            steps=(end,),
            privilege=("widens", "moves", "narrows", None)[at % 4],
            privilege_words=(text,) if at % 4 < 3 else (),
        )
        for at, (action, drift) in enumerate(
            (action, drift)
            for action in (
                "create",
                "update",
                "replace",
                "rotate",
                "revoke",
                "import",
                "move",
                "forget",
                "refresh",
            )
            for drift in (False, True)
        )
    )
    told = (
        warning(text, text, text, address=text),
        error("x", text, text, location=Location(text, 3, 2), snippet=text),
    )
    return plan(*changes, unmanaged=((text, 2),), diagnostics=told, targets=(text,))
