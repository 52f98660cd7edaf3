"""YAML for keys that a service has and the state does not own: declarations and imports."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from keyform.engine.granted import same_end
from keyform.model import (
    DAILY,
    DISABLED,
    EXPIRED,
    LATEST,
    MONTHLY,
    REVOKED,
    SPEC_FIELDS,
    Credits,
    KeySpec,
    LiveKey,
    LiveProject,
    format_duration,
    instant,
)
from keyform.profile import FORBIDDEN, ON_PROJECT, REQUIRED, Profile
from keyform.report.safe import visible

_LONGEST_NAME = 60

_HEADER = (
    "# Put this into a *.yaml file beside your configuration, look through names and `secret`, and run",
    "# `keyform plan`: it adopts the keys and changes none of them. Their secrets are not known to keyform;",
    "# `secret` says where the first rotation puts a new one.",
)
_PROJECTS = (
    "# The projects of these keys are not declared yet. keyform manages the allowed origins of a declared",
    "# project; below they are as the service has them now.",
)


def generated_yaml(
    service: str,
    profile: Profile,
    keys: Iterable[LiveKey],
    live_projects: Iterable[LiveProject],
    *,
    projects: Mapping[str, str],
    taken: Collection[str],
    lineage: str,
    now: datetime,
) -> str:
    """Declarations of the live ``keys``, and ``imports`` that adopt them.

    ``projects`` maps the ids of declared projects of the service to their names; ``taken`` are names in
    use, ``lineage`` that of this state. Revoked keys are left out, and so are those that carry the label of
    another state, which are counted; keys that no configuration can declare are named in comments.
    """
    names = _Names(taken)
    blocks: list[str] = []
    imports: list[str] = []
    left_out: list[str] = []
    known = dict(projects)
    new_projects: list[str] = []
    origins = {project.id: project.allowed_origins for project in live_projects}
    elsewhere = 0
    for key in keys:
        if key.status == REVOKED:
            continue
        if key.label is not None and not key.label.startswith(f"{lineage}/"):
            elsewhere += 1
            continue
        problem = _undeclarable(key, profile, now)
        if problem:
            left_out.append(f"#   {visible(key.id)} ({visible(key.spec.name)}): {problem}")
            continue
        project = key.spec.project if "project" in profile.fields else None
        if project is not None and project not in known:
            known[project] = names.new(project)
            listed = origins.get(project, ()) if ON_PROJECT in profile.origins_on else None
            new_projects += _project(known[project], service, project, listed)
        name = names.new(key.spec.name or key.spec.kind or "key")
        blocks.append("\n".join(_key(name, service, profile, key, known)))
        imports.append(f"  - {{key: {name}, id: {scalar(key.id)}}}")
    return "\n".join(_document(service, now, new_projects, blocks, imports, left_out, elsewhere)) + "\n"


def _document(
    service: str,
    now: datetime,
    projects: list[str],
    blocks: list[str],
    imports: list[str],
    left_out: list[str],
    elsewhere: int,
) -> Iterator[str]:
    yield f"# Keys that {visible(service)} had on {instant(now)} and that the state does not own."
    if not blocks:
        yield "# There are none to declare."
    else:
        yield from _HEADER
    if elsewhere:
        keys, them = ("1 key carries", "it") if elsewhere == 1 else (f"{elsewhere} keys carry", "them")
        yield f"# Left out: {keys} the label of another keyform state, which manages {them}."
    if projects:
        yield from ("", *_PROJECTS, "projects:", *projects)
    if blocks:
        yield from ("", "keys:", "\n\n".join(blocks), "", "imports:", *imports)
    if left_out:
        yield from ("", "# Left out, because no configuration can declare them as they are:", *left_out)


def _project(name: str, service: str, project: str, origins: tuple[str, ...] | None) -> list[str]:
    out = [f"  {name}:", f"    service: {scalar(service)}"]
    if project != name:
        out.append(f"    id: {scalar(project)}")
    return out if origins is None else [*out, f"    allowed_origins: {_flow(origins)}"]


def _key(
    name: str, service: str, profile: Profile, key: LiveKey, projects: Mapping[str, str]
) -> Iterator[str]:
    spec, ends = _declared(key.spec, profile), key.spec.expires_at
    yield f"  {name}:"
    yield f"    service: {scalar(service)}"
    if spec.kind is not None and profile.kinds and "kind" in profile.fields:
        yield f"    kind: {scalar(spec.kind)}"
    if spec.environment is not None:
        yield f"    environment: {scalar(spec.environment)}"
    if spec.project is not None:
        yield f"    project: {projects[spec.project]}"
    if spec.name:
        yield f"    name: {scalar(spec.name)}"
    if spec.description:
        yield f"    description: {scalar(spec.description)}"
    if spec.scopes:
        yield f"    scopes: {_flow(spec.scopes)}"
    if spec.allowed_origins:
        yield f"    allowed_origins: {_flow(spec.allowed_origins)}"
    if ends is not None and not _SPANS & profile.fields:
        yield f"    # The service says that it expires {instant(ends)}; that cannot be declared."
    elif ends is not None and "expires_at" in profile.fields:
        yield f"    expires_at: {scalar(instant(ends))}"
    elif ends is not None:
        yield f"    expires_in: {_span(key, profile)}"
    elif "expires_in" in profile.fields and profile.expiry.settable:
        yield "    expires_in: never"
    if spec.rate_limit is not None:
        yield f'    rate_limit: {{limit: {spec.rate_limit.limit}, per: "{spec.rate_limit.per_seconds}s"}}'
    if spec.credits is not None:
        yield f"    credits: {_credits(spec.credits)}"
    if spec.metadata:
        entries = ", ".join(f"{scalar(entry)}: {scalar(text)}" for entry, text in spec.metadata)
        yield f"    metadata: {{{entries}}}"
    yield f"    secret: {scalar(f'{service}/{name}')}"


def _credits(credits: Credits) -> str:
    refill = credits.refill
    if refill is None:
        return f"{{remaining: {credits.remaining}}}"
    day = f", refill_day: {refill.refill_day}" if refill.refill_day and refill.interval == MONTHLY else ""
    again = f"{{amount: {refill.amount}, interval: {refill.interval}{day}}}"
    return f"{{remaining: {credits.remaining}, refill: {again}}}"


_SPANS = frozenset({"expires_in", "expires_at"})


def _declared(spec: KeySpec, profile: Profile) -> KeySpec:
    """What of a live key can be declared: what its service shows besides is not keyform's to say."""
    known = profile.fields & profile.shown | {"expires_at"}
    kept = {name: getattr(spec, name) for name in known & frozenset(SPEC_FIELDS)}
    return KeySpec(**{"kind": profile.default_kind, **kept})


def _span(key: LiveKey, profile: Profile) -> str | None:
    """How long the key lives, as it can be declared; None where it cannot."""
    if key.spec.expires_at is None or key.created_at is None:
        return None
    lives = key.spec.expires_at - key.created_at
    whole = timedelta(seconds=round(lives.total_seconds()))
    spans = profile.expiry.windows or (*map(timedelta, (whole.days, whole.days + 1)), whole)
    near = (span for span in spans if span and same_end(key.spec.expires_at, key.created_at + span, profile))
    span = next(near, None)
    return format_duration(span) if span is not None else None


def _undeclarable(key: LiveKey, profile: Profile, now: datetime) -> str:
    spec = _declared(key.spec, profile)
    if key.status == EXPIRED or (spec.expires_at is not None and spec.expires_at <= now):
        return "it has expired"
    if key.status == DISABLED:
        return "it is disabled"
    if spec.expires_at is not None and spec.expires_at >= LATEST:
        return "it expires after the times that a configuration can hold"
    spans = _SPANS & profile.fields
    if spec.expires_at is not None and spans == {"expires_in"} and _span(key, profile) is None:
        return f"it expires {instant(spec.expires_at)}, which is none of the spans that can be declared"
    if profile.environments and spec.environment not in (None, *profile.environments):
        return f"environment {visible(str(spec.environment))} is unknown"
    if (longest := profile.limits.get("name")) is not None and len(spec.name) > longest:
        return f"its name is longer than the {longest} characters that can be declared"
    if profile.kinds and spec.kind not in profile.kinds:
        return f"kind {visible(str(spec.kind))} is unknown"
    refill = spec.credits.refill if spec.credits else None
    if refill is not None and refill.interval not in (DAILY, MONTHLY):
        return f"its credits are refilled {visible(refill.interval)}"
    words = [key.id, spec.project or "", spec.environment or "", spec.name]
    words += [*spec.scopes, *spec.allowed_origins]
    words += [name for name, _ in spec.metadata]
    prose = [spec.description, *(text for _, text in spec.metadata)]
    words += [text.replace("\n", "").replace("\t", "") for text in prose]
    if any(map(_has_control, words)):
        return "it holds control characters"
    kind = profile.kinds.get(spec.kind or "")
    if kind is not None and kind.project == REQUIRED and spec.project is None:
        return f"{visible(profile.keys_of(kind))} need a project, and it has none"
    if kind is not None and kind.project == FORBIDDEN and spec.project is not None:
        return f"{visible(profile.keys_of(kind))} take no project, and it has {visible(spec.project)}"
    allowed = kind.scopes if kind and kind.scopes is not None else profile.scopes
    strange = [scope for scope in spec.scopes if allowed is not None and scope not in allowed]
    if strange:
        return f"scope {visible(strange[0])} is unknown"
    return ""


def _has_control(text: str) -> bool:
    """What the configuration refuses in every text."""
    return any(
        (code := ord(character)) < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000 for character in text
    )


class _Names:
    """Names for keys and projects made from names at the service: valid, and each only once."""

    def __init__(self, taken: Collection[str]) -> None:
        self._taken = set(taken)

    def new(self, text: str) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "key"
        if not name[0].isalpha() or name in _YAML_WORDS:
            name = f"key-{name}"
        count, chosen = 1, name
        while chosen in self._taken:
            count += 1
            chosen = f"{name}-{count}"
        self._taken.add(chosen)
        return chosen


# Unquoted, some YAML programs read these as something other than text.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def scalar(text: str) -> str:
    """A YAML double-quoted scalar that reads back as ``text``, with no template and no odd character live."""
    out = []
    for character in text.replace("${", "$${"):
        code = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif visible(character) == character:
            out.append(character)
        elif code <= 0xFF:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def _flow(items: Iterable[str]) -> str:
    return "[" + ", ".join(map(scalar, items)) + "]"
