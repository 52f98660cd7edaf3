"""Profiles from data files: one file per service type, in ``profiles/`` or named by the user."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyform.model import parse_instant
from keyform.profile import (
    CONTRACT,
    FORBIDDEN,
    OPTIONAL,
    TEXT,
    ExpiryRule,
    Fact,
    Kind,
    Option,
    PowerRule,
    Profile,
    TextRule,
)
from keyform.services.dashboards import dashboard_of
from keyform.services.templates import placeholders

_BUILT_IN = Path(__file__).parent / "profiles"
_SUFFIXES = (".yaml", ".yml", ".json")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_REST = (
    "auth", "key_auth", "headers", "times", "names", "write", "scope_groups", "marker", "key", "errors",
    "rate_limit_headers", "operations",
)  # fmt: skip


def known_types() -> tuple[str, ...]:
    """The names of the built-in service types, sorted."""
    return tuple(sorted(file.stem for file in _BUILT_IN.glob("*.yaml")))


def load_profile(type_text: str, folder: Path) -> Profile | None:
    """The profile that ``type:`` names: a built-in type, or a file (``./acme.yaml``, relative to ``folder``).

    None when there is no such built-in type. Raises ``ConfigError`` for a file that cannot be read or
    that is no profile; everything wrong with it is told at once.
    """
    if type_text.endswith(_SUFFIXES) or "/" in type_text:
        return profile_in(type_text, folder)
    return _built_in(type_text) if type_text in known_types() else None


def profile_in(file: str, folder: Path) -> Profile:
    """The profile that a file holds, relative to ``folder``. Raises as :func:`load_profile`."""
    from keyform.services.check import read_profile

    types = ", ".join(known_types())
    mend = f"A service's type is the path of a profile, relative to the configuration, or one of: {types}"
    return profile_of(file, read_profile(folder / file, file, mend))


@functools.cache
def _built_in(name: str) -> Profile:
    # Built-in files are held against the schema by the tests, not on every run.
    return profile_of(name, parse_built_in(_BUILT_IN / f"{name}.yaml"))


def parse_built_in(file: Path) -> Any:
    """A data file of keyform's own as plain values."""
    from keyform.documents.parse import parse
    from keyform.documents.problems import Problems

    problems = Problems()
    tree = parse(file.read_text("utf-8"), file.name, problems, number_names=True)
    assert not problems.any_error, list(problems.found)  # noqa: S101  (the tests read them all)
    return tree


def profile_of(name: str, tree: Mapping[str, Any]) -> Profile:
    """The profile that a parsed file describes. The tree has passed the schema."""
    origins = tree.get("origins", {})
    expiry = tree.get("expiry", {})
    last_used = tree.get("last_used", {})
    reroll = tree["operations"].get("reroll", {})
    operations = {operation: how["backing"] for operation, how in tree["operations"].items()}
    return Profile(
        type=name,
        title=tree["title"],
        description=tree.get("description", ""),
        kinds={kind: _kind(kind, rules) for kind, rules in tree.get("kinds", {}).items()},
        default_kind=tree.get("default_kind"),
        environments=tuple(tree.get("environments", ())),
        default_environment=tree.get("default_environment"),
        scopes=tree.get("scopes"),
        fields=frozenset(tree["fields"]),
        mutable=frozenset(tree.get("mutable", ())),
        shown=frozenset(tree.get("shown", ())),
        origins_on=frozenset(origins.get("allowed_on", ())),
        wildcard_origins=origins.get("wildcard", False),
        http_origins=origins.get("http", "localhost"),
        expiry=ExpiryRule(
            expiry.get("settable", True),
            tuple(_span(window) for window in expiry.get("windows", ())),
            latest=parse_instant(expiry["latest"]) if "latest" in expiry else None,
            rounding=_span(expiry.get("rounding", "0s")),
        ),
        power=_power(tree.get("privilege", {})),
        limits=tree.get("limits", {}),
        texts={what: TextRule(**rule) for what, rule in tree.get("texts", {}).items()},
        lists="list" in operations,
        marks="marker" in tree,
        idempotent=tree.get("idempotent", _repeats_safely(tree)),
        proves="prove" in operations,
        list_lag=_span(tree.get("list_lag", "0s")),
        last_used_lag=_span(last_used.get("lag", "0s")),
        shows_last_used=last_used.get("shown", False),
        tells_expired=_tells_expired(tree.get("key")),
        revocation_lag=_span(tree.get("revocation_lag", "0s")),
        key_format=tree.get("key_format", ""),
        operations=operations,
        one_per_kind="one_per_kind" in tree,
        made_together=tree.get("one_per_kind") == "together",
        overlap_step=_span(reroll.get("step", "0s")),
        reroll_deadline=_span(reroll["deadline"]) if "deadline" in reroll else None,
        unknowns=tuple(tree.get("unknowns", ())),
        options={option: _option(rules or {}) for option, rules in tree.get("options", {}).items()},
        base_url=tree.get("base_url"),
        domains=_domains(tree),
        implementation=tree.get("implementation"),
        rest={part: tree[part] for part in _REST if part in tree},
        facts=tuple(map(_fact, tree.get("facts", ()))),
        dashboard=dashboard_of(tree),
    )


def _kind(name: str, rules: Mapping[str, Any]) -> Kind:
    scopes = rules.get("scopes")
    return Kind(
        name=name,
        prefix=rules.get("prefix", ""),
        description=rules.get("description", ""),
        scopes=None if scopes is None else tuple(sorted(scopes)),
        default_scopes=tuple(sorted(rules.get("default_scopes", ()))),
        origins=rules.get("origins", FORBIDDEN),
        project=rules.get("project", OPTIONAL),
        key_format=rules.get("key_format", ""),
        gate=rules.get("gate", ""),
        hint=rules.get("hint", ""),
        hint_words=tuple(rules.get("hint_words", ())),
        unscoped_is_all=rules.get("no_scopes") == "all",
        unbound_is_all=rules.get("no_project") == "all",
        can=tuple(rules["can"]) if "can" in rules else None,
    )


def _power(rules: Mapping[str, Any]) -> PowerRule:
    return PowerRule(
        tuple(rules.get("production", ())),
        rules.get("scope_form", ""),
        rules.get("wildcards", False),
        rules.get("dangerous", ""),
    )


def _fact(fact: Mapping[str, Any]) -> Fact:
    return Fact(fact["rule"], fact["source"], tuple(fact.get("about", ())))


def _option(rules: Mapping[str, Any]) -> Option:
    return Option(
        rules.get("description", ""),
        rules.get("required", False),
        rules.get("default"),
        tuple(rules.get("choices", ())),
        rules.get("type", TEXT),
    )


def _repeats_safely(tree: Mapping[str, Any]) -> bool:
    """Whether creates carry an idempotency key: those of the contract do."""
    create = tree["operations"].get("create", {})
    return create.get("backing") == CONTRACT or "idempotency_key" in placeholders(create)


def _domains(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """The vendor's domains: those named, and the host of its calls."""
    host = urlsplit(tree.get("base_url", "")).hostname
    return tuple(sorted({*tree.get("domains", ()), *([host] if host else [])}))


def _tells_expired(key: Mapping[str, Any] | None) -> bool:
    """Whether the status that a profile reads can be that a key has expired. Without ``key``, the contract
    says how keys are read."""
    status = key.get("status", {}) if key is not None else ""
    return not isinstance(status, dict) or bool({"at", "expired"} & status.keys())


def _span(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
