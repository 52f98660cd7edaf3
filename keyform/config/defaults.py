"""``defaults`` and the values that keys share with them: durations, rotation, rate limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from keyform.config.interpolate import UNRESOLVED, Interpolator
from keyform.config.merge import Entry, Merged
from keyform.config.values import Bad, duration
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.model import LABEL, RateLimit, SourceRef

DEPENDS_ON_SERVICE = ("environment", "expires_in", "rate_limit", "metadata")
"""Defaults that a service may not know; they are applied where they are known."""


@dataclass(slots=True)
class Defaults:
    """The usable defaults. ``taken`` gathers those that at least one key's service knows."""

    entry: Entry
    fields: Mapping[str, Any] = field(default_factory=dict)
    expires_in: timedelta | None = None
    rotation: Mapping[str, timedelta | None] = field(default_factory=dict)
    rate_limit: RateLimit | None = None
    store: str | None = None
    taken: set[str] = field(default_factory=set)


class Values:
    """Reads the values that stand in keys and in defaults alike, recording what is wrong with them.

    The methods return :data:`UNRESOLVED` after recording. Good durations are remembered, since
    thousands of keys share a few of them.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._durations: dict[tuple[str, bool], timedelta | None] = {}

    def duration(self, text: str, where: SourceRef, address: str | None = None, *, zero: bool = False) -> Any:
        """The span, None for ``never``."""
        known = self._durations.get((text, zero), UNRESOLVED)
        if known is not UNRESOLVED:
            return known
        try:
            span = duration(text, zero=zero)
        except Bad as bad:
            self._problems.error("bad-duration", where, bad.summary, bad.detail, address=address)
            return UNRESOLVED
        self._durations[text, zero] = span
        return span

    def rotation(
        self, body: Mapping[str, str], where: SourceRef, address: str | None = None
    ) -> dict[str, timedelta | None]:
        """The usable spans of a ``rotation``."""
        spans: dict[str, timedelta | None] = {}
        for name, text in body.items():
            place = SourceRef(where.file, (*where.path, name))
            span = self.duration(text, place, address, zero=name == "overlap")
            if span is None and name == "overlap":
                self._problems.error(
                    "bad-duration",
                    place,
                    "`overlap` cannot be `never`",
                    "An old generation must end some time; write a duration, or `0s`.",
                )
            elif span is not UNRESOLVED:
                spans[name] = span
        return spans

    def rate_limit(self, body: Mapping[str, Any], where: SourceRef, address: str | None = None) -> Any:
        """The rate limit."""
        place = SourceRef(where.file, (*where.path, "per"))
        span = self.duration(body["per"], place, address)
        if span is UNRESOLVED:
            return UNRESOLVED
        if span is None:
            self._problems.error(
                "bad-duration", place, "`per` cannot be `never`", "Write a duration, like `1m`."
            )
            return UNRESOLVED
        return RateLimit(body["limit"], int(span.total_seconds()))

    def metadata(self, body: Mapping[str, str], where: SourceRef) -> bool:
        """Whether the metadata leaves the reserved entry alone."""
        if LABEL in body:
            self._problems.error(
                "reserved-metadata",
                SourceRef(where.file, (*where.path, LABEL)),
                f"the metadata entry `{LABEL}` is reserved: keyform marks its keys with it",
                "Use another name.",
                on_name=True,
            )
        return LABEL not in body


def read_defaults(merged: Merged, fill: Interpolator, values: Values, problems: Problems) -> Defaults:
    """The defaults, each value read once; what is wrong with them is reported where they stand."""
    entry = merged.defaults or Entry("", ("defaults",), {})
    fields = {
        name: filled
        for name, value in entry.body.items()
        if value is not None and (filled := fill.fill(value, entry.at(name))) is not UNRESOLVED
    }
    defaults = Defaults(entry, fields)
    defaults.store = _store(fields.get("store"), entry, merged, problems)
    if "expires_in" in fields:
        span = values.duration(fields["expires_in"], entry.at("expires_in"))
        defaults.expires_in = None if span is UNRESOLVED else span
    if "rotation" in fields:
        defaults.rotation = values.rotation(fields["rotation"], entry.at("rotation"))
    if "rate_limit" in fields:
        limit = values.rate_limit(fields["rate_limit"], entry.at("rate_limit"))
        defaults.rate_limit = None if limit is UNRESOLVED else limit
    values.metadata(fields.get("metadata", {}), entry.at("metadata"))
    return defaults


def _store(chosen: str | None, entry: Entry, merged: Merged, problems: Problems) -> str | None:
    """The default store; None when several are declared and none of them is called ``local``."""
    declared = merged.stores.keys() | merged.unusable["stores"]
    if chosen is not None:
        if chosen not in declared | {"local"} and not merged.incomplete:
            problems.error(
                "unknown-store",
                entry.at("store"),
                f"there is no store `{chosen}`",
                did_you_mean(chosen, declared | {"local"}),
            )
        return chosen
    if len(declared) == 1:
        return next(iter(declared))
    return "local" if not declared or "local" in declared else None


def report_unused(defaults: Defaults, problems: Problems) -> None:
    """A default that no key's service knows is a mistake, and it is not silently dropped."""
    for name in DEPENDS_ON_SERVICE:
        if name in defaults.fields and name not in defaults.taken:
            problems.error(
                "unused-default",
                defaults.entry.at(name),
                f"no key can take the default `{name}`: no service in use knows it",
                "Remove it from `defaults`.",
                on_name=True,
            )
