"""A loaded configuration, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from keyform.acceptance import Acceptance
from keyform.diagnostics import Diagnostic
from keyform.documents.locate import Sources
from keyform.model import Desired, Location, Secret, SourceRef
from keyform.profile import Profile


@dataclass(frozen=True, slots=True)
class StateConfig:
    """Where the state lives. Options that are credentials are :class:`Secret`. ``known`` False: something
    in it needs a variable that is not set here."""

    backend: str
    options: Mapping[str, Any]
    known: bool = True


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A declared key service. ``options`` are the fields of its type; those that are credentials are
    :class:`Secret`. ``profile`` is that of the type, whatever the ``mode``.
    ``stale_after``: how long a key may go unused before plans and audits say so; None: nothing is declared.
    """

    name: str
    type: str
    mode: str | None
    endpoint: str | None
    credential: Secret | None
    options: Mapping[str, Any]
    profile: Profile
    stale_after: timedelta | None = None
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """A declared store. ``options`` are the fields of its type; those that are credentials are
    :class:`Secret`. ``known`` False: some of them need a variable that is not set here, and are missing.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the files of ``folder`` declare.

    ``digest`` covers all of it after defaults, variables and ``for_each``, credentials excepted.
    ``diagnostics`` are warnings. ``schedule``: how often keyform is run by itself, None where that is not
    said. ``accepted`` changes no plan, and is no part of the digest.
    """

    folder: Path
    state: StateConfig
    services: Mapping[str, ServiceConfig]
    stores: Mapping[str, StoreConfig]
    desired: Desired
    digest: str
    diagnostics: tuple[Diagnostic, ...]
    sources: Sources = field(repr=False, compare=False)
    schedule: timedelta | None = None
    accepted: tuple[Acceptance, ...] = ()

    def locate(self, source: SourceRef) -> tuple[Location, str]:
        """Where a part of the configuration stands, and that line of the file, credentials masked."""
        return self.sources.locate(source)
