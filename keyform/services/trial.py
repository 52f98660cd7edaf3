"""Trying a profile live: one canary key is listed, minted, proven, changed and revoked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from keyform.diagnostics import Diagnostic, error
from keyform.errors import AnswerLost, KeyformError, Refused, ServiceError, Unreachable
from keyform.key_text import misfit
from keyform.model import (
    ACTIVE,
    REVOKED,
    Credits,
    KeySpec,
    LiveKey,
    RateLimit,
    Secret,
    instant,
    ownership_label,
)
from keyform.ports import Minted, Service
from keyform.services.canary import canary_spec

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_ROOM = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Trial:
    """One step of a trial: its name, how it ended, what was seen, and what was wrong."""

    step: str
    outcome: str
    seen: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()


class _Wrong(Exception):
    """A step ended otherwise than the profile says."""

    def __init__(self, summary: str, detail: str) -> None:
        super().__init__(summary)
        self.diagnostic = error("profile-trial", summary, detail)


def try_profile(service: Service, spec: KeySpec | None = None) -> Iterator[Trial]:
    """Try every operation that the profile has, step by step, with a canary key made as ``spec`` (the least
    that the profile allows, unless given). Whatever fails, the canary is revoked in the end; it touches no
    other key. Each step is given as soon as it is over; the last, ``clean up``, only where a canary may be
    left alive."""
    return _Run(service, spec or canary_spec(service.profile)).steps()


class _Run:
    def __init__(self, service: Service, spec: KeySpec) -> None:
        self._service = service
        self._profile = service.profile
        self._spec = spec
        self._label = ownership_label(str(uuid.uuid4()), uuid.uuid4().hex)
        self._minted: Minted | None = None  # a canary that is not known to be revoked
        self._id = ""
        self._lost = False  # whether a create went out of which nothing is known
        self._proves = False

    def steps(self) -> Iterator[Trial]:
        try:
            yield from self._tried()
            if left := self._clean_up():
                yield Trial("clean up", FAILED, diagnostics=(left,))
        finally:
            self._clean_up()  # where whoever asked went away half way

    def _tried(self) -> Iterator[Trial]:
        has = self._profile.operations.keys()
        listed = self._step("list", self._list) if self._profile.lists else _skipped("list")
        yield listed
        if not self._profile.revokes:
            yield Trial("create", SKIPPED, "a canary key could not be revoked again")
            return
        if listed.outcome == FAILED:
            yield Trial("create", SKIPPED, "a canary key could be lost while keys cannot be listed")
            return
        made = self._step("create", self._create)
        yield made
        if made.outcome != PASSED:
            return
        yield (
            self._step("list the new key", self._find)
            if self._profile.lists
            else _skipped("list the new key")
        )
        yield self._step("prove", self._prove) if self._profile.proves else _skipped("prove")
        yield self._step("update", self._update) if "update" in has else _skipped("update")
        revoked = self._step("revoke", self._revoke)
        yield revoked
        if revoked.outcome == PASSED:
            yield self._step("revoke again", self._revoke_again)
        yield self._step("own_key", self._own_key) if "own_key" in has else _skipped("own_key")

    def _step(self, name: str, act: Callable[[], str]) -> Trial:
        try:
            return Trial(name, PASSED, act())
        except _Wrong as wrong:
            return Trial(name, FAILED, diagnostics=(wrong.diagnostic,))
        except KeyformError as problem:
            return Trial(name, FAILED, diagnostics=problem.diagnostics)

    def _list(self) -> str:
        listing = self._service.list()
        if listing.problem is not None:
            raise _Wrong(listing.problem.summary, "Check `operations.list`: items, paging, and `key`.")
        marked = sum(1 for key in listing.keys if key.label)
        return f"{len(listing.keys)} keys, {marked} with a label of keyform, {len(listing.projects)} projects"

    def _create(self) -> str:
        self._lost = True
        try:
            self._minted = self._service.create(self._spec, self._label)
        except AnswerLost:
            raise
        except ServiceError:
            self._lost = False
            raise
        self._lost = False
        key, secret = self._minted.key, self._minted.secret
        self._id = key.id
        if self._minted.lost is not None:
            raise _Wrong(self._minted.lost.summary, self._minted.lost.detail)
        if secret is None:
            raise _Wrong(
                "the answer to a create holds no secret", "Check `operations.create.secret`, its place."
            )
        if wrong := misfit(self._profile, self._spec, secret):
            raise _Wrong(
                f"the new secret is not one of such a key: {wrong}",
                "Check `operations.create.secret`, and the `prefix` and `key_format` of the kind.",
            )
        return f"key {key.id}"

    def _find(self) -> str:
        found = self._listed()
        if found is None:
            raise _Wrong("the new key is not listed", "Check `operations.list`, or declare a `list_lag`.")
        if found.status != ACTIVE:
            raise _Wrong(
                f"the new key is listed as {found.status}", "Check `key.status` and `names.statuses`."
            )
        if self._profile.marks and found.label != self._label:
            raise _Wrong("the new key does not carry its label", "Check `marker`, and its place in `key`.")
        for field in sorted(self._profile.shown):
            if not self._as_asked(field, getattr(self._spec, field), getattr(found.spec, field)):
                raise _Wrong(
                    f"`{field}` was asked for as {_in_words(getattr(self._spec, field))} and is shown as "
                    f"{_in_words(getattr(found.spec, field))}",
                    f"Check `key.{field}`, or remove `{field}` from `shown`.",
                )
        return "it is shown as it was asked for"

    def _as_asked(self, field: str, asked: Any, shown: Any) -> bool:
        if field != "expires_at" or asked is None or shown is None:
            return bool(asked == shown)
        return bool(abs(shown - asked) <= max(_ROOM, self._profile.expiry.rounding))

    def _prove(self) -> str:
        key, secret = self._new()
        known = self._service.prove(secret, key)
        if known is not None and known != key.id:
            raise _Wrong(
                f"the answer names the key {known}, and {key.id} was tried",
                "Check `operations.prove.id`: it says where the answer names the key that was shown.",
            )
        try:
            self._service.prove(Secret("keyform-no-such-key"), key)
        except Refused:
            self._proves = True
            return "the key works and a wrong one is refused" + (", and its id is told" if known else "")
        except Unreachable:
            raise
        except ServiceError as problem:
            raise _Wrong(
                f"the key works, and the answer to a wrong one is not understood: "
                f"{problem.diagnostics[0].summary}",
                "Say with `operations.prove.refused_if` what stands in the answer for a wrong key.",
            ) from None
        if "when" in self._profile.rest.get("operations", {}).get("prove", {}):
            return "keys of this kind and with these scopes cannot be proven"
        raise _Wrong("a wrong key is not refused", "The proving call proves nothing; choose another one.")

    def _update(self) -> str:
        key, _ = self._new()
        if "name" not in self._profile.mutable:
            return "nothing that could be tried changes in place"
        renamed = replace(key.spec, name="keyform trial, renamed")
        shown = self._service.update(key, renamed, frozenset({"name"}))
        if shown.spec.name != renamed.name or (self._profile.marks and shown.label != self._label):
            raise _Wrong(
                "the new name or the label is not shown after a rename", "Check `operations.update`."
            )
        return "renamed; the label is kept"

    def _revoke(self) -> str:
        key, secret = self._new()
        self._service.revoke(key.id)
        self._check_revoked()
        if self._proves and not self._profile.revocation_lag:
            try:
                self._service.prove(secret, key)
            except Refused:
                self._minted = None
                return "the key is refused from now on"
            raise _Wrong(
                "the revoked key still works",
                "Check `operations.revoke`, or say with `revocation_lag` for how long it may.",
            )
        self._minted = None
        return "done"

    def _check_revoked(self) -> None:
        found = self._listed() if self._profile.lists else None
        if found is not None and found.status != REVOKED:
            raise _Wrong(f"the revoked key is listed as {found.status}", "Check `operations.revoke`.")

    def _revoke_again(self) -> str:
        self._service.revoke(self._id)
        return "no error"

    def _own_key(self) -> str:
        return self._service.own_key() or "unknown"

    def _new(self) -> tuple[LiveKey, Secret]:
        if self._minted is None or self._minted.secret is None:
            raise _Wrong("there is no key to try this with", "Mend the step before.")
        return self._minted.key, self._minted.secret

    def _listed(self) -> LiveKey | None:
        return next((key for key in self._service.list().keys if key.id == self._id), None)

    def _clean_up(self) -> Diagnostic | None:
        """Revoke the canary, once; what to do by hand where it may live on."""
        minted, lost, self._minted, self._lost = self._minted, self._lost, None, False
        if minted is None and not lost:
            return None
        try:
            if minted is None:
                if not (self._profile.lists and self._profile.marks):
                    return self._left(None)
                listing = self._service.list()
                found = next((key for key in listing.keys if key.label == self._label), None)
                if found is None:
                    sure = listing.complete and not self._profile.list_lag
                    return None if sure else self._left(None)
                minted = Minted(found, None)
            self._id = minted.key.id
            self._service.revoke(self._id)
            self._check_revoked()
        except (_Wrong, KeyformError):
            return self._left(minted)
        return None

    def _left(self, minted: Minted | None) -> Diagnostic:
        if minted is not None:
            return error(
                "profile-trial",
                f"the canary key {minted.key.id} may still work: it could not be revoked",
                f"Delete it at the service by hand; it carries {self._label}.",
            )
        called = f" named {self._spec.name!r}" if self._spec.name else ""
        return error(
            "profile-trial",
            "a canary key may be left alive: it is not known whether the create was carried out",
            f"Look at the service for a key{called} that carries {self._label}, and delete it by hand.",
        )


def _in_words(value: Any) -> str:
    """A field of a key, as a message shows it."""
    if value is None or value == "" or value == ():
        return "nothing"
    if isinstance(value, tuple):
        return ", ".join(": ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, RateLimit):
        return f"{value.limit:,} calls in {value.per_seconds:,} s"
    return f"{value.remaining:,} credits" if isinstance(value, Credits) else str(value)


def _skipped(step: str) -> Trial:
    return Trial(step, SKIPPED, "the profile has no such operation")
