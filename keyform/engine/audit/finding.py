"""One finding, and the managed keys that findings are about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keyform.acceptance import Acceptance
from keyform.engine.audit.rules import Rule
from keyform.engine.sight import Presence, ServiceView, Sight, presence
from keyform.model import DesiredKey, KeySpec, SourceRef, digest
from keyform.state import KeyRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found. ``address`` is that of a declared or recorded key or project; a key that is neither
    has ``service`` and ``key_id`` alone. ``about`` tells several findings of one rule and subject apart: an
    origin, a scope, a place. ``source`` is where the YAML says it; None where only its service is declared.
    """

    rule: Rule
    message: str
    severity: str
    address: str | None = None
    service: str | None = None
    key_id: str | None = None
    about: str = ""
    source: SourceRef | None = None
    accepted: Acceptance | None = None

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        if self.address is not None:
            return self.address
        return f"{self.key_id} at {self.service}" if self.key_id else f"services.{self.service}"

    @property
    def fingerprint(self) -> str:
        """The same for the same finding in every run, wherever it stands in the files."""
        subject = [self.address] if self.address is not None else [self.service, self.key_id]
        return digest([self.rule.code, *subject, self.about])


@dataclass(frozen=True, slots=True)
class ManagedKey:
    """A key that is declared (``want``), recorded, or both. ``seen`` is what its service shows of the
    current generation, None where nothing is recorded."""

    address: str
    view: ServiceView
    want: DesiredKey | None
    record: KeyRecord | None
    seen: Presence | None

    def specs(self) -> Iterator[tuple[KeySpec, str]]:
        """What it may do: as declared, and as its service shows it where that differs, with words for it."""
        live = self.seen.live if self.seen is not None else None
        if self.want is not None:
            yield self.want.spec, ""
        if live is not None and (self.want is None or live.spec != self.want.spec):
            yield live.spec, f", as {self.view.name} shows it" if self.want is not None else ""

    def found(
        self, rule: Rule, message: str, *path: str | int, about: str = "", severity: str | None = None
    ) -> Finding:
        """A finding about it; ``path`` leads to the field of its declaration."""
        source = self.want.source if self.want is not None else None
        key_id = self.record.current.id if self.record is not None else None
        where = SourceRef(source.file, (*source.path, *path)) if source is not None else None
        return Finding(
            rule, message, severity or rule.severity, self.address, self.view.name, key_id, about, where
        )


def managed_keys(sight: Sight) -> Iterator[ManagedKey]:
    """Every declared or recorded key whose service is declared, by address."""
    declared = {want.address: want for want in sight.desired.keys}
    for address in sorted(declared.keys() | sight.state.keys.keys()):
        want, record = declared.get(address), sight.state.keys.get(address)
        service = record.current.service if record is not None else want.service if want is not None else ""
        view = sight.services.get(service)
        if view is not None:
            seen = presence(view, record.current, sight.now) if record is not None else None
            yield ManagedKey(address, view, want, record, seen)
