"""Asking the gate of an old generation once more, right before it is revoked."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from keyform.apply.read import SHORT_WHILE
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.engine.gates import gate_of, holds
from keyform.engine.options import DESTROY
from keyform.engine.plan import END, MINT, Change, Plan, Step
from keyform.engine.sight import ServiceView, Sight
from keyform.errors import ServiceError


@dataclass(slots=True)
class _Look:
    view: ServiceView
    at: float


class Gating:
    """Holds back the revocations of a plan that no longer should be: whoever uses an old generation does so
    while a plan waits for its review, an approval for its answer, and a revocation for those before it.
    ``sight`` is what the services showed ``looked`` (monotonic seconds) ago. For several threads at once."""

    def __init__(self, ws: Workspace, plan: Plan, sight: Sight, looked: float) -> None:
        self._ws = ws
        declared = () if plan.mode == DESTROY else sight.desired.keys
        self._rotations = {want.address: want.rotation for want in declared}
        self._looks = {name: _Look(view, looked) for name, view in sight.services.items()}
        self._known = {
            (generation.service, generation.id): (generation, record)
            for record in sight.state.keys.values()
            for generation in record.generations()
        }
        self._looking = threading.Lock()

    def holds(self, change: Change, step: Step) -> Diagnostic | None:
        """Why the step is not to be taken now; None for one that no gate has a say in, or that its gate lets
        pass. Lists the service again where that was done a while ago. Raises ``ServiceError`` where it cannot
        be listed."""
        if step.op != END or step.gone or step.now or step.address not in self._rotations:
            return None
        if any(other.op == MINT and other.now for other in change.steps):
            return None
        known = self._known.get((step.service or "", step.key_id or ""))
        rotation, look = self._rotations[step.address], self._looks.get(step.service or "")
        if known is None or look is None or gate_of(rotation, look.view) is None:
            return None
        return holds(*known, rotation, self._now(look), self._ws.clock.now())

    def _now(self, look: _Look) -> ServiceView:
        with self._looking:
            at = self._ws.clock.monotonic()
            if at - look.at > SHORT_WHILE:
                listing = self._ws.service(look.view.name).list()
                if not listing.complete:
                    raise ServiceError(
                        f"service {look.view.name!r}: its listing is incomplete, so nobody knows whether the "
                        "old key is still in use",
                        "It was not revoked. The next `keyform apply` asks again.",
                    )
                look.view, look.at = ServiceView.of(look.view.name, look.view.profile, listing), at
            return look.view
