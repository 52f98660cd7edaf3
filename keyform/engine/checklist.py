"""Checklists: what a person clicks and types to carry out a step, by the profile's data on its dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from keyform.dashboard import GENERAL, Line
from keyform.engine import plan as pl
from keyform.engine.plan import Change, Step
from keyform.engine.sight import Sight
from keyform.model import Credits, KeySpec, format_duration, instant
from keyform.profile import ASSISTED, Profile
from keyform.state import State

OPERATIONS = {pl.MINT: "create", pl.ALTER: "update", pl.END: "revoke", pl.SET_ORIGINS: "set_origins"}
"""The steps that touch a service, and the operation that each is."""

_PLACE = re.compile(r"\{(\w+)\}")


def with_checklists(changes: tuple[Change, ...], sight: Sight) -> tuple[Change, ...]:
    """The changes, with a checklist on every step that a person has to carry out."""
    specs = {
        (generation.service, generation.id): generation.spec
        for record in sight.state.keys.values()
        for generation in record.generations()
    }

    def step_with(step: Step) -> Step:
        view = sight.services.get(step.service or "")
        if view is None or view.profile.operations.get(OPERATIONS.get(step.op, "")) != ASSISTED:
            return step
        before = specs.get((step.service or "", step.key_id or ""))
        return replace(step, checklist=checklist(view.profile, step, before, sight.state))

    return tuple(replace(change, steps=tuple(map(step_with, change.steps))) for change in changes)


def checklist(
    profile: Profile, step: Step, before: KeySpec | None, state: State | None = None
) -> tuple[str, ...]:
    """The lines for one step. ``before`` is the key as it is recorded."""
    board = profile.dashboard
    place = f"Go to {profile.title}: {board.where}."
    match step.op:
        case pl.MINT if step.spec is not None:
            values = _values(profile, step.spec, step.terms.expires_in if step.terms else None)
            lines = _said(board.create or GENERAL.create, step.spec, values)
            return (place, *lines, _handed_over(profile, step))
        case pl.ALTER if step.spec is not None:
            return (place, *_altered(profile, step, step.spec, before or KeySpec()))
        case pl.SET_ORIGINS:
            project = state.projects.get(step.address) if state else None
            have = project.allowed_origins if project and project.id == step.project else ()
            spec = KeySpec(project=step.project, allowed_origins=step.origins)
            values = _values(profile, spec, None) | _moved(have, step.origins)
            return (place, *_said(board.origins or GENERAL.origins, spec, values))
        case _:
            spec = before or KeySpec()
            values = {"key": _called(step.key_id, spec), "project": _quoted(spec.project)}
            return (place, *_said(board.revoke or GENERAL.revoke, spec, values))


def stray_checklist(profile: Profile, spec: KeySpec, since: str) -> tuple[str, ...]:
    """The lines for a key that an interrupted run asked for, of which nothing is stored."""
    values = _values(profile, spec, None)
    traits = [f"{trait} {values[trait]}" for trait in ("kind", "project", "environment") if values.get(trait)]
    named = f"named {values['name']}" if values.get("name") else "without a name"
    more = f" ({', '.join(traits)})" if traits else ""
    return (
        f"Go to {profile.title}: {profile.dashboard.where}.",
        f"Look for a key {named}{more} that was made after {since}.",
        "If it is there, delete it: its secret is stored nowhere.",
        "If there is none, nothing is to be done.",
    )


def _handed_over(profile: Profile, step: Step) -> str:
    kind = profile.kinds.get(step.spec.kind or "") if step.spec else None
    begins = f" (it begins with {kind.prefix})" if kind is not None and kind.prefix else ""
    to = ", ".join(map(str, step.places))
    return f"Copy the key{begins}, which is shown once, and give it to keyform; it goes to {to}."


def _altered(profile: Profile, step: Step, spec: KeySpec, old: KeySpec) -> Iterator[str]:
    yield f"Find the key {_called(step.key_id, old)}."
    values = _values(profile, spec, None) | {"old_name": _quoted(old.name)}
    for field in step.fields:
        before, after = getattr(old, field), getattr(spec, field)
        sets = _moved(before, after) if isinstance(after, tuple) else {}
        lines = profile.dashboard.update.get(field, GENERAL.update.get(field, ()))
        yield from _said(lines, spec, values | sets)


def _said(lines: Iterable[Line], spec: KeySpec, values: Mapping[str, str]) -> Iterator[str]:
    for line in lines:
        if any(getattr(spec, field) not in wanted for field, wanted in line.only.items()):
            continue
        if line.without is not None and getattr(spec, line.without):
            continue
        if all(values.get(name) for name in _PLACE.findall(line.text)):
            yield _PLACE.sub(lambda found: values[found[1]], line.text)


def _values(profile: Profile, spec: KeySpec, span: timedelta | None) -> dict[str, str]:
    words = profile.dashboard.words
    values = {name: _quoted(getattr(spec, name)) for name in ("name", "description", "project")}
    for name in ("kind", "environment"):
        value = getattr(spec, name)
        values[name] = words.get(name, {}).get(value, value) if value is not None else ""
    values["scopes"] = ", ".join(spec.scopes)
    values["origins"] = ", ".join(spec.allowed_origins)
    if {"expires_in", "expires_at"} & profile.fields:
        written = format_duration(span) if span else instant(spec.expires_at) if spec.expires_at else "never"
        values["expiry"] = words.get("expiry", {}).get(written, written)
    if spec.rate_limit is not None:
        values["rate_limit"] = f"{spec.rate_limit.limit} in {spec.rate_limit.per_seconds} s"
    if spec.credits is not None:
        values["credits"] = _credits(spec.credits)
    values["metadata"] = ", ".join(f"{name}={_quoted(value)}" for name, value in spec.metadata)
    return values


def _credits(credits: Credits) -> str:
    again = credits.refill
    if again is None:
        return f"{credits.remaining} and no refill"
    day = "" if again.refill_day is None else f" on day {again.refill_day}"
    return f"{credits.remaining}, refilled by {again.amount} {again.interval}{day}"


def _moved(old: Iterable[object], new: Iterable[object]) -> dict[str, str]:
    before, after = tuple(map(str, old)), tuple(map(str, new))
    return {
        "added": ", ".join(entry for entry in after if entry not in before),
        "removed": ", ".join(entry for entry in before if entry not in after),
    }


def _called(key_id: str | None, spec: KeySpec) -> str:
    """A key as a person finds it: its name, and what may be shown of its secret."""
    hint = (key_id or "").rpartition("#")[0]
    parts = [_quoted(spec.name), f"({hint})" if hint else ""]
    return " ".join(part for part in parts if part) or "whose secret keyform holds"


def _quoted(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""
