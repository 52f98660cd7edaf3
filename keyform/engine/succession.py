"""From one generation of a key to the next: the new one is minted and stored first, the old one ends last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.engine.gates import in_use
from keyform.engine.options import Asked
from keyform.engine.plan import END, MINT, ROTATE, Change, FieldDiff, Step, Stored
from keyform.engine.reroll import copies, lives_on, source
from keyform.engine.sight import Presence, ServiceView, seen_digest, terms_of
from keyform.engine.wording import terms_diff, with_on_revoke, worded
from keyform.model import DesiredKey, Place, format_duration, instant
from keyform.state import Generation, KeyRecord

NO_OVERLAP = timedelta(0)


def succeed(
    want: DesiredKey,
    record: KeyRecord,
    action: str,
    reason: str,
    services: Mapping[str, ServiceView],
    now: datetime,
    diff: tuple[FieldDiff, ...],
    found: Presence | None = None,
    stored: tuple[Stored, ...] = (),
    asked: Asked | None = None,
) -> Change:
    """A new generation: minted and stored first, the old one revoked last, after its overlap and when its
    gate lets it. If it was ``asked`` for at once, without either, and with it every other old generation."""
    old, view = record.current, services[want.service]
    at_once = asked is not None and asked.now
    overlap, use = want.rotation.overlap if want.rotation else NO_OVERLAP, None
    if at_once or (found and found.expired):
        overlap = NO_OVERLAP
    elif not overlap:
        use = in_use(old, want.rotation, services[old.service], now)
    step = replace(mint(want, record.next_number), overlap=overlap, now=at_once)
    operation = "create"
    if action == ROTATE and source(want, view, record, (), now) is not None:
        operation, overlap = "reroll", lives_on(view.profile, overlap)
        step = replace(step, key_id=old.id, overlap=overlap)
        if copies(view.profile):
            reason += f"; made from {old.id} by {view.profile.title}'s own reroll"
    ending = [] if overlap or use else [old]
    if at_once:
        ending += deposed_to_end(record, services)
    ends = found.live.spec.expires_at if found and found.live else None
    if overlap and ends is not None and now < ends < now + overlap:
        reason += f"; {old.id} lives on beside the new key until it expires {instant(ends)}, which is before "
        reason += f"its overlap of {format_duration(overlap)} is over"
    elif overlap:
        reason += f"; {old.id} lives on for {format_duration(overlap)} beside the new key"
        if at_once:
            reason += f", the least that {view.profile.title} can be asked for"
    if use:
        reason += f"; {old.id} lives on beside the new key: {use.last}, and {use.waits}"
    if at_once and ending:
        ids = " and ".join(generation.id for generation in ending)
        verb = "is" if len(ending) == 1 else "are"
        reason += f"; {ids} {verb} revoked as soon as the new key is stored, used or not"
    if at_once:
        reason += "".join(_outlives(other, services, now) for other in record.deposed)
    if old.secret_unseen:
        reason += f"; keyform never had the secret of {old.id}, and has the new one"
    diff = (*diff, *kept_diff(want, record))
    live = found.live if found else None
    drift = live is not None and live.spec != old.spec
    return Change(
        want.address,
        action,
        reason,
        view.name,
        old.id,
        record.next_number,
        diff,
        drift or bool(stored),
        seen_digest(live) if live else None,
        view.backing(operation),
        (step, *(end(record, generation, want.places) for generation in ending)),
        stored,
    )


def _outlives(old: Generation, services: Mapping[str, ServiceView], now: datetime) -> str:
    """What to say of an old generation that even a rotation without an overlap leaves alive, if it does."""
    view = services.get(old.service)
    if view is None or view.profile.revokes or old.revoke_at is None or old.revoke_at <= now:
        return ""
    return (
        f"; {old.id} (generation {old.number}) works until {instant(old.revoke_at)}, when "
        f"{view.profile.title} ends it by itself; nothing ends it sooner"
    )


def deposed_to_end(record: KeyRecord, services: Mapping[str, ServiceView]) -> list[Generation]:
    """The old generations in their overlap that can be ended before it is over, the latest first. What no
    call revokes is ended by its service alone."""
    return [
        generation
        for generation in reversed(record.deposed)
        if (view := services.get(generation.service)) is None or view.profile.revokes
    ]


def mint(want: DesiredKey, generation: int) -> Step:
    """A new generation as declared."""
    return Step(
        MINT,
        want.address,
        want.service,
        generation=generation,
        spec=want.spec,
        places=want.places,
        terms=terms_of(want),
    )


def end(record: KeyRecord, generation: Generation, kept: tuple[Place, ...] = ()) -> Step:
    """Revoke a generation and erase its secret, except at places that one after it has written over, or that
    are ``kept`` for the next."""
    every = record.generations()
    after = {place for other in every[every.index(generation) + 1 :] for place in other.written}
    return Step(
        END,
        record.address,
        generation.service,
        generation.id,
        generation=generation.number,
        places=tuple(p for p in generation.written if p not in after and p not in kept),
    )


def kept_diff(want: DesiredKey, record: KeyRecord) -> list[FieldDiff]:
    """What differs in the things that the service knows nothing of."""
    out = [d for d in terms_diff(record.terms, terms_of(want)) if d.before != d.after]
    places, old_places = want.places, record.current.places
    if with_on_revoke(places) != with_on_revoke(old_places):
        out.append(FieldDiff("secret", [worded(p) for p in old_places], [worded(p) for p in places]))
    return out
