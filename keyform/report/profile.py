"""What keyform knows of service types, as text."""

from __future__ import annotations

from collections.abc import Sequence

from keyform.contract import limits_of
from keyform.model import format_duration, instant
from keyform.profile import ASSISTED, CONTRACT, DOCUMENTED, Profile
from keyform.report.safe import visible
from keyform.report.style import Style
from keyform.report.table import table

_COLUMNS = ("list", "create", "update", "revoke", "prove", "set_origins")
_SHORT = {DOCUMENTED: "D", CONTRACT: "C", ASSISTED: "A"}


def profiles_text(profiles: Sequence[Profile], style: Style) -> str:
    """One line per type, with how each of its operations is backed."""
    lines = [
        (
            profile.type,
            *(_SHORT.get(_backing(profile, name), "-") for name in _COLUMNS),
            ", ".join(profile.kinds) or "one kind",
        )
        for profile in profiles
    ]
    header = ("type", *(name.replace("set_", "") for name in _COLUMNS), "kinds")
    legend = style.wrapped(
        "D: a call that the vendor documents. C: keyform's own contract, at an `endpoint` that speaks it, "
        "and never sent to the vendor. A: by hand. -: nothing. With `mode: assisted` all of it goes by "
        "hand, where a type takes a mode."
    )
    return table(header, lines, style) + "\n" + "\n".join(legend) + "\n"


def _backing(profile: Profile, name: str) -> str:
    """How an operation is backed; or nothing. Projects without origins have none to set."""
    return "" if name == "set_origins" and not profile.origins_on else profile.operations.get(name, "")


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
                kind.project if "project" in profile.fields else "none",
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
    out += _powers(profile, style)
    out += ["", *_fields(profile, style)]
    operations = [(name, how, _source(profile, name, how)) for name, how in profile.operations.items()]
    out += ["", table(("operation", "backed by", "source"), operations, style).rstrip()]
    if profile.options:
        options = [
            (name, "needed" if rule.required else "", ", ".join(rule.choices), rule.description)
            for name, rule in profile.options.items()
        ]
        out += ["", table(("option", "", "choices", "what for"), options, style).rstrip()]
    if profile.dashboard.source:
        where = f"Under `mode: assisted` a person works on {profile.dashboard.where}"
        out += ["", *style.wrapped(visible(f"{where} (source: {profile.dashboard.source})."))]
    if profile.facts:
        out += ["", style.paint("RULES", "bold")]
        for fact in profile.facts:
            out += style.wrapped(visible(f"- {fact.rule}"), "", "  ")
            source = style.wrapped(visible(f"source: {fact.source}"), "  ")
            out += [style.paint(line, "dim") for line in source]
    if profile.unknowns:
        out += ["", style.paint("UNKNOWN: NO PUBLIC STATEMENT WAS FOUND", "bold")]
        for unknown in profile.unknowns:
            out += style.wrapped(visible(f"- {unknown}"), "", "  ")
    return "\n".join(out) + "\n"


_COPIED = "A key that works and is as declared is rotated by `reroll`; any other by a create."


def missing_text(profile: Profile) -> str:
    """What keyform cannot do with keys of a type, and what is lost by it; empty where nothing is."""
    missing = [
        text
        for known, text in (
            (profile.lists, "it lists no keys, so drift cannot be seen"),
            (
                profile.marks,
                "keys carry no ownership label, so after a crash a new key may have to be looked for by hand",
            ),
            (profile.revokes, "no call revokes a key"),
            (profile.proves, "a new key cannot be tried out"),
            (profile.shows_last_used, "it does not show when a key was last used"),
        )
        if not known
    ]
    return f"Missing: {'; '.join(missing)}." if missing else ""


def _fields(profile: Profile, style: Style) -> list[str]:
    in_place = profile.fields & profile.mutable
    # A span is written as a moment, so it changes in place where the moment does.
    fixed = profile.fields - in_place - ({"expires_in"} if "expires_at" in in_place else set())
    windows = ", ".join(format_duration(window) for window in profile.expiry.windows)
    expiry = "any" if profile.expiry.settable and not windows else windows or "none can be set"
    if profile.expiry.latest is not None:
        expiry += f", until {instant(profile.expiry.latest)}"
    sentences = [
        f"Changed in place: {', '.join(sorted(in_place)) or 'nothing'}.",
        f"A new key is needed for: {', '.join(sorted(fixed)) or 'nothing'}.",
        f"Expiry: {expiry}.",
        *(["Exactly one key per kind, replaced by `reroll`."] if profile.one_per_kind else []),
        *([_COPIED] if profile.reroll_deadline and "reroll" in profile.operations else []),
        *filter(None, [missing_text(profile)]),
        *_limits(profile),
    ]
    return [line for sentence in sentences for line in style.wrapped(sentence)]


def _powers(profile: Profile, style: Style) -> list[str]:
    """What lets a key do more, as plans tell it."""
    kinds = [
        (
            kind.name,
            "not said" if kind.can is None else ", ".join(kind.can) or "what its scopes allow",
            "works in every project" if kind.unbound_is_all else "",
        )
        for kind in profile.kinds.values()
    ]
    power = profile.power
    sentences = [
        sentence
        for known, sentence in (
            (power.production, f"What is real is reached in: {', '.join(power.production)}."),
            (power.wildcards, "A `*` in a scope stands for any text."),
            (power.dangerous, f"To be looked at twice: what matches `{power.dangerous}`."),
        )
        if known
    ]
    said = any(kind.can is not None or kind.unbound_is_all for kind in profile.kinds.values())
    header = ("kind", "what it can do", "without a project")
    out = ["", table(header, kinds, style).rstrip()] if said else []
    lines = [line for sentence in sentences for line in style.wrapped(visible(sentence))]
    return [*out, *(["", *lines] if lines else [])]


def _limits(profile: Profile) -> list[str]:
    """Sizes, plans and delays."""
    sizes = [f"{name.replace('_', ' ')} {most:,}" for name, most in sorted(limits_of(profile).items())]
    longest = [
        f"{what.removeprefix('options.').replace('_', ' ')} {rule.longest:,}"
        for what, rule in sorted(profile.texts.items())
        if rule.longest is not None
    ]
    plans = [
        f"{profile.keys_of(kind)} need the {kind.gate} plan" for kind in profile.kinds.values() if kind.gate
    ]
    delays = [
        f"{what} {format_duration(span)}"
        for what, span in (
            ("a new key may be missing from the listing for", profile.list_lag),
            ("a revoked key may go on working for", profile.revocation_lag),
            ("the last use may be told late by", profile.last_used_lag),
        )
        if span
    ]
    sentences = [
        f"{name}: {'; '.join(texts)}."
        for name, texts in (("At most", sizes), ("Longest", longest), ("Plans", plans), ("Delays", delays))
        if texts
    ]
    return [*sentences, *(f"Hint: {kind.hint}" for kind in profile.kinds.values() if kind.hint)]


def _source(profile: Profile, name: str, how: str) -> str:
    if how == DOCUMENTED:
        return str(profile.rest.get("operations", {}).get(name, {}).get("source", ""))
    return "keyform's key-service contract" if how == CONTRACT else "by hand, in the dashboard"
