"""What a service grants, held against what it was asked for.

Ends of keys are compared with some room: a service may keep them to the second or the day, count a span from
its own clock, and take its time to answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.diff import changed_fields, explain, words
from keyform.engine.sight import with_balance_of
from keyform.model import KeySpec
from keyform.profile import Profile

TOLERANCE = timedelta(minutes=1)
"""How far an end may be from the one that was asked for, where the profile names no coarser `rounding`."""

_IDENTITY = ("kind", "environment")


def same_end(
    shown: datetime | None,
    asked: datetime | None,
    profile: Profile,
    counted: datetime | None = None,
) -> bool:
    """Whether a shown end of a key is the one that was asked for; ``counted`` is the end as the service's own
    clock has it."""
    if shown is None or asked is None:
        return shown is asked
    room = max(TOLERANCE, profile.expiry.rounding)
    return any(abs(shown - end) <= room for end in (asked, counted) if end is not None)


def otherwise(
    profile: Profile, asked: KeySpec, shown: KeySpec, at: datetime, born: datetime
) -> tuple[str, ...]:
    """The fields that the service shows, and that are not as they were asked for at ``at``. ``born``: when it
    says that the key was made."""
    shown = with_balance_of(asked, shown)
    counted = None if asked.expires_at is None else born + (asked.expires_at - at)
    if same_end(shown.expires_at, asked.expires_at, profile, counted):
        shown = replace(shown, expires_at=asked.expires_at)
    return tuple(sorted(changed_fields(shown, asked, profile.shown)))


def recorded(asked: KeySpec, shown: KeySpec, profile: Profile, differing: tuple[str, ...]) -> KeySpec:
    """What the state keeps: what was asked for, so that all else that the service shows from now on is
    drift; an end that is the same but for rounding as the service shows it."""
    if "expires_at" in differing or "expires_at" not in profile.shown:
        return asked
    return replace(asked, expires_at=shown.expires_at)


def about_granted(
    address: str, service: str, asked: KeySpec, shown: KeySpec, profile: Profile, differing: tuple[str, ...]
) -> Iterator[Diagnostic]:
    """A warning for each thing that was granted otherwise."""
    for found in explain(shown, asked, differing, profile):
        if found.path == "scopes":
            what = f"the scopes [{', '.join(shown.scopes)}] where [{', '.join(asked.scopes)}] were asked for"
        else:
            none = "never" if found.path == "expires_at" else None
            had, wanted = ((none if v is None else None) or words(v) for v in (found.before, found.after))
            what = f"{found.path} {had} where {wanted} was asked for"
        yield warning(
            "granted-otherwise",
            f"{address}: {service} granted {what}",
            "The next plan shows the difference. Check what the credential may grant; if the service can do "
            "no other, declare what it grants.",
            address=address,
        )


def another_key(
    address: str, service: str, asked: KeySpec, shown: KeySpec, profile: Profile
) -> Diagnostic | None:
    """Why a minted key must not be kept: it is of another kind or environment than was asked for."""
    for name in _IDENTITY:
        had, wanted = getattr(shown, name), getattr(asked, name)
        if name in profile.shown and had is not None and had != wanted:
            return error(
                "granted-otherwise",
                f"{address}: {service} minted a key of {name} {had} where {wanted} was asked for",
                "Such a key can do other things than were declared, so its secret was stored nowhere. Ask "
                f"whoever runs the service, or check how the profile says a {name}.",
                address=address,
            )
    return None
