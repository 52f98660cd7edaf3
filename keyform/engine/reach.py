"""What a key can do, and what it gains and loses when it becomes another: in words, and as a direction.

What lets a key do more is the profile's knowledge. What no profile says is never guessed: such a turn is
sideways, and its words say that nobody knows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase

from keyform.engine.bounds import credit_turns, end_words, expiry_turns, rate_turns, rate_words, use_words
from keyform.engine.turns import GAIN, LOSS, SIDEWAYS, Reach, Turn
from keyform.model import KeySpec
from keyform.profile import FORBIDDEN, ON_KEY, REQUIRED, Kind, Profile

SHOWN = 8
"""Scopes and origins that are told one by one; of more, the rest is counted."""

_NOT_SAID = "the profile does not say which can do more"
_ANYWHERE, _LISTED, _UNSAID, _ALL = "anywhere", "listed", "unsaid", "all"


def compare(
    before: Reach, after: Reach, profile: Profile, now: datetime, renewed: bool = False
) -> tuple[Turn, ...]:
    """What a key gains and loses when it becomes ``after``. ``renewed``: a new generation takes its place, so
    that its end is later by nature, and only another policy counts. ``now`` is when that one is minted."""
    if before == after:
        return ()
    return (
        *_kind(before.spec, after.spec, profile),
        *_scopes(before.spec, after.spec, profile),
        *_environment(before.spec.environment, after.spec.environment, profile),
        *_project(before.spec, after.spec, profile),
        *_origins(before, after, profile),
        *expiry_turns(before, after, now, renewed),
        *rate_turns(before.spec.rate_limit, after.spec.rate_limit),
        *credit_turns(before.spec.credits, after.spec.credits),
    )


def whole(reach: Reach, profile: Profile) -> tuple[Turn, ...]:
    """What a key can do that did not exist before."""
    spec = reach.spec
    kind = profile.kinds.get(spec.kind or "")
    out = [_gain(f"can {what}", what, profile) for what in (kind.can or () if kind else ())]
    if scopes := _scopes_of(spec, profile):
        out += _told(scopes, "can", GAIN, profile)
    elif scopes is None:
        out.append(Turn(GAIN, "can do everything: no scopes are named", True))
    if not out and "scopes" in profile.fields and (kind is None or kind.scopes != ()):
        out.append(Turn(GAIN, "works without any scope"))
    elif not out:
        what = f"is a {kind.name} key" if kind and len(profile.kinds) > 1 else "is a new key"
        out.append(Turn(GAIN, f"{what}; the profile does not say what it can do"))
    if spec.environment is not None:
        out.append(Turn(GAIN, f"works in {spec.environment}"))
    project = _project_of(spec, profile)
    if project is not None:
        out.append(
            Turn(GAIN, "works in every project" if project == _ALL else f"works in the project {project[1]}")
        )
    origins = _origins_of(reach, profile)
    if not isinstance(origins, str):
        out.append(Turn(GAIN, f"can be used from {_listed(origins)}"))
    if reach.expires_in is not None or spec.expires_at is not None:
        out.append(Turn(GAIN, f"ends {end_words(reach)}"))
    elif profile.expiry.settable:
        out.append(Turn(GAIN, "never expires"))
    if spec.rate_limit is not None:
        out.append(Turn(GAIN, f"can be used {rate_words(spec.rate_limit)}"))
    if spec.credits is not None:
        out.append(Turn(GAIN, f"can be used {use_words(spec.credits)}"))
    return tuple(out)


def origin_turns(before: Iterable[str], after: Iterable[str]) -> tuple[Turn, ...]:
    """What the keys of a project gain and lose by another allowlist."""
    return tuple(_listed_turns(frozenset(before), frozenset(after), "its keys "))


def _kind(before: KeySpec, after: KeySpec, profile: Profile) -> Iterator[Turn]:
    if before.kind == after.kind:
        return
    old, new = profile.kinds.get(before.kind or ""), profile.kinds.get(after.kind or "")
    if old is None or new is None or old.can is None or new.can is None:
        yield Turn(SIDEWAYS, f"from kind {before.kind or 'none'} to {after.kind or 'none'}; {_NOT_SAID}")
        return
    for what in new.can:
        if what not in old.can:
            yield _gain(f"can now {what}", what, profile)
    for what in old.can:
        if what not in new.can:
            yield Turn(LOSS, f"can no longer {what}")


def _gain(words: str, what: str, profile: Profile) -> Turn:
    return Turn(GAIN, words, profile.power.is_dangerous(what))


def _scopes_of(spec: KeySpec, profile: Profile) -> tuple[str, ...] | None:
    """The scopes of a key; None for all that there are."""
    kind = profile.kinds.get(spec.kind or "")
    return None if not spec.scopes and kind is not None and kind.unscoped_is_all else spec.scopes


def _scopes(before: KeySpec, after: KeySpec, profile: Profile) -> Iterator[Turn]:
    old, new = _scopes_of(before, profile), _scopes_of(after, profile)
    if old == new:
        return
    if new is None:
        yield Turn(GAIN, "can now do everything: no scopes are named any more", True)
    elif old is None:
        yield Turn(LOSS, f"can no longer do everything: only {_listed(new)}")
    else:
        yield from _told(_beyond(new, old, profile.power.wildcards), "can now", GAIN, profile)
        yield from _told(_beyond(old, new, profile.power.wildcards), "can no longer", LOSS, profile)


def _beyond(these: Iterable[str], those: Iterable[str], wildcards: bool) -> list[str]:
    """What of ``these`` none of ``those`` holds."""
    known = frozenset(those)
    wide = [other for other in known if wildcards and "*" in other]
    return [one for one in these if one not in known and not any(_holds(other, one) for other in wide)]


def _holds(wide: str, narrow: str) -> bool:
    """Whether what a wildcard stands for takes in a text, which may hold wildcards itself: each of those has
    to stand where a wildcard of ``wide`` does."""
    return fnmatchcase(narrow, wide.replace("[", "[[]").replace("?", "[?]"))


def _told(scopes: Iterable[str], can: str, way: str, profile: Profile) -> Iterator[Turn]:
    def words(scope: str) -> str:
        return f"{can} {_meaning(scope, profile)}"

    return _each(scopes, way, words, profile.power.is_dangerous, f"{can} use {{}} more scopes")


def _each(
    items: Iterable[str],
    way: str,
    words: Callable[[str], str],
    dangerous: Callable[[str], bool],
    rest: str,
) -> Iterator[Turn]:
    """A turn for each of the first, and one that counts the rest; what is dangerous is told first."""
    rated = sorted((not dangerous(item), item) for item in items)
    shown = SHOWN if len(rated) > SHOWN + 1 else len(rated)
    for harmless, item in rated[:shown]:
        yield Turn(way, words(item), way == GAIN and not harmless)
    if left := rated[shown:]:
        yield Turn(way, rest.format(len(left)), way == GAIN and not left[0][0])


def _meaning(scope: str, profile: Profile) -> str:
    """What a scope allows, as the words after "can"."""
    if said := (profile.scopes or {}).get(scope):
        return f"{said} ({scope})"
    if profile.power.wildcards and "*" in scope:
        return f"do everything that {scope} stands for"
    form = profile.power.scope_form
    found = _reading(form).fullmatch(scope) if form else None
    return f"{found['verb']} {found['resource']} ({scope})" if found else f"do what {scope} allows"


@functools.cache
def _reading(form: str) -> re.Pattern[str]:
    escaped = re.escape(form)
    for part in ("resource", "verb"):
        escaped = escaped.replace(re.escape(f"{{{part}}}"), f"(?P<{part}>.+)")
    return re.compile(escaped)


def _environment(old: str | None, new: str | None, profile: Profile) -> Iterator[Turn]:
    if old == new:
        return
    real = profile.power.production
    words = f"was {old or 'in no environment'}, is {new or 'in none'} now"
    if (old in real) == (new in real):
        yield Turn(SIDEWAYS, words if old in real else f"{words}; {_NOT_SAID}")
    else:
        yield Turn(GAIN if new in real else LOSS, words, new in real)


def _project_of(spec: KeySpec, profile: Profile) -> tuple[str, str] | str | None:
    """The project of a key, ``all`` or, where nobody knows, None."""
    if spec.project is not None:
        return ("project", spec.project)
    kind = profile.kinds.get(spec.kind or "")
    return _ALL if kind is not None and kind.unbound_is_all else None


def _project(before: KeySpec, after: KeySpec, profile: Profile) -> Iterator[Turn]:
    old, new = _project_of(before, profile), _project_of(after, profile)
    if old == new:
        return
    if old == _ALL and new is not None:
        yield Turn(LOSS, f"works in the project {after.project} only, and no longer in every one")
    elif new == _ALL and old is not None:
        yield Turn(GAIN, f"works in every project now, and not in {before.project} alone")
    elif old is None or new is None:
        places = [f"the project {spec.project}" if spec.project else "no project" for spec in (before, after)]
        yield Turn(SIDEWAYS, f"was in {places[0]}, is in {places[1]} now; {_NOT_SAID}")
    else:
        yield Turn(SIDEWAYS, f"works in the project {after.project}, and no longer in {before.project}")


def _origins_of(reach: Reach, profile: Profile) -> frozenset[str] | str:
    """The origins that a key is held to: ``anywhere``, some, ``listed`` where there are some that keyform
    does not see, or ``unsaid`` where nobody knows whether there are any."""
    kind: Kind | None = profile.kinds.get(reach.spec.kind or "")
    if kind is not None and kind.origins == FORBIDDEN:
        return _ANYWHERE
    if found := reach.spec.allowed_origins or reach.project_origins:
        return frozenset(found)
    if kind is None:
        return _UNSAID if ON_KEY in profile.origins_on else _ANYWHERE
    return _LISTED if kind.origins == REQUIRED else _UNSAID


def _origins(before: Reach, after: Reach, profile: Profile) -> Iterator[Turn]:
    old, new = _origins_of(before, profile), _origins_of(after, profile)
    if old == new:
        return
    if _UNSAID in (old, new) or (_LISTED in (old, new) and _ANYWHERE not in (old, new)):
        yield Turn(
            SIDEWAYS,
            f"is held to other origins: {_listed(old)}, now {_listed(new)}; the profile does not say which "
            "lets more in",
        )
    elif new == _ANYWHERE:
        yield Turn(GAIN, f"can now be used from anywhere, and not from {_listed(old)} alone", True)
    elif old == _ANYWHERE:
        yield Turn(LOSS, f"can now be used from {_listed(new)} alone, and not from anywhere")
    elif not isinstance(old, str) and not isinstance(new, str):
        yield from _listed_turns(old, new)


def _listed_turns(old: frozenset[str], new: frozenset[str], who: str = "") -> Iterator[Turn]:
    for way, can, origins in (
        (GAIN, f"{who}can now be used from", _beyond(new, old, wildcards=True)),
        (LOSS, f"{who}can no longer be used from", _beyond(old, new, wildcards=True)),
    ):
        yield from _each(
            origins, way, f"{can} {{}}".format, lambda origin: "*" in origin, f"{can} {{}} more origins"
        )


def _listed(items: Iterable[str]) -> str:
    if isinstance(items, str):
        known = {_ANYWHERE: "anywhere", _LISTED: "the origins of its project", _UNSAID: "none of its own"}
        return known[items]
    named = sorted(items)
    rest = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + rest or "nowhere"
