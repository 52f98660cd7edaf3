"""The words and before/after pairs of a planned change."""

from __future__ import annotations

import shlex

from keyform.engine.diff import explain, sentence
from keyform.engine.plan import FieldDiff
from keyform.engine.sight import ServiceView, terms_of
from keyform.model import SPEC_FIELDS, DesiredKey, LiveKey, Place, Rotation, format_duration
from keyform.profile import Profile
from keyform.state import KeyRecord
from keyform.terms import Terms


def command(*words: str) -> str:
    """A command line of keyform's in backticks, as a shell takes it when it is pasted: the addresses of a
    ``for_each`` have quotes and brackets."""
    return f"`{shlex.join(['keyform', *words])}`"


def whole(want: DesiredKey, profile: Profile) -> tuple[FieldDiff, ...]:
    """Everything a new key will be."""
    diff = list(explain(None, want.spec, SPEC_FIELDS, profile))
    if want.expires_in is not None:
        diff.append(FieldDiff("expires_in", None, format_duration(want.expires_in)))
    diff.append(FieldDiff("secret", None, [worded(place) for place in want.places]))
    diff += [d for d in terms_diff(Terms(), terms_of(want)) if d.before != d.after]
    return tuple(diff)


def reasons_of(
    changed: frozenset[str],
    live: LiveKey,
    record: KeyRecord,
    view: ServiceView,
    span: FieldDiff | None = None,
) -> list[str]:
    """Why, field by field: who changed it, and what the service can do about it. ``span`` is a changed
    ``expires_in``, which tells more than the moment that it comes to."""
    out = []
    title = view.profile.short_name
    for name in SPEC_FIELDS:
        if name not in changed:
            continue
        called = _declared_as(name, view.profile)
        if name in record.current.otherwise:
            why = (
                f"{view.name} granted {called} otherwise than keyform last asked for, and may do so again; "
                "if it can do no other, declare what it grants"
            )
        elif getattr(live.spec, name) != getattr(record.current.spec, name):
            why = f"{called} changed at {view.name} outside keyform"
        elif name == "expires_at" and span is not None:
            why = sentence(span)
        else:
            why = f"{called} changed in the configuration"
        if name in view.profile.mutable:
            out.append(f"{why}; {title} keys take {_a_new(name)} in place")
        else:
            fact = next((fact for fact in view.profile.facts if "change" in fact.about), None)
            rule = f"{title} keys cannot change {called}"
            if fact is not None and fact.unknown:
                rule = f"nothing says that {title} keys can change {called}"
            source = f" ({fact.source})" if fact else ""
            out.append(f"{why}; {rule}, so a new key replaces it{source}")
    return out


def _declared_as(name: str, profile: Profile) -> str:
    """What a field is called where users write it: some services take spans and no moments."""
    return "expires_in" if name == "expires_at" and name not in profile.fields else name


def _a_new(name: str) -> str:
    known = {
        "scopes": "a new set of scopes",
        "allowed_origins": "a new set of allowed origins",
        "metadata": "new metadata",
        "expires_at": "a new expiry",
        "credits": "new credits",
    }
    return known.get(name, f"a new {name.replace('_', ' ')}")


def terms_diff(old: Terms, new: Terms) -> tuple[FieldDiff, ...]:
    return (
        FieldDiff("owner", old.owner, new.owner),
        FieldDiff("tags", list(old.tags) or None, list(new.tags) or None),
        FieldDiff("protect", old.protect or None, new.protect or None),
        *(
            FieldDiff(f"rotation.{name}", _span(old.rotation, name), _span(new.rotation, name))
            for name in ("every", "before_expiry", "overlap", "revoke_when_unused_for", "revoke_within")
        ),
    )


def _span(rotation: Rotation | None, name: str) -> str | None:
    span = getattr(rotation, name, None)
    return format_duration(span) if span else None


def with_on_revoke(places: tuple[Place, ...]) -> tuple[tuple[Place, str], ...]:
    return tuple((place, place.on_revoke) for place in places)


def worded(place: Place) -> str:
    return str(place) + (" (kept when revoked)" if place.on_revoke == "keep" else "")
