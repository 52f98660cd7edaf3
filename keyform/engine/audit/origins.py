"""Allowed origins that let in more than the pages that need the key."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import HTTP_ORIGIN, LOCALHOST_ORIGIN, WILDCARD_ORIGIN, Rule
from keyform.engine.audit.surroundings import is_live
from keyform.engine.sight import Sight
from keyform.model import DesiredProject, SourceRef
from keyform.profile import Profile

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def of_key(key: ManagedKey) -> Iterator[Finding]:
    """Origins on a key, declared and live."""
    told: set[str] = set()
    for spec, where in key.specs():
        for index, origin in enumerate(spec.allowed_origins):
            if origin in told:
                continue
            told.add(origin)
            for rule, message in _faults(
                origin, tests_only=_is_for_tests(spec.environment, key.view.profile)
            ):
                yield key.found(rule, message + where, "allowed_origins", index, about=origin)


def of_projects(sight: Sight, keys: tuple[ManagedKey, ...]) -> Iterator[Finding]:
    """Origins on declared projects, declared and live."""
    tests_of: dict[tuple[str, str | None], list[bool]] = {}
    for key in keys:
        if key.want is not None:
            for_tests = _is_for_tests(key.want.spec.environment, key.view.profile)
            tests_of.setdefault((key.want.service, key.want.spec.project), []).append(for_tests)
    for project in sight.desired.projects:
        used_by = tests_of.get((project.service, project.id))
        tests_only = used_by is not None and all(used_by)
        view = sight.services.get(project.service)
        live = view.projects.get(project.id) if view is not None else None
        shown = live.allowed_origins if live is not None else ()
        for origin in dict.fromkeys((*project.allowed_origins, *shown)):
            where = "" if origin in project.allowed_origins else f", as {project.service} shows it"
            for rule, message in _faults(origin, tests_only=tests_only):
                yield _about(project, rule, message + where, origin)


def _about(project: DesiredProject, rule: Rule, message: str, origin: str) -> Finding:
    source = project.source and SourceRef(project.source.file, (*project.source.path, "allowed_origins"))
    return Finding(
        rule, message, rule.severity, project.address, project.service, None, about=origin, source=source
    )


def _is_for_tests(environment: str | None, profile: Profile) -> bool:
    """Only an environment that is known, and is not live: who has none may be anything."""
    return environment is not None and not is_live(environment, profile)


def _faults(origin: str, *, tests_only: bool) -> Iterator[tuple[Rule, str]]:
    try:
        parts = urlsplit(origin)
        host = (parts.hostname or "").lower()
    except ValueError:
        return
    if "*" in origin:
        yield WILDCARD_ORIGIN, f"its allowed origin `{origin}` covers hosts that nobody has named"
    elif host in _LOCAL or host.endswith(".localhost"):
        if not tests_only:
            yield LOCALHOST_ORIGIN, f"`{origin}` is among its allowed origins"
    elif parts.scheme.lower() == "http":
        yield HTTP_ORIGIN, f"its allowed origin `{origin}` is not encrypted"
