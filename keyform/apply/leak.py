"""What is known of a leaked string: from the state alone, and then from the services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keyform.apply.now import sight_now
from keyform.apply.workspace import Workspace
from keyform.engine.listings import about_listings
from keyform.engine.options import Options
from keyform.engine.planner import make_plan
from keyform.engine.sight import Sight, presence
from keyform.engine.whose import (
    CURRENT,
    GONE,
    OLD,
    UNKNOWN,
    Match,
    Owner,
    Standing,
    candidates,
    likenesses,
    matches,
)
from keyform.model import ACTIVE, DISABLED, EXPIRED, LiveKey, Secret


def owner_of(ws: Workspace, secret: Secret) -> Owner:
    """Whose the string is, as far as files tell; asks no service. Raises ``StateError``."""
    state, _ = ws.read_state()
    profiles = {name: service.profile for name, service in ws.config.services.items()}
    return Owner(matches(secret, state), tuple(_credentials(ws, secret)), tuple(likenesses(secret, profiles)))


def standing_of(
    ws: Workspace, secret: Secret, found: tuple[Match, ...], *, at_once: bool, reason: str
) -> Standing:
    """Whether the matched keys still work, and the plan that would end them: without an outage or, with
    ``at_once``, as soon as their successors are stored. Writes nothing. Raises ``KeyformError``."""
    sight, told = sight_now(ws, Options())
    shown = [_live(sight, match) for match in found]
    matched = {(match.generation.service, match.generation.id) for match in found if match.generation}
    others = [
        (name, key)
        for name, view in sight.services.items()
        for key in candidates(secret, view)
        if not found and (name, key.id) not in matched
    ]
    current = tuple(match.record.address for match in found if match.standing == CURRENT)
    old = tuple(match.record.address for match in found if match.standing == OLD) if at_once else ()
    plan = None
    if current or old:
        wanted = Options(rotate=current, rotate_reason=reason, rotate_now=at_once, end_old=old)
        plan = make_plan(sight, wanted)
    return Standing(
        tuple(status for status, _ in shown),
        tuple(live for _, live in shown),
        tuple(others),
        plan,
        (*told, *about_listings(sight)),
    )


def _live(sight: Sight, match: Match) -> tuple[str, LiveKey | None]:
    generation = match.generation
    if generation is None:
        return GONE, None
    view = sight.services.get(generation.service)
    if view is None:
        return UNKNOWN, None
    found = presence(view, generation, sight.now)
    if found.live is None:
        return GONE, None
    if not found.known:
        return UNKNOWN, None
    status = EXPIRED if found.expired else DISABLED if found.disabled else ACTIVE
    return status, found.live


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
