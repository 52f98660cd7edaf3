"""What keyform knows of service types, as text."""

from __future__ import annotations

from collections.abc import Sequence

from keyform.model import format_duration
from keyform.profile import Profile
from keyform.report.safe import visible
from keyform.report.style import Style
from keyform.report.table import table


def profiles_text(profiles: Sequence[Profile], style: Style) -> str:
    """One line per type, with how its operations are backed."""
    lines = []
    for profile in profiles:
        backings = sorted(set(profile.operations.values()))
        lines.append(
            (profile.type, profile.title, ", ".join(backings), ", ".join(profile.kinds) or "one kind")
        )
    return table(("type", "service", "backed by", "kinds"), lines, style)


def profile_text(profile: Profile, style: Style) -> str:
    """One type in full: kinds, scopes, fields, operations, and each rule with its source."""
    out = [style.paint(f"{visible(profile.type)}: {visible(profile.title)}", "bold")]
    out += style.wrapped(visible(profile.description))
    if profile.kinds:
        kinds = [
            (
                kind.name + (" (default)" if kind.name == profile.default_kind else ""),
                kind.prefix,
                "any" if kind.scopes is None else str(len(kind.scopes)),
                kind.origins,
                kind.project,
                kind.description,
            )
            for kind in profile.kinds.values()
        ]
        out += [
            "",
            table(("kind", "prefix", "scopes", "origins", "project", "what for"), kinds, style).rstrip(),
        ]
    if profile.scopes:
        scopes = [
            (
                scope,
                ", ".join(k.name for k in profile.kinds.values() if k.scopes is None or scope in k.scopes),
                text,
            )
            for scope, text in profile.scopes.items()
        ]
        out += ["", table(("scope", "kinds", "what it allows"), scopes, style).rstrip()]
    if profile.environments:
        names = [f"{e} (default)" if e == profile.default_environment else e for e in profile.environments]
        out += ["", f"Environments: {visible(', '.join(names))}."]
    out += ["", *_fields(profile, style)]
    operations = list(profile.operations.items())
    out += ["", table(("operation", "backed by"), operations, style).rstrip()]
    if profile.dashboard.source:
        where = f"Under `mode: assisted` a person works on {profile.dashboard.where}"
        out += ["", *style.wrapped(visible(f"{where} (source: {profile.dashboard.source})."))]
    if profile.facts:
        out += ["", style.paint("RULES", "bold")]
        for fact in profile.facts:
            out += style.wrapped(visible(f"- {fact.rule}"), "", "  ")
            source = style.wrapped(visible(f"source: {fact.source}"), "  ")
            out += [style.paint(line, "dim") for line in source]
    return "\n".join(out) + "\n"


def _fields(profile: Profile, style: Style) -> list[str]:
    in_place = profile.fields & profile.mutable
    # A span is written as a moment, so it changes in place where the moment does.
    fixed = profile.fields - in_place - ({"expires_in"} if "expires_at" in in_place else set())
    windows = ", ".join(format_duration(window) for window in profile.expiry.windows)
    expiry = "any" if profile.expiry.settable and not windows else windows or "none can be set"
    missing = [
        text
        for known, text in (
            (profile.lists, "it lists no keys, so drift cannot be seen"),
            (profile.marks, "keys carry no ownership label"),
            (profile.proves, "a new key cannot be tried out"),
            (profile.shows_last_used, "it does not show when a key was last used"),
        )
        if not known
    ]
    sentences = [
        f"Changed in place: {', '.join(sorted(in_place)) or 'nothing'}.",
        f"A new key is needed for: {', '.join(sorted(fixed)) or 'nothing'}.",
        f"Expiry: {expiry}.",
        *([f"Missing: {'; '.join(missing)}."] if missing else []),
    ]
    return [line for sentence in sentences for line in style.wrapped(sentence)]
