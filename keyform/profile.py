"""What keyform knows about a service type, as a value. The data itself is one file per type.

Each rule stands here once and is used three times: to check the configuration, to plan, and by
``keyform services``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from keyform.model import SPEC_FIELDS

_SPEC_FIELDS = frozenset(SPEC_FIELDS)

DOCUMENTED, CONTRACT, ASSISTED = "documented", "contract", "assisted"

ON_KEY, ON_PROJECT = "key", "project"

FORBIDDEN, OPTIONAL, REQUIRED = "forbidden", "optional", "required"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of key: its prefix, and what such a key may carry.

    ``scopes`` None means that any scope of the catalogue may be chosen, and an empty tuple that none
    may. ``default_scopes`` is what a key gets whose ``scopes`` are not written. ``origins`` and
    ``project`` are ``forbidden``, ``optional`` or ``required``; required origins may stand on the
    key or on its project.
    """

    name: str
    prefix: str = ""
    description: str = ""
    scopes: tuple[str, ...] | None = None
    default_scopes: tuple[str, ...] = ()
    origins: str = FORBIDDEN
    project: str = OPTIONAL


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """``settable`` False: keys take no expiry. ``windows``: the only spans to choose from (empty: any)."""

    settable: bool = True
    windows: tuple[timedelta, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """A rule in words with its source, for messages and for ``keyform services TYPE``."""

    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A service type.

    ``fields``: key fields that the type knows; declaring another is an error. ``mutable``: those it
    changes in place; the rest of ``fields`` need a new key. ``shown``: spec fields that its listing
    shows; the rest are taken from the state. ``kinds`` and ``environments`` map names; an empty map
    or tuple means the type has none to choose. ``scopes``: catalogue with descriptions; None means
    free strings. ``origins_on``: where ``allowed_origins`` may stand. ``limits``: largest lengths and
    counts, by field. ``lists``: whether a listing exists at all. ``marks``: whether a key can carry
    the ownership label. ``idempotent``: whether a create with the label of an earlier one never mints a
    second key. ``proves``: whether there is a harmless call that proves a key works.
    ``list_lag``: how long a new key may be missing from the listing. ``last_used_lag``: how far
    behind "last used" may be, verification caches included. ``operations``: name to backing.
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
    limits: Mapping[str, int] = field(default_factory=dict)
    lists: bool = True
    marks: bool = True
    idempotent: bool = True
    proves: bool = True
    list_lag: timedelta = timedelta(0)
    last_used_lag: timedelta = timedelta(0)
    shows_last_used: bool = True
    operations: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()

    @property
    def short_name(self) -> str:
        """What to call the type in a sentence: its name, or the title where the type is a file."""
        return self.title if "/" in self.type or "." in self.type else self.type

    @property
    def fields_unseen(self) -> frozenset[str]:
        """Spec fields that the listing does not show."""
        return _SPEC_FIELDS - self.shown
