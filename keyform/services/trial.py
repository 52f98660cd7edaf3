"""Trying a profile at a live service: one canary key is minted, looked at, proven, renamed and revoked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from keyform.errors import KeyformError, Refused
from keyform.model import ACTIVE, KeySpec, LiveKey, format_duration
from keyform.ports import Clock, Service
from keyform.profile import FORBIDDEN, REQUIRED, Profile

OK, FAILED, LEFT_OUT = "ok", "fail", "-"
NAME = "keyform canary"
_LONGEST_WAIT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Tried:
    """One operation and what came of it; ``problem`` is the error where it failed."""

    operation: str
    result: str
    found: str
    problem: KeyformError | None = None


def canary_spec(
    profile: Profile, kind: str | None = None, project: str | None = None, scopes: tuple[str, ...] = ()
) -> KeySpec:
    """A small key of the profile's: what is not given is its default, or the first that there is."""
    fields = profile.fields
    if kind is None and profile.kinds:
        # A kind that needs nothing around it, if there is one.
        plain = [k.name for k in profile.kinds.values() if REQUIRED not in (k.project, k.origins)]
        kind = profile.default_kind or (plain or list(profile.kinds))[0]
    rules = profile.kinds.get(kind or "")
    if not scopes and rules is not None and rules.scopes is not None:
        scopes = rules.default_scopes or rules.scopes[:1]
    elif not scopes and profile.scopes:
        scopes = tuple(profile.scopes)[:1]
    environment = profile.default_environment or (profile.environments or (None,))[-1]
    return KeySpec(
        kind=kind,
        environment=environment if "environment" in fields else None,
        project=None if rules is not None and rules.project == FORBIDDEN else project,
        name=NAME if "name" in fields else "",
        scopes=tuple(sorted(scopes)) if "scopes" in fields else (),
    )


def try_profile(service: Service, spec: KeySpec, clock: Clock) -> Iterator[Tried]:
    """Each operation in turn. The canary is revoked however the rest goes; nothing else is touched."""
    profile = service.profile
    label = f"{uuid.uuid4()}/{uuid.uuid4().hex}"
    if profile.lists:
        yield _tried("list", lambda: _listed(service))
    else:
        yield Tried("list", LEFT_OUT, "the profile has none")
    try:
        minted = service.create(spec, label)
    except KeyformError as problem:
        yield Tried("create", FAILED, problem.diagnostics[0].summary, problem)
        return
    key, secret = minted.key, minted.secret
    try:
        yield Tried("create", OK if secret else FAILED, f"{key.id}, {'with' if secret else 'without'} its secret")
        if profile.lists:
            clock.sleep(profile.list_lag.total_seconds())
            yield _tried("list it", lambda: _shown(service, key, spec, label))
        if profile.proves and secret is not None:
            yield _tried("prove", lambda: f"its secret works{_as(service.prove(secret, key))}")
        else:
            yield Tried("prove", LEFT_OUT, "the profile has none")
        if "name" in profile.mutable:
            renamed = KeySpec(name=NAME + " renamed")
            yield _tried("update", lambda: _renamed(service.update(key, renamed, frozenset({"name"}))))
        else:
            yield Tried("update", LEFT_OUT, "names do not change in place")
    finally:
        ended = _tried("revoke", lambda: _revoked(service, key.id))
    yield ended
    if profile.revocation_lag > _LONGEST_WAIT:
        span = format_duration(profile.revocation_lag)
        yield Tried("prove again", LEFT_OUT, f"a revoked key may go on working for {span}")
    elif ended.result == OK and profile.proves and secret is not None:
        clock.sleep(profile.revocation_lag.total_seconds())
        try:
            proved = service.prove(secret, key)
        except Refused as refused:
            yield Tried("prove again", OK, f"refused, as it should be ({refused.status})")
        except KeyformError as problem:
            yield Tried("prove again", FAILED, problem.diagnostics[0].summary, problem)
        else:
            said = "the secret still works" if proved else "the answer does not tell"
            yield Tried("prove again", FAILED if proved else LEFT_OUT, said)


def _tried(operation: str, attempt: Callable[[], str]) -> Tried:
    try:
        found = attempt()
    except KeyformError as problem:
        return Tried(operation, FAILED, problem.diagnostics[0].summary, problem)
    return Tried(operation, OK, found)


def _listed(service: Service) -> str:
    listing = service.list()
    if not listing.complete:
        raise KeyformError(listing.problem or "the listing is incomplete")
    return f"{len(listing.keys)} keys, {sum(key.status == ACTIVE for key in listing.keys)} of them active"


def _shown(service: Service, key: LiveKey, spec: KeySpec, label: str) -> str:
    found = next((one for one in service.list().keys if one.id == key.id), None)
    if found is None:
        raise KeyformError(
            f"the listing does not show {key.id}", "Check `items`, `key.id` and `paging`, or give a `list_lag`."
        )
    other = [
        f"`{name}` is {getattr(found.spec, name)!r}, not {getattr(spec, name)!r}"
        for name in sorted(service.profile.shown)
        if getattr(found.spec, name) != getattr(spec, name)
    ]
    if service.profile.marks and found.label != label:
        other.append("the ownership label is not on it")
    if other:
        raise KeyformError(
            f"the listing shows {key.id} otherwise: {'; '.join(other)}", "Check `shown`, `marker` and `key`."
        )
    return "shown as it was asked for"


def _renamed(key: LiveKey) -> str:
    return f"renamed to {key.spec.name!r}"


def _revoked(service: Service, key_id: str) -> str:
    service.revoke(key_id)
    if service.profile.lists and any(k.id == key_id and k.status == ACTIVE for k in service.list().keys):
        raise KeyformError(f"{key_id} is still shown as active", "Check `revoke` and `key.status`.")
    return key_id


def _as(key_id: str | None) -> str:
    return f" as {key_id}" if key_id else ""
