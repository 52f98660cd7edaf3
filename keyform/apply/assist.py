"""Steps that a person carries out: whose turn it is, and what is written down before they are asked."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from keyform.apply.intents import Intent
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, note
from keyform.engine.checklist import checklist, stray_checklist
from keyform.engine.plan import ALTER, END, MINT, SET_ORIGINS, Step
from keyform.errors import Pending
from keyform.model import KeySpec, instant
from keyform.ports import Task
from keyform.profile import ASSISTED
from keyform.state import Generation

_WORDS = {MINT: "create", ALTER: "update", END: "revoke", SET_ORIGINS: "set origins"}


def task_of(step: Step, known: Iterable[Generation] = ()) -> Task:
    """What a person is asked for a step with a checklist. ``known`` are keys that the state has."""
    prints = tuple(g.fingerprint for g in known if g.fingerprint) if step.op == MINT else ()
    return Task(step.address, step.service or "", _WORDS[step.op], step.checklist, prints)


def turn(ws: Workspace, step: Step, known: Iterable[Generation]) -> AbstractContextManager[None]:
    """The desk's turn for a step with a checklist; nothing for any other."""
    return ws.desk.turn(task_of(step, known)) if step.checklist else nullcontext()


def expect(ws: Workspace, steps: Iterable[Step]) -> None:
    """Tell the desk what is coming. Raises ``PlanError``."""
    tasks = tuple(task_of(step) for step in steps if step.checklist)
    if tasks:
        ws.desk.expect(tasks)


def undoing(ws: Workspace, step: Step, key_id: str) -> AbstractContextManager[None]:
    """The desk's turn for revoking a key that was minted and could not be kept."""
    profile = ws.service(step.service or "").profile
    if profile.operations.get("revoke") != ASSISTED:
        return nullcontext()
    end = Step(END, step.address, step.service, key_id)
    return ws.desk.turn(Task(step.address, step.service or "", "revoke", checklist(profile, end, step.spec)))


def settle_unseen(ws: Workspace, intent: Intent) -> Diagnostic:
    """Have a person look for what came of an intent without a receipt, and delete it. Raises ``Pending``."""
    step = intent.step
    profile, spec = ws.service(step.service or "").profile, step.spec or KeySpec()
    since = instant(intent.sent.at.replace(microsecond=0)) if intent.sent else "the last apply"
    lines = stray_checklist(profile, spec, since)
    try:
        with ws.desk.turn(Task(step.address, step.service or "", "look for a stray key", lines)):
            ws.desk.confirm()
    except Pending as pending:
        raise Pending(
            f"{step.address}: a key named {spec.name!r} may be in the dashboard of {profile.title}, made "
            f"after {since}, whose secret is stored nowhere",
            "An apply was interrupted while a person was asked for it. Delete that key there if it exists, "
            f"and run `keyform {ws.operation}` on a terminal to say so, or give `{step.address}<TAB>done` by "
            "`--secrets-from`; nothing else of that service is done before.",
            begun=True,
        ) from pending
    return note(
        "recovered",
        f"{step.address}: no key of the interrupted apply is in the dashboard",
        address=step.address,
    )
