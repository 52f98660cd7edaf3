"""A new key that its service makes as a copy of the one before: Unkey's reroll (docs/adr/0014).

The copy has everything of the old key, its ownership label and its end too, and the old key gets an end. So
the old key is *lent* the label of the new one first, which the copy then has from its first instant; once the
copy is in the journal, the old key gets its own label and end *back*, and the copy what it is to have. An
answer that is lost, and a crash at any point, leave a key with a marker, as a create would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.apply.intents import Intent, Original, Sent
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.diff import changed_fields
from keyform.engine.plan import Step
from keyform.engine.reroll import asked_life, copies
from keyform.engine.sight import ServiceView
from keyform.errors import AnswerLost, KeyformError, ServiceError
from keyform.model import REVOKED, KeySpec, LiveKey
from keyform.ports import Minted, Service
from keyform.profile import Profile

NO_SKEW = timedelta(0)
EARLIEST, LATEST = timedelta(minutes=-1), timedelta(minutes=30)
"""When a key may be made, counted from when its request was written down: clocks differ a little, and a
request may be held back by rate limits. It is what tells whose a key is whose label does not."""


APART = timedelta(seconds=30)
"""By how much two times that a service shows may be apart that are of one call."""


def original_of(service: Service, step: Step, shown: LiveKey | None, now: datetime) -> Original | None:
    """The key that the step has its service copy, as it is ``shown``; None for a step that does not. Raises
    ``ServiceError`` where it is not there."""
    if step.key_id is None or not copies(service.profile):
        return None
    if shown is None:
        raise ServiceError(f"{step.address}: {step.key_id} is no longer at {service.name}", "Plan again.")
    life = asked_life(service.profile, step.overlap or timedelta(0), shown.spec.expires_at, now)
    return Original(shown.id, shown.label, shown.spec, life)


def copy_key(service: Service, original: Original, sent: Sent, label: str) -> Minted:
    """Have the service copy the key, which has the copy's label after that. Raises ``AnswerLost`` where there
    may be a copy, or the key may have that label yet; after any other ``ServiceError`` all is as it was."""
    known = LiveKey(original.key_id, original.spec, label=label)
    lent = service.update(known, original.spec, frozenset((_label_field(service.profile),)))
    try:
        if lent.label != label:
            raise ServiceError(
                f"service {service.name!r}: {original.key_id} does not show the label that it was given",
                "It was not rerolled. Ask whoever runs the service.",
            )
        return service.reroll(original.key_id, sent.spec, original.life, label)
    except AnswerLost:
        raise
    except ServiceError as problem:
        try:
            give_back(service, original, original.spec, sent.at)
        except ServiceError as failure:
            raise AnswerLost((*problem.diagnostics, *failure.diagnostics)) from problem
        raise


def give_back(service: Service, original: Original, shown: KeySpec, now: datetime) -> None:
    """Give a key that was lent a label its own label and end again; the rest stays as it is ``shown``. An end
    that has come by ``now`` is left to the next plan, since a service need not take one in the past."""
    ends = original.spec.expires_at
    fields = {_label_field(service.profile)} | ({"expires_at"} if ends is None or ends > now else set())
    key = LiveKey(original.key_id, shown, label=original.label)
    service.update(key, replace(shown, expires_at=ends), frozenset(fields))


def finish_copy(service: Service, original: Original, made: LiveKey, spec: KeySpec, now: datetime) -> LiveKey:
    """After the copy's receipt: give the old key back what is its own, and the copy what it is to have, its
    credits included, of which it has what the old one had left. Returns it as it is then shown. Raises
    ``ServiceError``."""
    give_back(service, original, original.spec, now)
    inherited = replace(original.spec, credits=None)
    fields = changed_fields(inherited, spec) & service.profile.mutable
    fields |= {_label_field(service.profile), "expires_at"}
    shown = service.update(replace(made, spec=inherited), spec, fields)
    if shown.label != made.label:
        raise ServiceError(
            f"service {service.name!r}: {made.id} does not show the label that it was given",
            "It cannot be told from other keys then. Ask whoever runs the service.",
        )
    return shown


def returned(ws: Workspace, intent: Intent) -> tuple[Diagnostic, ...]:
    """Give the old key back after a mint that failed; why that could not be done."""
    if intent.original is None:
        return ()
    old = intent.original
    try:
        give_back(ws.service(intent.step.service or ""), old, old.spec, ws.clock.now())
    except KeyformError as failure:
        told = error(
            "undo-failed",
            f"{intent.step.address}: {old.key_id} has not got its own label and expiry back yet",
            "The journal knows of it: the next `keyform apply` does it first of all.",
            address=intent.step.address,
        )
        return (*failure.diagnostics, told)
    return ()


def recover_original(service: Service, view: ServiceView, intent: Intent, now: datetime) -> None:
    """Give the old key of an interrupted copy back what is its own, where it is still there. Raises
    ``ServiceError``."""
    old = intent.original
    shown = view.keys.get(old.key_id) if old is not None else None
    if old is not None and shown is not None and shown.status != REVOKED:
        give_back(service, old, shown.spec, now)


def copies_of(
    service: Service, view: ServiceView, intent: Intent, labelled: Iterable[LiveKey]
) -> tuple[LiveKey, ...]:
    """Which of the keys that carry the intent's label may be the copy: not the old key, which carried it too;
    the one in the receipt, or else what was made when the copy was asked for. Somebody who rerolled the old
    key while it had the label has made another; so one that is alone has to fit the old key's end as well."""
    old, sent = intent.original, intent.sent
    if old is None or sent is None:
        return ()
    others = [key for key in labelled if key.id != old.key_id]
    if intent.receipt is not None:
        return tuple(key for key in others if key.id == intent.receipt.key_id)
    made = tuple(key for key in others if made_then(service, sent, key))
    shown = view.keys.get(old.key_id)
    ends = shown.spec.expires_at if shown is not None else None
    if len(made) == 1 and (ends is None or not _ended_by(service.profile, old, made[0], ends)):
        return ()
    return made


def _ended_by(profile: Profile, old: Original, made: LiveKey, ends: datetime) -> bool:
    """Whether the old key's end is the one that came with this copy, rounded up to a step."""
    if made.created_at is None:
        return False
    late = ends - (made.created_at + old.life)
    return -APART <= late <= profile.overlap_step + APART


def several_copies(intent: Intent, keys: Iterable[LiveKey]) -> Diagnostic:
    """What to tell of copies of which nobody can say whose they are."""
    address, old = intent.step.address, intent.original.key_id if intent.original else ""
    ids = " and ".join(key.id for key in keys)
    return warning(
        "several-copies",
        f"{address}: {ids} were made from {old} while keyform was having it rerolled, one of them for "
        "keyform, and nothing tells which",
        "None of them was touched, and the secret of keyform's own is lost. Plans name them as strays: "
        "revoke the one that nobody uses.",
        address=address,
    )


def made_then(service: Service, sent: Sent, key: LiveKey) -> bool:
    """Whether the service says that the key was made when the request was sent; where it does not say when,
    that is not ruled out."""
    born = key.created_at - (service.clock_skew() or NO_SKEW) if key.created_at else sent.at
    return EARLIEST <= born - sent.at <= LATEST


def _label_field(profile: Profile) -> str:
    marker = profile.rest["marker"]
    field: str = marker if isinstance(marker, str) else marker["in"]
    return field
