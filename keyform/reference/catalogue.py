"""What a dialect of the service knows about keys: kinds, environments, scopes. Data only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MUTABLE = frozenset(
    {"name", "description", "scopes", "allowed_origins", "expires_at", "metadata", "rate_limit"}
)
FIELDS = MUTABLE | {"kind", "environment", "project"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of key: its prefix, the scopes it may carry, where it may live.

    listed: whether the routes of the contract mint, show and change such keys; False for keys that a dialect
    keeps for calls of its own.
    """

    prefix: str
    scopes: frozenset[str] = frozenset()
    in_project: bool = True
    needs_project: bool = False
    needs_origin: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The kinds, environments and scopes of one dialect, and which fields of the contract it honours.

    Keys of `manage_kind` that hold `manage_scope` may call the management routes; None: no key may.
    project_scope: such a key changes projects only if it holds this one too, and grants no scope that it
    lacks; None: it does both freely.
    fields: what a create may set; any other field may only be empty. mutable: what a PATCH may change.
    scopes_fixed: a key holds all that its kind may carry, and nothing is chosen.
    scopes_optional: a key without scopes holds all of them. scope_pattern: what a scope looks like, for a
    service whose list of scopes is not known whole.
    expiry_days: the only spans a key may live for, besides for ever; empty for any span.
    cache_seconds: how long a verified key is believed without looking again.
    """

    kinds: Mapping[str, Kind]
    environments: frozenset[str]
    scopes: frozenset[str]
    manage_kind: str | None = None
    manage_scope: str | None = None
    project_scope: str | None = None
    fields: frozenset[str] = FIELDS
    mutable: frozenset[str] = MUTABLE
    scopes_fixed: bool = False
    scopes_optional: bool = False
    scope_pattern: re.Pattern[str] | None = None
    expiry_days: tuple[int, ...] = ()
    cache_seconds: int = 0

    def choose_kind(self, kind: str | None) -> str:
        """The kind that is asked for, or the only one of a service that knows no kinds."""
        return next(iter(self.kinds)) if kind is None else kind

    def choose_environment(self, environment: str | None) -> str:
        """The environment that is asked for, or the only one of a service that knows none."""
        return next(iter(self.environments)) if environment is None else environment


_ALL = frozenset(
    {"events:write", "events:read", "reports:read", "projects:read", "projects:write", "keys:manage"}
)

CONTRACT = Catalogue(
    kinds={
        "public": Kind("pk", frozenset({"events:write"}), needs_origin=True),
        "secret": Kind("sk", _ALL - {"keys:manage"}),
        "read": Kind("rk", frozenset({"events:read", "reports:read", "projects:read"})),
        "account": Kind("ak", _ALL, in_project=False),
    },
    environments=frozenset({"live", "test"}),
    scopes=_ALL,
    manage_kind="account",
    manage_scope="keys:manage",
    project_scope="projects:write",
)
