"""The state as users read it: what keyform owns, and where each secret is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keyform.encoding import spec_to_json
from keyform.engine.plan import FieldDiff
from keyform.engine.wording import terms_diff
from keyform.model import Place, format_duration, instant
from keyform.report.changes import value
from keyform.report.safe import code_span, padded, visible
from keyform.report.style import Style
from keyform.report.table import markdown_table, table
from keyform.state import Generation, KeyRecord, State
from keyform.terms import Terms

_HEADER = ("address", "service", "key", "expires", "secret")
_PROJECT_HEADER = ("project", "service", "allowed origins")
_DOUBT_HEADER = ("perhaps a key for", "service", "name", "since")


def state_text(state: State, where: str, style: Style) -> str:
    """Every key and project on a line of its own."""
    out = f"State {visible(where)}, serial {state.serial}, lineage {visible(state.lineage)}.\n"
    if not state.keys and not state.projects:
        out += "It owns no key yet.\n"
    if state.keys:
        out += "\n" + table(_HEADER, [*_lines(state)], style)
    if state.projects:
        out += "\n" + table(_PROJECT_HEADER, [*_project_lines(state)], style)
    if state.doubts:
        out += "\n" + table(_DOUBT_HEADER, [*_doubt_lines(state)], style)
    return out


def state_markdown(state: State, where: str) -> str:
    """The same as Markdown."""
    out = f"## keyform state\n\nState {code_span(where)}, serial {state.serial}.\n\n"
    if not state.keys and not state.projects:
        out += "It owns no key yet.\n" + ("\n" if state.doubts else "")
    tables = []
    if state.keys:
        tables.append(markdown_table(_HEADER, [list(map(code_span, line)) for line in _lines(state)]))
    if state.projects:
        lines = [list(map(code_span, line)) for line in _project_lines(state)]
        tables.append(markdown_table(_PROJECT_HEADER, lines))
    if state.doubts:
        lines = [list(map(code_span, line)) for line in _doubt_lines(state)]
        tables.append(markdown_table(_DOUBT_HEADER, lines))
    return out + "\n".join(tables)


def _project_lines(state: State) -> Iterator[Sequence[str]]:
    for _, project in sorted(state.projects.items()):
        yield project.address, project.service, ", ".join(project.allowed_origins) or "none"


def _doubt_lines(state: State) -> Iterator[Sequence[str]]:
    for doubt in state.doubts:
        yield (
            doubt.address,
            doubt.service,
            doubt.spec.name or "none",
            instant(doubt.at.replace(microsecond=0)),
        )


def _lines(state: State) -> Iterator[Sequence[str]]:
    for address, record in sorted(state.keys.items()):
        for generation in (record.current, *record.deposed):
            ends = generation.spec.expires_at
            asked = " (asked for, not granted)" if "expires_at" in generation.otherwise else ""
            until = f" (old, until {instant(generation.revoke_at)})" if generation.revoke_at else ""
            yield (
                address + until,
                generation.service,
                generation.id,
                (instant(ends) if ends else "never") + asked,
                ("never seen" if generation.revoke_at else "never seen; the first rotation captures it")
                if generation.secret_unseen
                else ", ".join(map(str, generation.places)),
            )


def record_text(record: KeyRecord, style: Style) -> str:
    """One key in full, its fingerprint included, never its secret."""
    out = [style.paint(visible(record.address), "bold")]
    terms = [
        FieldDiff("expires_in", None, format_duration(record.expires_in) if record.expires_in else None),
        *terms_diff(Terms(), record.terms),
    ]
    kept: list[tuple[str, object]] = [(d.path, d.after) for d in terms if d.after is not None]
    if record.rolled_back_at is not None:
        kept.append(("rolled_back_at", instant(record.rolled_back_at)))
    out += _fields(kept, 2)
    for generation in (record.current, *reversed(record.deposed)):
        kind = "current" if generation is record.current else "old"
        out += ["", f"  generation {generation.number} ({kind})"]
        out += _fields(_generation(generation), 4)
    return "\n".join(out) + "\n"


def _generation(generation: Generation) -> list[tuple[str, object]]:
    out: list[tuple[str, object]] = [
        ("service", generation.service),
        ("id", generation.id),
        ("created_at", instant(generation.created_at)),
        *spec_to_json(generation.spec).items(),
        ("secret", [_place(generation, place) for place in generation.places]),
        ("fingerprint", generation.fingerprint or _without(generation)),
    ]
    if generation.otherwise:
        out.append(("granted otherwise", list(generation.otherwise)))
    if generation.revoke_at:
        at_once = " (at once: somebody asked)" if generation.revoke_now else ""
        out.append(("revoke_at", instant(generation.revoke_at) + at_once))
    elif generation.revoke_now:
        out.append(("revoke_at", "as soon as a new one is stored (an interrupted `rotate --now`)"))
    return out


def _without(generation: Generation) -> str:
    if generation.secret_unseen:
        known = "its first rotation captures its secret"
        if generation.revoke_at:
            known = "keyform never had its secret"
        return f"unknown: the key was adopted, and {known}"
    return "none: its secret was lost in an interrupted apply, and the next one rotates it"


def _place(generation: Generation, place: Place) -> str:
    version = generation.version_at(place)
    return str(place) if version is None else f"{place} (version {version})"


def _fields(fields: Sequence[tuple[str, object]], indent: int) -> list[str]:
    width = max((len(name) for name, _ in fields), default=0) + 2
    return [" " * indent + padded(name, width) + value(item) for name, item in fields]
