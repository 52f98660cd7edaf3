"""Clocks that disagree: what goes by time is not done at a service whose clock is far from this machine's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from keyform.diagnostics import Diagnostic, error
from keyform.engine import plan as pl
from keyform.engine.gates import gate_of
from keyform.engine.plan import Change
from keyform.engine.sight import ServiceView, Sight, presence
from keyform.model import format_duration
from keyform.state import Generation

CLOCK_SKEW = "clock-skew"

LIMIT = timedelta(minutes=5)
"""By how much the clocks of this machine and of a service may differ."""


def guard_clocks(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """The errors that forbid what goes by time where the clocks disagree."""
    off = {name: far for name, view in sight.services.items() if (far := _far(view.skew))}
    for change in changes if off else ():
        if (name := _by_time(change, sight, frozenset(off))) is not None:
            yield error(
                CLOCK_SKEW,
                f"{change.address}: keyform will not {change.action} it while the clock of {name} is "
                f"{off[name]}",
                "One of the two is wrong, and a rotation would come, or a key end, at the wrong time. Set it "
                "right (`keyform doctor` shows the difference), and run this again.",
                address=change.address,
            )


def _far(skew: timedelta | None) -> str | None:
    """How far a service's clock is from this machine's, in words, where that is too far."""
    if skew is None or abs(skew) <= LIMIT:
        return None
    span = format_duration(timedelta(seconds=round(abs(skew).total_seconds())))
    return f"{span} {'ahead of' if skew > timedelta(0) else 'behind'} this machine's"


_SOON = timedelta(days=1)


def _dying(sight: Sight, current: Generation, view: ServiceView) -> bool:
    """Whether a key has ended or ends within a day, by its service's own clock."""
    found = presence(view, current, sight.now)
    ends = found.live.spec.expires_at if found.live else None
    if found.live is None or found.expired:
        return found.known
    return ends is not None and ends <= sight.now + (view.skew or timedelta(0)) + _SOON


def _by_time(change: Change, sight: Sight, off: frozenset[str]) -> str | None:
    """The service among those whose clock is ``off`` where the change goes by time, or None. A rotation that
    is asked for with ``--now`` goes by none, and a key that is dead or about to die is not kept waiting: an
    end at a somewhat wrong time is better than no key that works."""
    want = next((want for want in sight.desired.keys if want.address == change.address), None)
    record = sight.state.keys.get(change.address)
    minting = [step for step in change.steps if step.op in (pl.MINT, pl.PROMOTE)]
    ended = {(step.service, step.key_id) for step in change.steps if step.op == pl.END}
    # A key that is no longer to be there ends whole, at whatever time.
    whole = not minting and record and (record.current.service, record.current.id) in ended
    for step in change.steps:
        view = sight.services.get(step.service or "")
        if view is None or view.name not in off:
            continue
        match step.op:
            case pl.MINT if step.now or (record and _dying(sight, record.current, view)):
                timed = False
            case pl.MINT:
                timed = bool(step.overlap or (step.terms and step.terms.expires_in is not None))
                timed = timed or (change.action == pl.ROTATE and not step.now)
            case pl.PROMOTE:
                timed = True
            case pl.ALTER:
                timed = "expires_at" in step.fields
            case pl.END if want is None or whole or step.now or any(other.now for other in minting):
                timed = False
            case pl.END:
                timed = not minting or gate_of(want.rotation if want else None, view) is not None
            case _:
                timed = False
        if timed:
            return view.name
    return None
