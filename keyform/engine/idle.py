"""Which keys nobody uses, as far as their services tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyform.engine.sight import ServiceView
from keyform.model import ACTIVE, LiveKey
from keyform.profile import Profile
from keyform.state import State

PROOF = timedelta(minutes=5)
"""A use no later than this after the minting is taken for keyform's own, which proves a new key once."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A managed key that has gone unused ``since`` its last use or, ``never_used``, since it was minted."""

    address: str
    service: str
    key_id: str
    since: datetime
    never_used: bool


def unused_since(key: LiveKey, minted: datetime) -> datetime:
    """The last use that is known of a key, or when it was ``minted``."""
    return key.last_used_at or key.created_at or minted


def is_unused_for(span: timedelta, since: datetime, profile: Profile, now: datetime) -> bool:
    """Whether a key whose last known use is ``since`` has certainly gone unused for ``span``. Its service may
    be behind with last uses (caches of verified keys included), so that much more has to pass."""
    return since + span + profile.last_used_lag <= now


def idle_keys(
    state: State, services: Mapping[str, ServiceView], after: Mapping[str, timedelta], now: datetime
) -> Iterator[Idle]:
    """The keys of the state that have gone unused for as long as ``after`` says of their service. Only keys
    that work count, each by the generation in use; a service that does not show last uses has none."""
    for address, record in state.keys.items():
        current = record.current
        view, span = services.get(current.service), after.get(current.service)
        if view is None or span is None or not view.profile.shows_last_used:
            continue
        live = view.keys.get(current.id)
        if live is None or live.status != ACTIVE:
            continue
        since = unused_since(live, current.created_at)
        if is_unused_for(span, since, view.profile, now):
            minted = live.created_at or current.created_at
            never = since <= minted + (PROOF if view.profile.proves else timedelta(0))
            yield Idle(address, view.name, live.id, minted if never else since, never)
