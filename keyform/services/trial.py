"""Trying a profile live: one canary key is listed, minted, proven, changed and revoked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from keyform.diagnostics import Diagnostic, error
from keyform.errors import KeyformError, Refused
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
from keyform.profile import REQUIRED, Profile

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


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


def canary_spec(profile: Profile, project: str | None = None) -> KeySpec:
    """The least that a key of this type may be: default kind, one scope, the test environment where there
    is one."""
    kind = profile.kinds.get(profile.default_kind or next(iter(profile.kinds), ""))
    environments = [name for name in profile.environments if name in ("test", "sandbox", "dev")]
    catalogue = list(kind.scopes if kind and kind.scopes is not None else profile.scopes or ())
    chosen = (kind.default_scopes if kind else ())[:1] or tuple(catalogue[:1])
    fields = profile.fields
    return KeySpec(
        kind=kind.name if kind else None,
        environment=next(iter(environments), profile.default_environment)
        if "environment" in fields
        else None,
        project=project if kind is None or kind.project == REQUIRED else None,
        name="keyform trial" if "name" in fields else "",
        scopes=chosen if "scopes" in fields else (),
    )


def try_profile(service: Service, spec: KeySpec | None = None) -> Iterator[Trial]:
    """Try every operation that the profile has, step by step, with a canary key made as ``spec`` (the least
    that the profile allows, unless given). Whatever fails, the canary is revoked in the end; it touches no
    other key. Each step is given as soon as it is over."""
    return _Run(service, spec or canary_spec(service.profile)).steps()


class _Run:
    def __init__(self, service: Service, spec: KeySpec) -> None:
        self._service = service
        self._profile = service.profile
        self._spec = spec
        self._label = ownership_label(str(uuid.uuid4()), uuid.uuid4().hex)
        self._minted: Minted | None = None

    def steps(self) -> Iterator[Trial]:
        has = self._profile.operations.keys()
        try:
            yield self._step("list", self._list) if self._profile.lists else _skipped("list")
            if not self._profile.revokes:
                yield Trial("create", SKIPPED, "a canary key could not be revoked again")
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
            yield self._step("revoke", self._revoke)
            yield self._step("revoke again", self._revoke_again)
            yield self._step("own_key", self._own_key) if "own_key" in has else _skipped("own_key")
        finally:
            self._clean_up()

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
        self._minted = self._service.create(self._spec, self._label)
        if self._minted.secret is None:
            raise _Wrong(
                "the answer to a create holds no secret", "Check `operations.create.secret`, its place."
            )
        return f"key {self._minted.key.id}"

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
            if getattr(found.spec, field) != getattr(self._spec, field):
                raise _Wrong(
                    f"`{field}` was asked for as {_in_words(getattr(self._spec, field))} and is shown as "
                    f"{_in_words(getattr(found.spec, field))}",
                    f"Check `key.{field}`, or remove `{field}` from `shown`.",
                )
        return "it is shown as it was asked for"

    def _prove(self) -> str:
        key, secret = self._new()
        known = self._service.prove(secret, key)
        try:
            self._service.prove(Secret("keyform-no-such-key"), key)
        except Refused:
            return "the key works and a wrong one is refused" + (", and its id is told" if known else "")
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
        if self._profile.lists:
            found = self._listed()
            if found is not None and found.status != REVOKED:
                raise _Wrong(f"the revoked key is listed as {found.status}", "Check `operations.revoke`.")
        if self._profile.proves and not self._profile.revocation_lag:
            try:
                self._service.prove(secret, key)
            except Refused:
                return "the key is refused from now on"
        return "done"

    def _revoke_again(self) -> str:
        self._service.revoke(self._new()[0].id)
        self._minted = None
        return "no error"

    def _own_key(self) -> str:
        return self._service.own_key() or "unknown"

    def _new(self) -> tuple[LiveKey, Secret]:
        if self._minted is None or self._minted.secret is None:
            raise _Wrong("there is no key to try this with", "Mend the step before.")
        return self._minted.key, self._minted.secret

    def _listed(self) -> LiveKey | None:
        listing = self._service.list()
        wanted = self._new()[0].id
        return next((key for key in listing.keys if key.id == wanted), None)

    def _clean_up(self) -> None:
        if self._minted is not None:
            try:
                self._service.revoke(self._minted.key.id)
            except KeyformError:
                return  # the step that failed to revoke it has told so


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
