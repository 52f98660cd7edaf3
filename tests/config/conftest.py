"""A profile like the embedded service's, and a way to load a configuration from texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyform.config import Config, load
from keyform.diagnostics import Diagnostic
from keyform.errors import ConfigError
from keyform.profile import FORBIDDEN, OPTIONAL, REQUIRED, ExpiryRule, Kind, Option, Profile

NOW = datetime(2026, 11, 20, tzinfo=UTC)

_SCOPES = ("events:write", "events:read", "reports:read", "projects:read", "projects:write", "keys:manage")
_FIELDS = frozenset(
    {
        "kind",
        "environment",
        "project",
        "name",
        "description",
        "scopes",
        "allowed_origins",
        "expires_in",
        "expires_at",
        "rate_limit",
        "credits",
        "metadata",
    }
)

EMBEDDED = Profile(
    type="embedded",
    title="Embedded",
    kinds={
        "public": Kind(
            "public", "pk", scopes=("events:write",), default_scopes=("events:write",), origins=REQUIRED
        ),
        "secret": Kind("secret", "sk", scopes=_SCOPES[:5], default_scopes=("events:read",), project=OPTIONAL),
        "read": Kind("read", "rk", scopes=_SCOPES[1:4], default_scopes=("events:read",)),
        "account": Kind("account", "ak", scopes=_SCOPES, default_scopes=("keys:manage",), project=FORBIDDEN),
    },
    environments=("live", "test"),
    scopes=dict.fromkeys(_SCOPES, ""),
    fields=_FIELDS,
    mutable=_FIELDS - {"kind", "environment", "project"},
    origins_on=frozenset({"key", "project"}),
    limits={
        "name": 200,
        "description": 1000,
        "metadata": 50,
        "metadata_key": 40,
        "metadata_value": 500,
        "allowed_origins": 100,
    },
    options={"path": Option("the folder of its data")},
)

WINDOWS = Profile(
    type="windows",
    title="A dashboard with fixed expiry windows and origins on projects",
    kinds={"pk": Kind("pk", "pk", origins=REQUIRED, project=REQUIRED), "sk": Kind("sk", "sk")},
    scopes=None,
    fields=frozenset({"kind", "project", "scopes", "name", "expires_in"}),
    origins_on=frozenset({"project"}),
    expiry=ExpiryRule(windows=(timedelta(days=30), timedelta(days=90))),
)

PLAIN = Profile(
    type="plain",
    title="No kinds, no environments, no expiry",
    fields=frozenset({"name", "scopes", "allowed_origins"}),
    origins_on=frozenset({"key"}),
    expiry=ExpiryRule(settable=False),
)

PROFILES = {profile.type: profile for profile in (EMBEDDED, WINDOWS, PLAIN)}


def read(folder: Path, **options: Any) -> Config:
    """Load a folder with the profiles above."""
    settings: dict[str, Any] = {
        "now": NOW,
        "env": {},
        "profile_of": lambda kind, _: PROFILES.get(kind),
        "store_types": ("age", "exec", "github-actions", "vault", "acme"),
        "check_place": lambda store, place: place,
        "folder_of": lambda store, folder: None,
        "state_types": ("local", "s3"),
        "service_types": tuple(PROFILES),
    }
    return load(folder, **(settings | options))


Loader = Callable[..., Config]
Refuser = Callable[..., tuple[Diagnostic, ...]]


@pytest.fixture
def load_folder() -> Loader:
    """``load_folder(path, **options)``."""
    return read


@pytest.fixture
def config(tmp_path: Path) -> Loader:
    """``config(text, **options)``, or a mapping of file names to texts or bytes."""

    def from_texts(files: str | bytes | Mapping[str, str | bytes], **options: Any) -> Config:
        if not isinstance(files, Mapping):
            files = {"keyform.yaml": files}
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            (tmp_path / name).write_bytes(data)
        return read(tmp_path, **options)

    return from_texts


@pytest.fixture
def refused(config: Loader) -> Refuser:
    """The diagnostics of a configuration that must be refused."""

    def diagnostics(*args: Any, **options: Any) -> tuple[Diagnostic, ...]:
        with pytest.raises(ConfigError) as caught:
            config(*args, **options)
        return caught.value.diagnostics

    return diagnostics
