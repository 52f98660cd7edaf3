"""What an apply says of itself beside the plan: what it found on its way in, and what it could not close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from keyform.apply.execute import Report
from keyform.apply.recover import Resolved
from keyform.diagnostics import Diagnostic, warning
from keyform.doubt import Doubt
from keyform.engine.doubts import about_doubt
from keyform.model import instant
from keyform.ports import LockRecord
from keyform.state import State


def warn(diagnostics: Iterable[Diagnostic], on_event: Report) -> None:
    """One event for each."""
    for diagnostic in diagnostics:
        on_event({"type": "warning", "diagnostic": diagnostic.as_json()})


def tell_resolved(resolved: Resolved, on_event: Report) -> None:
    """The notes of a recovery, its warnings as such."""
    for diagnostic in resolved.notes:
        if diagnostic.severity == "warning":
            warn((diagnostic,), on_event)
        else:
            on_event({"type": "recovered", "address": diagnostic.address, "what": diagnostic.summary})


def tell_of_doubts(doubts: Iterable[Doubt], state: State, on_event: Report) -> None:
    """Warn of each."""
    warn((about_doubt(doubt, state) for doubt in doubts), on_event)


def about_dead(dead: LockRecord) -> Diagnostic:
    """That the state was locked by a run that is no more."""
    return warning(
        "lock-of-dead-process",
        f"the `keyform {dead.operation}` that {dead.who} ran on {dead.host} ended without unlocking the "
        "state",
        "It was killed or crashed. This run finishes what it left.",
    )


def about_lapsed(before: State, after: State) -> Iterator[Diagnostic]:
    """That rotations for now came to nothing, of those that ``before`` did not know of."""
    for address, record in after.keys.items():
        known = before.keys.get(address)
        if record.current.revoke_now and not (known is not None and known.current.revoke_now):
            yield warning(
                "old-key-works",
                f"{address}: the interrupted `rotate --now` had stored no new secret, and "
                f"{record.current.id} still works",
                "It is due at once: a plan of that address rotates it again, and revokes the old one last of "
                "all, used or not.",
                address=address,
            )


def about_running(holder: LockRecord) -> Diagnostic:
    """That another run holds the state."""
    return warning(
        "apply-running",
        f"`keyform {holder.operation}` by {holder.who} on {holder.host} has been running since "
        f"{instant(holder.since)}",
        "The plan shows what it had completed by now. Plan again when it is over; a plan saved now will be "
        "refused.",
    )
