"""A key service whose keys live in a dashboard: a person does what the checklist says.

Nothing lists its keys, so the state is the record. Secrets come from the :class:`~keyform.ports.Desk` and go
nowhere but to the caller and, where the vendor documents a harmless call, to that call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from keyform import patterns
from keyform.errors import Refused, ServiceError
from keyform.key_text import misfit
from keyform.model import KeySpec, LiveKey, Secret
from keyform.ports import Clock, Desk, Listing, Minted, Service
from keyform.profile import ASSISTED, DOCUMENTED, Profile

if TYPE_CHECKING:
    import httpx

    from keyform.services.authority import Authority
    from keyform.services.origins import Origins

_ORIGIN_CALLS = ("get_origins", "set_origins")
_HIDDEN_AT_LEAST = 12  # characters of a secret that a hint must leave unshown
_SHORTEST, _LONGEST = 8, 4096
_NOT_ACCEPTED = (401, 403)


class AssistedService:
    """The :class:`~keyform.ports.Service` port over a person. ``calls`` makes the documented proving call,
    where the profile has one, and ``origins`` those for the origins of projects."""

    def __init__(
        self,
        name: str,
        profile: Profile,
        desk: Desk,
        clock: Clock,
        calls: Service | None = None,
        origins: Origins | None = None,
    ) -> None:
        self.name = name
        self.profile = profile
        self._desk = desk
        self._clock = clock
        self._calls = calls
        self._origins = origins

    def list(self) -> Listing:
        if self._origins is None:
            return Listing(())
        projects, problem = self._origins.list()
        return Listing((), projects, complete=problem is None, problem=problem)

    def create(self, spec: KeySpec, label: str) -> Minted:
        secret = self._desk.secret(fault_finder(self.profile, spec))
        hint = hint_of(self.profile, secret)
        # The marker keeps two keys apart whose hints are alike.
        key_id = f"{hint}#{label.rpartition('/')[2][:8]}"
        return Minted(LiveKey(key_id, spec, created_at=self._clock.now(), hint=hint or None), secret)

    def reroll(self, key_id: str, spec: KeySpec, overlap: timedelta, label: str) -> Minted:
        raise ServiceError(
            f"service {self.name!r}: nobody is asked to rotate {key_id} by hand",
            "A person creates a new key and deletes the old one. Plan again.",
        )

    def update(self, key: LiveKey, spec: KeySpec, fields: frozenset[str]) -> LiveKey:
        self._desk.confirm()
        return LiveKey(key.id, spec, key.status, created_at=key.created_at, hint=key.hint)

    def revoke(self, key_id: str) -> None:
        self._desk.confirm()

    def prove(self, secret: Secret, key: LiveKey) -> str | None:
        if self._calls is None:
            return None
        try:
            return self._calls.prove(secret, key)
        except ServiceError as problem:
            if isinstance(problem, Refused) and problem.status in _NOT_ACCEPTED:
                raise
            why = problem.diagnostics[0].summary
        # A vendor out of reach says nothing about the key, and making it again would cost a person's time.
        self._desk.tell(f"The new key could not be tried out, and is kept: {why}")
        return None

    def set_origins(self, project: str, origins: tuple[str, ...]) -> None:
        if self._origins is None:
            self._desk.confirm()
        else:
            self._origins.set(project, origins)

    def own_key(self) -> str | None:
        return None

    def clock_skew(self) -> timedelta | None:
        return None if self._calls is None else self._calls.clock_skew()

    def close(self) -> None:
        if self._calls is not None:
            self._calls.close()


def open_assisted(
    name: str,
    profile: Profile,
    desk: Desk,
    authority: Authority | None,
    options: Mapping[str, Any],
    clock: Clock,
    wrap: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
) -> AssistedService:
    """A service worked in its dashboard. What the vendor documents is still called, at the vendor's own
    address only: the proof of a new key, which shows nothing but that key, and with a credential
    (``authority``) the calls for a project's origins."""
    by_hand = profile.under(ASSISTED)
    has_calls = all(profile.operations.get(call) == DOCUMENTED for call in _ORIGIN_CALLS)
    with_origins = authority is not None and has_calls
    if with_origins:
        by_hand = replace(
            by_hand, operations={**by_hand.operations, **dict.fromkeys(_ORIGIN_CALLS, DOCUMENTED)}
        )
    if profile.base_url is None or not (by_hand.proves or with_origins):
        return AssistedService(name, by_hand, desk, clock)
    from keyform.services.authority import Static
    from keyform.services.dialect import error_reader, operations_of
    from keyform.services.http import Http
    from keyform.services.origins import Origins
    from keyform.services.rest import RestService
    from keyform.services.transport import network_transport

    transport = network_transport(profile.base_url)
    http = Http(
        name,
        profile.base_url,
        authority or Static(name, "Authorization", "", None, clock),
        clock,
        wrap(transport) if wrap is not None else transport,
        error_reader(by_hand),
        prefixes=profile.prefixes,
    )
    operations = operations_of(by_hand)
    calls = RestService(name, by_hand, operations, http, clock, options)
    return AssistedService(
        name, by_hand, desk, clock, calls, Origins(calls, operations) if with_origins else None
    )


def hint_of(profile: Profile, secret: Secret) -> str:
    """What may be shown of a secret by its profile, or nothing where that would be most of it."""
    text = secret.reveal()
    hint = patterns.first_group(profile.dashboard.hint, text)
    return hint if hint.isascii() and len(text) - len(hint) >= _HIDDEN_AT_LEAST else ""


def fault_finder(profile: Profile, spec: KeySpec) -> Callable[[Secret], str | None]:
    """What is wrong with a pasted key, by the rules of its kind; the words never hold any of it."""

    def fault(secret: Secret) -> str | None:
        text = secret.reveal()
        if not text.isascii() or not text.isprintable() or " " in text:
            return "a key holds no blanks, controls or letters outside ASCII; was more than the key copied?"
        if "*" in text or "..." in text:
            return "this is the masked form that a table shows, not the whole key"
        if wrong := misfit(profile, spec, secret):
            return wrong
        environment = re.match(r"[a-z]+_([a-z]+)_", text)
        if environment and environment[1] in profile.environments and environment[1] != spec.environment:
            return f"this is a key of the {environment[1]} environment, and {spec.environment} is declared"
        if not _SHORTEST <= len(text) <= _LONGEST:
            return f"a key has {_SHORTEST} to {_LONGEST} characters"
        return None

    return fault
