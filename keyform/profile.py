"""What keyform knows about a service type, as a value. The data itself is one file per type.

Each rule stands here once and is used three times: to check the configuration, to plan, and by
``keyform services``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from keyform import patterns
from keyform.dashboard import GENERAL, Dashboard
from keyform.model import SPEC_FIELDS

_SPEC_FIELDS = frozenset(SPEC_FIELDS)

DOCUMENTED, CONTRACT, ASSISTED = "documented", "contract", "assisted"

PROFILE_WORDS = ("title", "fields", "operations")
"""What every profile has at its top beside ``version``, which other files have too."""

ON_KEY, ON_PROJECT = "key", "project"

FORBIDDEN, OPTIONAL, REQUIRED = "forbidden", "optional", "required"

_NOT_IN_CONTRACT = frozenset({"credits"})
_CONTRACT_ORDER = ("list", "create", "update", "revoke", "prove", "get_origins", "set_origins", "own_key")
_ALWAYS = ("list", "create", "revoke", "prove", "own_key")


def looks_like_profile(tree: object) -> bool:
    """Whether the contents of a file are a profile, sound or not, and not something else."""
    return isinstance(tree, Mapping) and sum(word in tree for word in PROFILE_WORDS) > 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of key: its prefix, and what such a key may carry.

    ``scopes`` None means that any scope of the catalogue may be chosen, and an empty tuple that none
    may. ``default_scopes`` is what a key gets whose ``scopes`` are not written. ``origins`` and
    ``project`` are ``forbidden``, ``optional`` or ``required``; required origins may stand on the
    key or on its project. ``key_format`` is a regular expression that the whole text of such a key
    matches, or empty. ``gate`` names the plan that the service asks for. ``hint`` is said for least
    privilege to whoever declares such a key, or, where there are ``hint_words``, one that is named or
    described with one of them. ``unscoped_is_all``: a key of it that names no scopes has all of them, and
    ``unbound_is_all``: one that names no project works in all of them. ``can``: in words, what such a key may
    do beside its scopes; None means that the profile does not say.
    """

    name: str
    prefix: str = ""
    description: str = ""
    scopes: tuple[str, ...] | None = None
    default_scopes: tuple[str, ...] = ()
    origins: str = FORBIDDEN
    project: str = OPTIONAL
    key_format: str = ""
    gate: str = ""
    hint: str = ""
    hint_words: tuple[str, ...] = ()
    unscoped_is_all: bool = False
    unbound_is_all: bool = False
    can: tuple[str, ...] | None = None

    def hinted_by(self, *texts: str) -> str | None:
        """The first of the ``hint_words`` that stands in the words that a user has for a key, or None."""
        words = " ".join(texts).lower()
        return next((word for word in self.hint_words if word in words), None)


@dataclass(frozen=True, slots=True)
class PowerRule:
    """What says how much a key may do. ``production``: the environments where it touches what is real, so
    that a key there may do more than elsewhere. ``scope_form`` reads a scope, like ``{resource}.{verb}``.
    ``wildcards``: a ``*`` in a scope stands for any text. ``dangerous`` is a regular expression for the
    scopes, and the words of a kind, that a reviewer has to look at twice."""

    production: tuple[str, ...] = ()
    scope_form: str = ""
    wildcards: bool = False
    dangerous: str = ""

    def is_dangerous(self, what: str) -> bool:
        """Whether a reviewer has to look twice at a scope, or at what a kind may do."""
        return bool(self.dangerous) and patterns.matches(self.dangerous, what)


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """``settable`` False: keys take no expiry. ``windows``: the only spans to choose from (empty: any).
    ``never`` False: a key has to end. ``latest``: no key ends after it. ``rounding``: how coarsely the
    service keeps an end."""

    settable: bool = True
    windows: tuple[timedelta, ...] = ()
    never: bool = True
    latest: datetime | None = None
    rounding: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a text may look like: its length in characters, and a regular expression that matches all of it,
    of which ``takes`` says in words what it allows."""

    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    takes: str = ""

    def broken_by(self, text: str) -> str:
        """What is wrong with a text, as the rest of a sentence about it; empty when nothing is."""
        if self.longest is not None and len(text) > self.longest:
            return f"has {len(text):,} characters, and at most {self.longest:,} are allowed"
        if len(text) < self.shortest:
            return f"has {len(text):,} characters, and at least {self.shortest:,} are needed"
        if self.pattern and not patterns.matches(self.pattern, text):
            return f"holds something else than {self.takes or 'what matches ' + self.pattern}"
        return ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A rule in words with its source, for messages and for ``keyform services TYPE``. ``about`` says which
    messages quote it: those on a field (``scopes``), or on ``cache``, ``change``, ``list`` or ``plan``."""

    rule: str
    source: str
    about: tuple[str, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether it is keyform's choice because no public statement says anything."""
        return "no public statement" in self.source


FIELDS_OF_A_SERVICE = ("type", "mode", "endpoint", "credential", "stale_after")
"""What a declaration of any service takes; everything else in it is an option of its type."""

TEXT, NUMBER, BOOLEAN = "text", "number", "boolean"


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a service declaration that the type takes beside ``type``, ``endpoint`` and the rest.
    ``type`` is ``text``, ``number`` (whole) or ``boolean``; ``choices`` are texts."""

    description: str = ""
    required: bool = False
    default: str | int | None = None
    choices: tuple[str, ...] = ()
    type: str = TEXT


_INSECURE = Option("allow plain http to another machine", type=BOOLEAN)


@dataclass(frozen=True, slots=True)
class Profile:
    """A service type.

    ``fields``: key fields that the type knows; declaring another is an error. ``mutable``: those it changes
    in place; the rest of ``fields`` need a new key. ``shown``: spec fields that its listing shows; the rest
    are taken from the state. ``kinds`` and ``environments`` map names; an empty map or tuple means the type
    has none to choose. ``scopes``: catalogue with descriptions; None means free strings. ``power``: which of
    it lets a key do more. ``origins_on``: where ``allowed_origins`` may stand. ``limits``: largest lengths
    and counts, by field, and by group of scopes (``scopes.GROUP``). ``texts``: what a ``scope``, one of a
    group of scopes without its prefix, and an option (``options.NAME``) may look like. ``lists``: whether a
    listing exists at all. ``marks``: whether a key can carry the ownership label. ``idempotent``: whether a
    create with the label of an earlier one never mints a second key. ``proves``: whether there is a harmless
    call that proves a key works. ``list_lag``: how long a new key may be missing from the listing.
    ``tells_expired``: whether its listing says of a key that it has expired, rather than when it does.
    ``last_used_lag``: how far behind "last used" may be, verification caches included. ``revocation_lag``:
    how long a revoked key may go on working, for the same reason. ``key_format``: like that of a kind.
    ``operations``: name to backing. ``one_per_kind``: a kind has exactly one key, so its successor comes of
    the operation ``reroll`` and never of a create; ``made_together``: a create makes the keys of all kinds
    that have none. ``overlap_step``: ``reroll`` leaves the old key alive for whole steps, one at least.
    ``reroll_deadline``: it makes a copy, beside ``create``; the end that the old key is given first.
    ``facts`` are rules with their sources, ``unknowns`` what no source says. ``base_url`` is where the
    vendor's documented calls go, and ``domains`` are the vendor's own, to which nothing is ever sent that the
    vendor does not document. ``rest`` is the profile's data on its calls, for the client. ``dashboard`` is
    what a person does by hand, under `mode: assisted`.
    """

    type: str
    title: str
    description: str = ""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    default_kind: str | None = None
    environments: tuple[str, ...] = ()
    default_environment: str | None = None
    scopes: Mapping[str, str] | None = None
    fields: frozenset[str] = frozenset()
    mutable: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    origins_on: frozenset[str] = frozenset()
    wildcard_origins: bool = False
    http_origins: str = "localhost"
    expiry: ExpiryRule = ExpiryRule()
    power: PowerRule = PowerRule()
    limits: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, TextRule] = field(default_factory=dict)
    lists: bool = True
    marks: bool = True
    idempotent: bool = True
    proves: bool = True
    list_lag: timedelta = timedelta(0)
    last_used_lag: timedelta = timedelta(0)
    shows_last_used: bool = True
    tells_expired: bool = True
    revocation_lag: timedelta = timedelta(0)
    key_format: str = ""
    operations: Mapping[str, str] = field(default_factory=dict)
    one_per_kind: bool = False
    made_together: bool = False
    overlap_step: timedelta = timedelta(0)
    reroll_deadline: timedelta | None = None
    facts: tuple[Fact, ...] = ()
    unknowns: tuple[str, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)
    base_url: str | None = None
    domains: tuple[str, ...] = ()
    implementation: str | None = None
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    dashboard: Dashboard = GENERAL

    def under(self, mode: str | None) -> Profile:
        """The profile as a service's ``mode`` makes it. ``contract``: every operation goes by keyform's
        contract, which lists and marks keys. ``assisted``: a person carries every operation out in the
        dashboard, which keyform cannot see, so the record is all there is; only a documented proof is
        still called. Otherwise operations that only a person can carry out fall away."""
        if mode == ASSISTED:
            return self._by_hand()
        if mode == CONTRACT:
            names = {*_ALWAYS, *(("update",) if self.mutable else ())}
            if ON_PROJECT in self.origins_on or "project" in self.fields:
                names |= {"get_origins", "set_origins"}
            operations = {name: CONTRACT for name in _CONTRACT_ORDER if name in names}
        else:
            operations = {name: how for name, how in self.operations.items() if how != ASSISTED}
            if operations == dict(self.operations):
                return self
        made = replace(self, operations=operations, lists="list" in operations, proves="prove" in operations)
        if mode != CONTRACT:
            return made
        fields, mutable = self.fields - _NOT_IN_CONTRACT, self.mutable - _NOT_IN_CONTRACT
        shown = (fields | ({"expires_at"} if "expires_in" in fields else set())) & _SPEC_FIELDS
        rest = {part: data for part, data in self.rest.items() if part not in ("auth", "key_auth")}
        return replace(
            made,
            fields=fields,
            mutable=mutable,
            shown=shown,
            marks=True,
            idempotent=True,
            tells_expired=True,
            rest=rest,
        )

    def _by_hand(self) -> Profile:
        names = ["create", "revoke"] + (["update"] if self.mutable else [])
        if ON_PROJECT in self.origins_on:
            names.append("set_origins")
        operations = dict.fromkeys(names, ASSISTED)
        proof = self.rest.get("operations", {}).get("prove", {})
        proves = self.operations.get("prove") == DOCUMENTED and self.base_url is not None
        if proves := proves and proof.get("auth", "key") == "key":
            operations["prove"] = DOCUMENTED
        return replace(
            self,
            operations=operations,
            shown=frozenset(),
            lists=False,
            marks=False,
            idempotent=False,
            proves=proves,
            list_lag=timedelta(0),
            shows_last_used=False,
        )

    @property
    def service_options(self) -> Mapping[str, Option]:
        """What a declaration of such a service takes beside its type, mode, endpoint and credential: its
        options, ``auth`` where there are several ways, and ``insecure``."""
        known = {**self.options, "insecure": _INSECURE}
        if ways := self.rest.get("auth", {}).get("choices"):
            known["auth"] = Option("how the credential is sent", choices=tuple(ways))
        return known

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How the texts of its keys begin."""
        return tuple(sorted({kind.prefix for kind in self.kinds.values() if kind.prefix}))

    def kinds_like(self, text: str) -> tuple[str | None, ...]:
        """The kinds whose keys look like ``text``, by their format or else their prefix; ``(None,)`` where
        all kinds look the same and it looks like them."""
        fits = []
        for kind in self.kinds.values():
            form = patterns.matches(kind.key_format, text) if kind.key_format else None
            if form if form is not None else kind.prefix and text.startswith(kind.prefix):
                fits.append(kind.name)
        if fits:
            return tuple(fits)
        return (None,) if self.key_format and patterns.matches(self.key_format, text) else ()

    @property
    def scope_groups(self) -> Mapping[str, str]:
        """Scopes that the service keeps apart: the prefix that they have at keyform, by group."""
        groups: Mapping[str, str] = self.rest.get("scope_groups", {})
        return groups

    @property
    def only_project(self) -> str | None:
        """The id of the one project that there is, where the service has one list of origins for all."""
        if CONTRACT in (self.operations.get("get_origins"), self.operations.get("set_origins")):
            return None
        only: str | None = self.rest.get("operations", {}).get("get_origins", {}).get("only")
        return only

    @property
    def locating(self) -> tuple[str, ...]:
        """The options that choose among what lies at one address, by what a listing or a create asks for."""
        calls = self.rest.get("operations", {})
        said = json.dumps(calls.get("list") or calls.get("create") or {}, default=str)
        return tuple(sorted(option for option in self.options if f"{{options.{option}}}" in said))

    @property
    def revokes(self) -> bool:
        """Whether there is any way to revoke a key: only where a kind has one key may there be none."""
        return not self.one_per_kind or "revoke" in self.operations

    def keys_of(self, kind: Kind) -> str:
        """What to call keys of a kind in a sentence; of the only kind there is, by the service."""
        return f"{kind.name if len(self.kinds) > 1 else self.short_name} keys"

    def cite(self, topic: str) -> str:
        """The rule that a message on ``topic`` goes by, with its source, as a sentence; or nothing."""
        fact = next((fact for fact in self.facts if topic in fact.about), None)
        return f'The rule is "{fact.rule}" ({fact.source}).' if fact else ""

    @property
    def short_name(self) -> str:
        """What to call the type in a sentence: its name, or the title where the type is a file."""
        return self.title if "/" in self.type or "." in self.type else self.type

    @property
    def fields_unseen(self) -> frozenset[str]:
        """Spec fields that the listing does not show."""
        return _SPEC_FIELDS - self.shown
