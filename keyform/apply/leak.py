"""What is known of a leaked string: from the state alone, and then from the services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keyform.apply.now import sight_now
from keyform.apply.workspace import Workspace
from keyform.engine.gates import gate_of
from keyform.engine.listings import about_listings
from keyform.engine.options import Options
from keyform.engine.planner import make_plan
from keyform.engine.sight import Sight, presence
from keyform.engine.whose import (
    CURRENT,
    GONE,
    OLD,
    Likeness,
    Match,
    Owner,
    Seen,
    Standing,
    candidates,
    likenesses,
    looks_unknown,
    matches,
    readings,
)
from keyform.model import ACTIVE, DISABLED, EXPIRED, Secret, format_duration, instant


def owner_of(ws: Workspace, secret: Secret) -> Owner:
    """Whose the string is, as far as files tell; asks no service. Raises ``StateError``."""
    state, _ = ws.read_state()
    profiles = {name: service.profile for name, service in ws.config.services.items()}
    owned: tuple[Match, ...] = ()
    credentials: tuple[str, ...] = ()
    looks: list[Likeness] = []
    for reading in readings(secret):
        owned = owned or matches(reading, state)
        credentials = credentials or tuple(_credentials(ws, reading))
        looks += likenesses(reading, profiles)
    unknown = (name for name, profile in profiles.items() if looks_unknown(profile))
    return Owner(owned, credentials, tuple(dict.fromkeys(looks)), tuple(unknown))


def standing_of(
    ws: Workspace, secret: Secret, found: tuple[Match, ...], *, at_once: bool, reason: str
) -> Standing:
    """Whether the matched keys still work, and the plan that would end them: without an outage or, with
    ``at_once``, as soon as their successors are stored. Writes nothing. Raises ``KeyformError``."""
    sight, told = sight_now(ws, Options())
    seen = tuple(_seen(sight, match) for match in found)
    views = () if found else sight.services.values()
    others = tuple(one for view in views for one in candidates(secret, view, sight.state))
    current = tuple(match.record.address for match in found if match.standing == CURRENT)
    endable = (match for match, shown in zip(found, seen, strict=True) if not shown.ender)
    old = tuple(match.record.address for match in endable if match.standing == OLD) if at_once else ()
    plan = None
    if current or old:
        wanted = Options(rotate=current, rotate_reason=reason, rotate_now=at_once, end_old=old)
        plan = make_plan(sight, wanted)
    return Standing(seen, others, plan, (*told, *about_listings(sight)))


def _seen(sight: Sight, match: Match) -> Seen:
    generation = match.generation
    if generation is None:
        return Seen(GONE)
    view = sight.services.get(generation.service)
    if view is None:
        return Seen()
    profile, ends = view.profile, generation.revoke_at
    gate = gate_of(match.record.rotation, view)
    found = presence(view, generation, sight.now)
    if ends is not None and not profile.revokes:
        if found.live is None:
            return Seen(
                GONE, why=f"{profile.title} was to end it by itself {instant(ends)}", ender=profile.title
            )
        why = (
            f"it works until {instant(ends)}, when {profile.title} ends it by itself; nothing ends it sooner"
        )
        return Seen(ACTIVE, found.live, why, ender=profile.title)
    if found.live is None:
        return Seen(GONE)
    if not found.known:
        return Seen(gate=gate)
    status = EXPIRED if found.expired else DISABLED if found.disabled else ACTIVE
    if generation.id in view.keys:
        return Seen(status, found.live, gate=gate)
    why = f"{profile.title} lists no keys"
    if profile.lists:
        why = f"{profile.title} lists new keys up to {format_duration(profile.list_lag)} late"
    return Seen(why=f"by the state alone it is {status}; {why}", gate=gate)


def _credentials(ws: Workspace, secret: Secret) -> Iterator[str]:
    """Where the configuration has this very string: keyform's own credentials leak as well."""
    for name, service in ws.config.services.items():
        if service.credential == secret:
            yield f"services.{name}.credential"
        yield from _options(service.options, secret, f"services.{name}")
    for name, store in ws.config.stores.items():
        yield from _options(store.options, secret, f"stores.{name}")
    yield from _options(ws.config.state.options, secret, "state")


def _options(value: Any, secret: Secret, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _options(item, secret, f"{path}.{name}")
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _options(item, secret, f"{path}[{number}]")
    elif isinstance(value, Secret) and value == secret:
        yield path
