"""``keyform import``: adopt one live key for one declared address, now."""

from __future__ import annotations

import threading
from dataclasses import replace

from keyform.apply.execute import Report
from keyform.apply.run import Outcome, apply
from keyform.apply.workspace import Workspace
from keyform.engine.options import IMPORT_ONLY, Options
from keyform.errors import PlanError
from keyform.model import Import


def adopt(ws: Workspace, address: str, key_id: str, on_event: Report) -> Outcome:
    """Record the live key ``key_id`` as ``address``, which must be declared and not be in the state. The key
    stays as it is; where it differs from the declaration, the next plan shows it. Raises
    ``KeyformError``."""
    if all(want.address != address for want in ws.desired.keys):
        raise PlanError(
            f"{address} is not declared",
            "Declare the key first, as it is at the service; `keyform generate` writes that for you.",
        )
    state, _ = ws.read_state()
    if address in state.keys:
        raise PlanError(
            f"{address} is {state.keys[address].current.id} in the state already",
            "Forget it first with `keyform state rm`, if another key is to take its place.",
        )
    others = tuple(entry for entry in ws.desired.imports if entry.address != address)
    ws.desired = replace(ws.desired, imports=(*others, Import(address, key_id)))
    return apply(
        ws,
        Options(IMPORT_ONLY, targets=(address,)),
        approve=lambda plan: True,
        on_event=on_event,
        stop=threading.Event(),
    )
