"""What a key is to be, as state, plans and journal write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from keyform.model import Credits, KeySpec, RateLimit, Refill, Rotation, instant, parse_instant


def spec_to_json(spec: KeySpec) -> dict[str, Any]:
    """Only the fields that say something, in a fixed order."""
    out: dict[str, Any] = {}
    if spec.kind is not None:
        out["kind"] = spec.kind
    if spec.environment is not None:
        out["environment"] = spec.environment
    if spec.project is not None:
        out["project"] = spec.project
    if spec.name:
        out["name"] = spec.name
    if spec.description:
        out["description"] = spec.description
    if spec.scopes:
        out["scopes"] = list(spec.scopes)
    if spec.allowed_origins:
        out["allowed_origins"] = list(spec.allowed_origins)
    if spec.expires_at is not None:
        out["expires_at"] = instant(spec.expires_at)
    if spec.rate_limit is not None:
        out["rate_limit"] = {"limit": spec.rate_limit.limit, "per_seconds": spec.rate_limit.per_seconds}
    if spec.credits is not None:
        out["credits"] = {"remaining": spec.credits.remaining}
        if spec.credits.refill is not None:
            out["credits"]["refill"] = refill_to_json(spec.credits.refill)
    if spec.metadata:
        out["metadata"] = dict(spec.metadata)
    return out


def refill_to_json(refill: Refill) -> dict[str, Any]:
    """A refill as the state and plans write it."""
    day = {} if refill.refill_day is None else {"refill_day": refill.refill_day}
    return {"amount": refill.amount, "interval": refill.interval, **day}


def spec_from_json(data: Mapping[str, Any]) -> KeySpec:
    """The inverse of :func:`spec_to_json`."""
    expires = data.get("expires_at")
    limit, credit = data.get("rate_limit"), data.get("credits")
    return KeySpec(
        data.get("kind"),
        data.get("environment"),
        data.get("project"),
        data.get("name", ""),
        data.get("description", ""),
        tuple(sorted(data.get("scopes", ()))),
        tuple(sorted(data.get("allowed_origins", ()))),
        parse_instant(expires) if expires else None,
        RateLimit(limit["limit"], limit["per_seconds"]) if limit else None,
        Credits(credit["remaining"], Refill(**credit["refill"]) if "refill" in credit else None)
        if credit
        else None,
        tuple(sorted(data["metadata"].items())) if data.get("metadata") else (),
    )


_SPANS = ("every", "before_expiry", "overlap", "revoke_when_unused_for", "revoke_within")


def rotation_to_json(rotation: Rotation) -> dict[str, int]:
    """Its spans in seconds; an absent one is left out."""
    spans = {name: getattr(rotation, name) for name in _SPANS}
    return {f"{name}_s": int(span.total_seconds()) for name, span in spans.items() if span is not None}


def rotation_from_json(data: Mapping[str, Any]) -> Rotation:
    """The inverse of :func:`rotation_to_json`."""
    spans = {name: timedelta(seconds=data[f"{name}_s"]) for name in _SPANS if f"{name}_s" in data}
    return Rotation(**spans)
