"""``expires_in``, ``expires_at`` and ``rotation`` of a key: when its generations begin and end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keyform.config.declared import Declared
from keyform.config.defaults import Defaults, Values
from keyform.config.interpolate import UNRESOLVED
from keyform.config.rules import ServiceRules
from keyform.config.values import Bad, end
from keyform.documents.problems import Problems
from keyform.model import Rotation, SourceRef, format_duration

Spans = Mapping[str, timedelta | None]


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a key expires; at most one of the two. ``sound`` False: something about it is wrong."""

    span: timedelta | None = None
    moment: datetime | None = None
    sound: bool = True


_GATE, _LATEST = "revoke_when_unused_for", "revoke_within"
_NEVER = Expiry()
_WRONG = Expiry(sound=False)


class Lifetimes:
    """Reads expiry and rotation. Good rotations are remembered."""

    def __init__(self, defaults: Defaults, values: Values, problems: Problems, now: datetime) -> None:
        self._defaults = defaults
        self._values = values
        self._problems = problems
        self._now = now
        self._good: dict[Any, Rotation] = {}

    def expiry(self, key: Declared, rules: ServiceRules) -> Expiry:
        """The expiry that a key declares or inherits. A default never joins a written ``expires_at``."""
        fields = key.fields
        if key.unknown & {"expires_in", "expires_at"}:
            return _WRONG
        if "expires_at" in fields:
            return self._moment(key, rules)
        if "expires_in" in fields:
            span = self._values.duration(fields["expires_in"], key.at("expires_in"), key.address)
            if span is UNRESOLVED or not rules.knows("expires_in"):
                return _WRONG
            rules.expires_in(span, key.at("expires_in"), key.address)
            if span is not None:
                rules.ends(self._now + span, key.at("expires_in"), key.address)
            return Expiry(span)
        inherited = self._defaults.expires_in
        if inherited is None or not rules.knows("expires_in") or not rules.profile.expiry.settable:
            return _NEVER
        rules.expires_in(inherited, self._defaults.entry.at("expires_in"), key.address)
        rules.ends(self._now + inherited, self._defaults.entry.at("expires_in"), key.address)
        return Expiry(inherited)

    def _moment(self, key: Declared, rules: ServiceRules) -> Expiry:
        if "expires_in" in key.fields:
            key.error(
                "two-expiries",
                ("expires_at",),
                "`expires_in` and `expires_at` exclude each other",
                "Keep one of them.",
                on_name=True,
            )
            return _WRONG
        if not rules.knows("expires_at") or not rules.expires_at(key):
            return _WRONG
        try:
            moment = end(key.fields["expires_at"])
        except Bad as bad:
            key.error("bad-time", ("expires_at",), bad.summary, bad.detail)
            return _WRONG
        rules.ends(moment, key.at("expires_at"), key.address)
        if moment <= self._now:  # an end that comes is no mistake in the files
            self._problems.warning(
                "past-end",
                key.at("expires_at"),
                "this `expires_at` has passed",
                "Nothing is minted for the key any more. Write a later `expires_at`, or remove the key.",
                address=key.address,
            )
        return Expiry(moment=moment)

    def rotation(self, key: Declared, expiry: Expiry, rules: ServiceRules) -> Rotation | None:
        """The rotation of a key: its own fields over those of the defaults, which are passed over where they
        cannot be."""
        given = key.fields.get("rotation")
        if given is None and not self._defaults.rotation:
            return None
        ungated = rules.ungated
        remembered = (tuple(given.items()) if given else None, expiry.span, expiry.moment is None, ungated)
        good = self._good.get(remembered)
        if good is not None:
            return good
        before = len(self._problems.found)
        own = self._values.rotation(given, key.at("rotation"), key.address) if given else {}
        spans = {**self._defaults.rotation, **own}
        if expiry.span is None and "before_expiry" not in own:
            spans.pop("before_expiry", None)
        if spans.get(_GATE) is None and own.get(_LATEST) is None:
            spans.pop(_LATEST, None)  # a default for keys that have a gate
        for name in (_GATE, _LATEST) if ungated else ():
            spans.pop(name, None)
            if own.get(name) is not None:
                key.error(
                    "unsupported-field",
                    ("rotation", name),
                    f"`{name}` {ungated}",
                    "Remove it; an old generation ends with its `overlap`."
                    + f" {rules.profile.cite('rotation')}".rstrip(),
                    on_name=True,
                )
        if expiry.sound:
            self._check(key, spans, own, expiry)
        rotation = Rotation(
            every=spans.get("every"),
            before_expiry=spans.get("before_expiry"),
            overlap=spans.get("overlap") or timedelta(0),
            revoke_when_unused_for=spans.get(_GATE),
            revoke_within=spans.get(_LATEST),
        )
        if expiry.sound and len(self._problems.found) == before:
            self._good[remembered] = rotation
        return rotation

    def _check(self, key: Declared, spans: Spans, own: Spans, expiry: Expiry) -> None:
        def at(name: str) -> SourceRef:
            return key.at("rotation", name) if name in own else self._defaults.entry.at("rotation", name)

        def wrong(name: str, summary: str, detail: str) -> None:
            self._problems.error("bad-rotation", at(name), summary, detail, address=key.address)

        every, ahead, overlap = spans.get("every"), spans.get("before_expiry"), spans.get("overlap")
        if ahead is not None and expiry.moment is not None:
            # A new generation would expire at the very same moment, and be due at once, for ever.
            wrong(
                "before_expiry",
                "`before_expiry` does not go with `expires_at`",
                "A new generation would expire at the same moment. Use `expires_in`.",
            )
        elif ahead is not None and expiry.span is None:
            wrong(
                "before_expiry",
                "`before_expiry` needs a key that expires",
                "Give the key an `expires_in`, or rotate it with `every`.",
            )
        elif ahead is not None and expiry.span is not None and ahead >= expiry.span:
            wrong(
                "before_expiry",
                "`before_expiry` is not shorter than `expires_in`",
                "The key would be due for rotation as soon as it is made.",
            )
        if overlap is not None and every is not None and overlap >= every:
            wrong("overlap", "`overlap` is not shorter than `every`", "Old generations would pile up.")
        latest = spans.get(_LATEST)
        if latest is not None and spans.get(_GATE) is None:
            wrong(
                _LATEST,
                f"`{_LATEST}` needs `{_GATE}`",
                "It ends what that holds back; without it an old generation ends with its `overlap`.",
            )
        elif latest is not None and latest < (overlap or timedelta(0)):
            wrong(_LATEST, f"`{_LATEST}` is shorter than `overlap`", "Nothing is revoked inside its overlap.")
        early = [span for span in (ahead, expiry.span - every if expiry.span and every else None) if span]
        if overlap is not None and (left := max(early, default=overlap)) > timedelta(0) and overlap > left:
            self._problems.warning(
                "cut-overlap",
                at("overlap"),
                "an old generation expires before its `overlap` is over: "
                f"{format_duration(left)} after the new one is made",
                "Make `overlap` shorter, or rotate earlier, with `before_expiry` or `every`.",
                address=key.address,
            )
        if every is not None and ahead is None and expiry.span is not None and every >= expiry.span:
            self._problems.warning(
                "late-rotation",
                at("every"),
                "the key expires before it is rotated",
                "Make `every` shorter than `expires_in`.",
                address=key.address,
            )
