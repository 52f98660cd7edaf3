"""What a dialect of the service knows about keys: kinds, environments, scopes. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of key: its prefix, the scopes it may carry, where it may live."""

    prefix: str
    scopes: frozenset[str]
    in_project: bool = True
    needs_origin: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The kinds, environments and scopes of one dialect.

    Keys of `manage_kind` that hold `manage_scope` may call the management routes, and change projects if they
    hold `project_scope` too.
    """

    kinds: Mapping[str, Kind]
    environments: frozenset[str]
    scopes: frozenset[str]
    manage_kind: str
    manage_scope: str
    project_scope: str


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
