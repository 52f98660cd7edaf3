"""Findings of the audit that somebody has decided to live with, until a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keyform.model import SourceRef


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One entry of ``accept``: findings of ``rule`` (its code) about one subject count no more before
    ``until``.

    The subject is an ``address`` (all keys of a ``for_each`` by their bare address), or the key ``key_id`` at
    ``service``, which need not be declared.
    """

    rule: str
    reason: str
    until: datetime
    address: str | None = None
    service: str | None = None
    key_id: str | None = None
    source: SourceRef | None = None

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        return self.address or f"{self.key_id} at {self.service}"

    def is_about(self, address: str | None) -> bool:
        """Whether it is about the key or project with this address."""
        return address is not None and self.address in (address, address.partition("[")[0])

    def covers(self, rule: str, address: str | None, service: str | None, key_id: str | None) -> bool:
        """Whether it is about a finding, whatever the time."""
        if self.address is not None:
            return rule == self.rule and self.is_about(address)
        return (rule, service, key_id) == (self.rule, self.service, self.key_id)
