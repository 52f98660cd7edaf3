"""Doubts: keys that may exist at a service where keyform cannot look, kept until a person has looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyform.encoding import spec_from_json, spec_to_json
from keyform.model import KeySpec, instant, parse_instant


@dataclass(frozen=True, slots=True)
class Doubt:
    """A create whose answer never came, at a service that lists nothing: nobody knows whether there is a key.

    ``marker`` names it, ``at`` is when the create was sent, ``spec`` what it asked for. ``where`` says which
    service ``service`` was, since its declaration may go. ``label`` is what the key would carry, None where
    keys carry none.
    """

    marker: str
    address: str
    service: str
    where: str
    spec: KeySpec
    at: datetime
    label: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON form; a label that is absent is left out."""
        out: dict[str, Any] = {
            "marker": self.marker,
            "address": self.address,
            "service": self.service,
            "where": self.where,
            "spec": spec_to_json(self.spec),
            "at": instant(self.at),
        }
        return out if self.label is None else {**out, "label": self.label}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Doubt:
        """The inverse of :meth:`as_json`."""
        return Doubt(
            data["marker"],
            data["address"],
            data["service"],
            data["where"],
            spec_from_json(data["spec"]),
            parse_instant(data["at"]),
            data.get("label"),
        )
