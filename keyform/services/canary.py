"""The key that a trial of a profile mints."""

from __future__ import annotations

from datetime import datetime, timedelta

from keyform.model import KeySpec
from keyform.profile import FORBIDDEN, Kind, Profile

_DAY = timedelta(days=1)
_HARMLESS = ("test", "sandbox", "dev")


def canary_spec(
    profile: Profile,
    *,
    kind: str | None = None,
    project: str | None = None,
    scopes: tuple[str, ...] = (),
    now: datetime | None = None,
) -> KeySpec:
    """The least that a key of this type may be: the default kind and one scope unless given, the test
    environment where there is one and, given ``now``, the shortest life."""
    chosen = profile.kinds.get(kind or profile.default_kind or next(iter(profile.kinds), ""))
    fields = profile.fields
    environments = [name for name in profile.environments if name in _HARMLESS]
    in_project = "project" in fields and (chosen is None or chosen.project != FORBIDDEN)
    ends = now is not None and profile.expiry.settable and not fields.isdisjoint({"expires_in", "expires_at"})
    return KeySpec(
        kind=chosen.name if chosen else None,
        environment=next(iter(environments), profile.default_environment)
        if "environment" in fields
        else None,
        project=project if in_project else None,
        name="keyform trial" if "name" in fields else "",
        scopes=tuple(sorted(scopes)) or (_least(profile, chosen) if "scopes" in fields else ()),
        expires_at=now + min(profile.expiry.windows, default=_DAY) if now is not None and ends else None,
    )


def choosable(profile: Profile, kind: Kind | None) -> tuple[str, ...] | None:
    """The scopes that a key of a kind may have; None where the profile has no catalogue."""
    if kind is not None and kind.scopes is not None:
        return kind.scopes
    return None if profile.scopes is None else tuple(profile.scopes)


def _least(profile: Profile, kind: Kind | None) -> tuple[str, ...]:
    defaults = kind.default_scopes if kind else ()
    return (defaults or choosable(profile, kind) or ())[:1]
