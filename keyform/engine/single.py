"""Kinds that have exactly one key: whether it is there, whose it is, and what a successor is made from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from keyform.diagnostics import Diagnostic, error
from keyform.engine.sight import ServiceView
from keyform.engine.wording import command
from keyform.engine.written import in_yaml, key_in_yaml
from keyform.model import DesiredKey, LiveKey
from keyform.state import KeyRecord

AT_ONCE = timedelta(seconds=5)
"""How far apart the service may say that two keys of one create were made."""


def rerolled(
    want: DesiredKey, view: ServiceView, record: KeyRecord | None, records: Collection[KeyRecord]
) -> str | None:
    """The id of the key that the next generation of ``want`` is made from by rotation; None where it is
    created. Without a ``record`` of its own, that is a key which the create of another one made as well;
    ``records`` are those of the whole state."""
    holder = view.holder(want.spec.kind)
    if holder is None:
        return None
    if record is not None:
        return holder.id if (record.current.service, record.current.id) == (view.name, holder.id) else None
    return holder.id if _made_beside(holder, view, records) else None


def taken(want: DesiredKey, view: ServiceView, before: str | None = None) -> Diagnostic | None:
    """Why no key can be created: the one key of the kind is there, and is not keyform's. ``before`` is the id
    that keyform knew."""
    holder = view.holder(want.spec.kind)
    if holder is None:
        return None
    name = key_in_yaml(want.address)
    adopt = f"adopt it with `imports: [{{key: {name}, id: {in_yaml(holder.id)}}}]`"
    then = "put its secret into the store, or let the first rotation do it."
    rule = view.profile.cite("kind")
    if before is not None:
        return error(
            "rotated-elsewhere",
            f"{want.address}: {before} was rotated at {view.name} outside keyform; {holder.id} is the one "
            f"{want.spec.kind} key now, and nothing tells keyform its secret",
            f"If that was meant, forget the old key with {command('state', 'rm', want.address)}, {adopt}, "
            f"and {then} {rule}".rstrip(),
            address=want.address,
        )
    return error(
        "exists-already",
        f"{want.address}: {view.name} has its one {want.spec.kind} key already, {holder.id}, and nothing "
        "tells keyform its secret",
        f"Somebody may be using it, so {adopt}, and {then} {rule}".rstrip(),
        address=want.address,
    )


def _made_beside(holder: LiveKey, view: ServiceView, records: Collection[KeyRecord]) -> bool:
    """Whether a create of keyform's made this key too. The service says of both when they were made; one that
    was there before, or was rotated since, is of another time."""
    if not view.profile.made_together or holder.created_at is None:
        return False
    generations = [generation for record in records for generation in record.generations()]
    if any((generation.service, generation.id) == (view.name, holder.id) for generation in generations):
        return False
    return any(
        generation.service == view.name
        and generation.marker is not None
        and abs(generation.created_at - holder.created_at) <= AT_ONCE
        for generation in generations
    )
