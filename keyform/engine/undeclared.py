"""What becomes of keys that are no longer declared, of deposed generations, and of projects."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from keyform.diagnostics import Diagnostic, error
from keyform.engine.diff import words
from keyform.engine.gates import Use, deadline, gate_of, held, in_use
from keyform.engine.plan import (
    CREATE,
    DROP,
    DROP_PROJECT,
    FORGET,
    REVOKE,
    SET_ORIGINS,
    UPDATE,
    Change,
    FieldDiff,
    Step,
)
from keyform.engine.renames import moved_entry
from keyform.engine.sight import ServiceView, presence, seen_digest
from keyform.engine.succession import end
from keyform.engine.written import key_in_yaml
from keyform.model import DesiredKey, DesiredProject, LiveProject, Rotation, format_duration, instant
from keyform.profile import ON_PROJECT
from keyform.state import Generation, KeyRecord, ProjectRecord


def plan_removed(
    record: KeyRecord, view: ServiceView | None, why: str, now: datetime, renamed: str | None = None
) -> Change | Diagnostic:
    """Revoke all generations of a key that is no longer declared, or forget what is gone already.
    ``renamed`` is the address of a new key that looks like it."""
    if record.protect:
        moved = f"; if it is {renamed} now, say so: {moved_entry(record.address, renamed)}" if renamed else ""
        return error(
            "protected",
            f"{record.address} is protected and would be revoked: {why}",
            f"Put it back, or set `protect: false` on it and apply that first{moved}.",
            address=record.address,
        )
    current = record.current
    if view is None:
        name = key_in_yaml(record.address)
        forget = f", or forget the key with `removed: [{{key: {name}, revoke: false}}]`"
        return service_gone(record.address, current, forget)
    found = presence(view, current, now)
    if found.live is None and not record.deposed:
        return Change(
            record.address,
            FORGET,
            f"{why}, and {current.id} is no longer at {view.name}",
            view.name,
            current.id,
            current.number,
            drift=True,
            seen=seen_digest(None),
            steps=(Step(DROP, record.address, current.service, current.id, places=current.written),),
        )
    return Change(
        record.address,
        REVOKE,
        why,
        view.name,
        current.id,
        current.number,
        seen=seen_digest(found.live),
        backing=view.backing("revoke"),
        steps=tuple(end(record, generation) for generation in record.generations()),
    )


def service_gone(address: str, generation: Generation, otherwise: str = "") -> Diagnostic:
    """A key is to be revoked at a service that the configuration no longer has."""
    return error(
        "service-not-declared",
        f"{address}: {generation.id} would be revoked at {generation.service}, which is no longer declared",
        f"Declare the service again until the key is revoked{otherwise}.",
        address=address,
    )


def plan_forgotten(record: KeyRecord, why: str) -> Change:
    """Drop a key from the state and let it live, its old generations too; their secrets stay where they
    are."""
    old = ", ".join(f"{generation.id} (generation {generation.number})" for generation in record.deposed)
    beside = f", and its old {old} beside it: no overlap or gate ends what is forgotten" if old else ""
    return Change(
        record.address,
        FORGET,
        f"{why}; {record.current.id} lives on at {record.current.service}{beside}",
        record.current.service,
        record.current.id,
        record.current.number,
        steps=(Step(DROP, record.address),),
    )


def plan_left(record: KeyRecord, view: ServiceView) -> Change:
    """Drop a key that nothing can revoke from the state, when all else is destroyed."""
    return plan_forgotten(record, f"{view.profile.title}: no call that revokes a key is documented")


def plan_deposed(
    record: KeyRecord,
    want: DesiredKey,
    services: Mapping[str, ServiceView],
    now: datetime,
    ended: Collection[tuple[str | None, str | None]] = (),
) -> Iterator[Change | Diagnostic]:
    """Revoke the old generations whose overlap has ended, unless they are still in use. Each is at the
    service that the key was declared at then. ``ended`` are keys, by service and id, that the plan ends
    already."""
    for generation in record.deposed:
        if generation.revoke_at is None or generation.revoke_at > now:
            continue
        if (generation.service, generation.id) in ended:
            continue
        view = services.get(generation.service)
        if view is None:
            yield service_gone(record.address, generation)
            continue
        use = None if generation.revoke_now else in_use(generation, want.rotation, view, now)
        latest = deadline(generation, record, want.rotation)
        if use and (latest is None or latest > now):
            yield held(record.address, generation, use, latest)
            continue
        found = presence(view, generation, now)
        ungated = _ungated(generation, record, want, view, now)
        if not view.profile.revokes:
            yield Change(
                record.address,
                FORGET,
                f"{view.name} ended {generation.id} itself when its overlap was over, "
                f"{instant(generation.revoke_at)}",
                generation.service,
                generation.id,
                generation.number,
                seen=seen_digest(found.live),
                steps=(replace(end(record, generation), gone=True),),
            )
            continue
        yield Change(
            record.address,
            REVOKE,
            _over(generation, generation.revoke_at, want.rotation, use) + ungated,
            generation.service,
            generation.id,
            generation.number,
            seen=seen_digest(found.live),
            backing=view.backing("revoke"),
            steps=(replace(end(record, generation), now=generation.revoke_now),),
        )


def _ungated(
    generation: Generation, record: KeyRecord, want: DesiredKey, view: ServiceView, now: datetime
) -> str:
    """That a generation is in use which the gate of the last apply would hold, where it has none any more."""
    if generation.revoke_now or gate_of(want.rotation, view) is not None:
        return ""
    use = in_use(generation, record.rotation, view, now)
    return f"; revoked although {use.last}: `revoke_when_unused_for` was taken away" if use else ""


def _over(generation: Generation, end: datetime, rotation: Rotation | None, use: Use | None) -> str:
    if generation.revoke_now:
        return f"generation {generation.number} was to end at once, {instant(end)}"
    why = f"the overlap of generation {generation.number} ended {instant(end)}"
    if use is not None and rotation is not None and rotation.revoke_within is not None:
        span = format_duration(rotation.revoke_within)
        why += f"; revoked although {use.last}: `revoke_within` {span} is over"
    return why


def plan_project(
    want: DesiredProject, record: ProjectRecord | None, view: ServiceView
) -> Change | Diagnostic | None:
    """Make a project's allowlist exactly what is declared. A project whose service has no call for that is
    a name and nothing more; origins of it are an error."""
    if view.backing("set_origins") is None:
        return _unsettable(want, view) if want.allowed_origins else None
    live = shown = view.projects.get(want.id)
    if live is None and not view.listing.complete:
        return None
    known = record is not None and (record.id, record.service) == (want.id, want.service)
    if record is not None and known and not view.shows_projects:
        live = LiveProject(record.id, record.allowed_origins)
    if known and live and live.allowed_origins == want.allowed_origins:
        return None
    have = live.allowed_origins if live else ()
    gone = [origin for origin in have if origin not in want.allowed_origins]
    new = [origin for origin in want.allowed_origins if origin not in have]
    drift = bool(record and live and record.allowed_origins != live.allowed_origins)
    told = []
    if live is None:
        told.append(f"declared, and not yet at {view.name}")
    if drift:
        told.append(f"allowed origins changed at {view.name} outside keyform")
    if live and new:
        told.append(f"{words(new)} may use its keys from now on")
    if gone:
        told.append(f"{words(gone)} may no longer use its keys: browsers there lose access")
    carries = ON_PROJECT in view.profile.origins_on
    if not told:
        told.append(f"keyform {'manages its allowed origins' if carries else 'knows it'} from now on")
    return Change(
        want.address,
        CREATE if live is None else UPDATE,
        "; ".join(told),
        view.name,
        diff=(FieldDiff("allowed_origins", list(have) or None, list(want.allowed_origins)),)
        if carries and (live is None or have != want.allowed_origins)
        else (),
        drift=drift,
        seen=seen_digest(shown),
        backing=view.backing("set_origins"),
        steps=(Step(SET_ORIGINS, want.address, view.name, project=want.id, origins=want.allowed_origins),),
    )


def _unsettable(want: DesiredProject, view: ServiceView) -> Diagnostic:
    return error(
        "origins-unsettable",
        f"{want.address}: {view.name} has no call that sets the allowed origins of a project",
        f"Remove its `allowed_origins`, and set them where {view.profile.title} lets you.",
        address=want.address,
    )


def plan_project_removed(record: ProjectRecord, why: str) -> Change:
    """Stop managing a project. keyform never deletes one, and leaves its origins as they are."""
    return Change(
        record.address,
        FORGET,
        f"{why}; the project {record.id} and its origins stay at {record.service} as they are",
        record.service,
        steps=(Step(DROP_PROJECT, record.address),),
    )
