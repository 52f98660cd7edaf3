"""Doubts in an apply: asking whether somebody has looked."""

from __future__ import annotations

from dataclasses import replace

from keyform.apply.execute import Report
from keyform.apply.workspace import Workspace
from keyform.doubt import Doubt
from keyform.engine.doubts import doubt_checklist
from keyform.errors import Pending
from keyform.ports import Task
from keyform.state import State


def ask_about_doubts(ws: Workspace, state: State, on_event: Report) -> State:
    """The state without the doubts that a person says they have looked into. Nobody has to answer."""
    open_still: list[Doubt] = []
    for number, doubt in enumerate(state.doubts):
        task = Task(doubt.address, doubt.service, "look for a stray key", doubt_checklist(doubt, state))
        try:
            with ws.desk.turn(task):
                ws.desk.confirm()
        except Pending as pending:
            if pending.begun:  # whoever was asked left
                open_still += state.doubts[number:]
                break
            open_still.append(doubt)
            continue
        what = f"{doubt.address}: a person has looked for the key that {doubt.service} may have minted"
        on_event({"type": "recovered", "address": doubt.address, "what": what})
    return state if len(open_still) == len(state.doubts) else replace(state, doubts=tuple(open_still))
