"""Whether a profile makes sense beyond its form: rules that hold between its parts.

Each finding is a path in the file, what is wrong there, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from keyform import patterns
from keyform.model import DAILY, MONTHLY, SPEC_FIELDS, STATUSES, parse_instant
from keyform.options import is_of_type
from keyform.profile import DOCUMENTED, FIELDS_OF_A_SERVICE, TEXT
from keyform.services.dashboards import dashboard_problems
from keyform.services.operation_sense import lists_by_project, operation_problems
from keyform.services.paths import BadPath, compile_path
from keyform.services.plugged import PLUG_INS, is_installed
from keyform.services.templates import placeholders
from keyform.services.wire import wire_problems

Problem = tuple[tuple[str | int, ...], str, str]

_PATH_WORDS = (
    "at", "limit", "per_seconds", "per_ms", "remaining", "refill", "amount", "interval", "refill_day",
)  # fmt: skip
_PARTS = re.compile(r"\{(\w+)\}")
_LIMITS = {*SPEC_FIELDS, "metadata_key", "metadata_value"}


def problems_of(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with a profile that has passed the schema."""
    yield from _rules(tree)
    yield from _kinds(tree)
    yield from _privilege(tree)
    yield from _addresses(tree)
    yield from wire_problems(tree)
    yield from _options(tree)
    documented = [name for name, how in tree["operations"].items() if how["backing"] == DOCUMENTED]
    if documented:
        yield from _key(tree, documented)
        yield from _names(tree)
        yield from operation_problems(tree, documented)
    yield from _ends(tree)
    yield from _copies(tree)
    yield from _updates(tree)
    yield from dashboard_problems(tree)


def _rules(tree: Mapping[str, Any]) -> Iterator[Problem]:
    fields = set(tree["fields"])
    for n, name in enumerate(tree.get("mutable", ())):
        if name not in fields and not (name == "expires_at" and "expires_in" in fields):
            yield (
                ("mutable", n), f"`{name}` changes in place and is no field that keys have",
                "Add it to `fields`, or remove it here.",
            )  # fmt: skip
    for n, name in enumerate(tree.get("shown", ())):
        if name not in fields and not (name == "expires_at" and "expires_in" in fields):
            yield (
                ("shown", n), f"`{name}` is shown and is no field that keys have",
                "Add it to `fields`, or remove it here: what is not declared cannot be compared.",
            )  # fmt: skip
    for what, choices in (("kind", tree.get("kinds", {})), ("environment", tree.get("environments", ()))):
        default = tree.get(f"default_{what}")
        if default is not None and default not in choices:
            yield (f"default_{what}",), f"there is no {what} `{default}`", "Name one that is declared."
        if len(choices) > 1 and what not in fields:
            yield ((f"{what}s",), f"there are {what}s to choose from and keys have no `{what}`",
                   f"Add `{what}` to `fields`.")  # fmt: skip
    groups = {f"scopes.{group}" for group in tree.get("scope_groups", {})}
    options = {f"options.{option}" for option in tree.get("options", {})}
    for part, known in (("limits", _LIMITS | groups), ("texts", {"scope"} | groups | options)):
        for name in tree.get(part, {}):
            if name not in known:
                yield (part, name), f"`{name}` has no length or count", f"It is one of {_listed(known)}."
    for name, rule in tree.get("texts", {}).items():
        if wrong := patterns.fault(rule.get("pattern", "")):
            yield ("texts", name, "pattern"), f"this pattern {wrong}", patterns.SYNTAX
    if "latest" in tree.get("expiry", {}) and not _is_time(tree["expiry"]["latest"]):
        yield ("expiry", "latest"), "this is no time", 'Write it in UTC, like "2100-01-01T00:00:00Z".'
    if "implementation" in tree and not is_installed(tree["implementation"]):
        yield (
            ("implementation",),
            f"`{tree['implementation']}` is not installed",
            f"Install the package that has it in the entry-point group `{PLUG_INS}`, or remove it.",
        )
    if tree.get("key_format") and (wrong := patterns.fault(tree["key_format"])):
        yield ("key_format",), f"this pattern {wrong}", patterns.SYNTAX


def _kinds(tree: Mapping[str, Any]) -> Iterator[Problem]:
    catalogue = tree.get("scopes")
    prefixes: dict[str, str] = {}
    for kind, rules in tree.get("kinds", {}).items():
        for n, scope in enumerate(rules.get("scopes", ())):
            if catalogue is not None and scope not in catalogue:
                yield ("kinds", kind, "scopes", n), f"there is no scope `{scope}`", "Add it to `scopes`."
        for n, scope in enumerate(rules.get("default_scopes", ())):
            if scope not in rules.get("scopes", [scope]):
                yield (
                    ("kinds", kind, "default_scopes", n), f"{kind} keys cannot carry `{scope}`",
                    "Choose among the scopes of the kind.",
                )  # fmt: skip
        if prefix := rules.get("prefix"):
            other = prefixes.setdefault(prefix, kind)
            if other != kind:
                yield (("kinds", kind, "prefix"), f"{other} keys begin in the same way",
                       "Two kinds with one prefix cannot be told apart.")  # fmt: skip
        if rules.get("key_format") and (wrong := patterns.fault(rules["key_format"])):
            yield ("kinds", kind, "key_format"), f"this pattern {wrong}", patterns.SYNTAX


def _privilege(tree: Mapping[str, Any]) -> Iterator[Problem]:
    rules = tree.get("privilege", {})
    for n, name in enumerate(rules.get("production", ())):
        if name not in tree.get("environments", ()):
            yield (
                ("privilege", "production", n), f"there is no environment `{name}`",
                "Name one that is declared.",
            )  # fmt: skip
    if rules.get("dangerous") and (wrong := patterns.fault(rules["dangerous"])):
        yield ("privilege", "dangerous"), f"this pattern {wrong}", patterns.SYNTAX
    form = rules.get("scope_form", "")
    if form and sorted(_PARTS.findall(form)) != ["resource", "verb"]:
        yield (
            ("privilege", "scope_form"), "a scope is read as a resource and a verb",
            'Write it like "{resource}.{verb}".',
        )  # fmt: skip
    for kind, said in tree.get("kinds", {}).items():
        if said.get("no_project") == "all" and said.get("project") == "required":
            yield (
                ("kinds", kind, "no_project"), f"{kind} keys always belong to a project",
                "Remove it, or do not require one.",
            )  # fmt: skip


def _addresses(tree: Mapping[str, Any]) -> Iterator[Problem]:
    if "base_url" in tree:
        try:
            parts = urlsplit(tree["base_url"])
            sound = (
                parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.username)
            ) and all("!" <= char <= "~" for char in tree["base_url"])
        except ValueError:
            sound = False
        if not sound:
            yield (
                ("base_url",),
                "this is not the address of a service",
                "Write it like https://api.acme.example.",
            )
    auth = tree.get("auth", {})
    ways = [(("auth",), auth)] if "choices" not in auth else [
        (("auth", "choices", name), way) for name, way in auth["choices"].items()
    ]  # fmt: skip
    for path, way in (*ways, (("key_auth",), tree.get("key_auth", {}))):
        if "value" in way and "{credential}" not in way["value"]:
            yield (
                (*path, "value"),
                "the credential stands nowhere in it",
                'Write it like "Bearer {credential}".',
            )
    for option in placeholders(auth.get("login", {})):
        if option.partition(".")[2] not in tree.get("options", {}):
            yield (("auth", "login"), f"`{{{option}}}` is no option of the service",
                   "Declare it under `options`; a login takes nothing else.")  # fmt: skip


def _options(tree: Mapping[str, Any]) -> Iterator[Problem]:
    for name, given in tree.get("options", {}).items():
        rules = given or {}
        kind, where = rules.get("type", TEXT), ("options", name)
        if name in FIELDS_OF_A_SERVICE:
            yield where, f"`{name}` is a field of every service", "Give the option another name."
        if "choices" in rules and kind != TEXT:
            yield (
                (*where, "choices"),
                f"only a text has choices, and this is a {kind}",
                "Remove one of the two.",
            )
        default = rules.get("default")
        if default is not None and not is_of_type(default, kind):
            yield (*where, "default"), f"the default is no {kind}", "Mend it, or the `type`."
        elif default is not None and default not in rules.get("choices", [default]):
            yield (*where, "default"), "the default is none of the choices", "Choose one of them."


def _key(tree: Mapping[str, Any], documented: list[str]) -> Iterator[Problem]:
    mapping = tree.get("key", {})
    reads_keys = {"list", "read"} & set(documented)
    if reads_keys and "id" not in mapping:
        where = ("key",) if mapping else ("operations", sorted(reads_keys)[0])
        yield (where, "nothing says where the id of a key stands",
               "Add `id` to `key`, with its place in the answer.")  # fmt: skip
    if "list" in documented:
        for n, name in enumerate(tree.get("shown", ())):
            told = _marker_place(tree) == name or (name == "project" and lists_by_project(tree))
            if name not in mapping and not told:
                yield (("shown", n), f"`{name}` is shown by the listing and `key` does not say where",
                       f"Add `{name}` to `key`, or remove it here.")  # fmt: skip
    for name, entry in mapping.items():
        words: Mapping[str, Any] = {"at": entry} if isinstance(entry, str) else entry
        yield from _paths(("key", name), words)
        if words.get("by") == "prefix":
            prefixes = words.get("prefixes") or {
                kind: rules.get("prefix", "") for kind, rules in tree.get("kinds", {}).items()
            }
            for missing in [word for word, prefix in prefixes.items() if not prefix]:
                yield (("key", name), f"`{name}` is told by its prefix and `{missing}` has none",
                       f"Give `{missing}` a `prefix`.")  # fmt: skip
            if not prefixes:
                yield ("key", name), "nothing says which prefixes there are", "Add `prefixes`."


def _paths(where: tuple[str | int, ...], words: Mapping[str, Any]) -> Iterator[Problem]:
    for word in _PATH_WORDS:
        if isinstance(words.get(word), str):
            try:
                compile_path(words[word])
            except BadPath as problem:
                yield where, str(problem), "docs/profiles.md shows how paths are written."
    if isinstance(words.get("refill"), dict):
        yield from _paths((*where, "refill"), words["refill"])


def _names(tree: Mapping[str, Any]) -> Iterator[Problem]:
    names = tree.get("names", {})
    known = {
        "kinds": set(tree.get("kinds", {})),
        "environments": set(tree.get("environments", ())),
        "scopes": set(tree["scopes"]) if "scopes" in tree else None,
        "statuses": set(STATUSES),
        "intervals": {DAILY, MONTHLY},
        "windows": {*tree.get("expiry", {}).get("windows", ()), "never"},
    }
    for what, words in names.items():
        allowed = known[what]
        for word in words:
            if allowed is not None and word not in allowed:
                yield (("names", what, word), f"`{word}` is none of the profile's {what}",
                       f"Known: {_listed(allowed)}." if allowed else f"Declare it under `{what}`."
            )  # fmt: skip
    if names.get("windows"):
        for n, window in enumerate(tree.get("expiry", {}).get("windows", ())):
            if window not in names["windows"]:
                yield (("expiry", "windows", n), f"`names.windows` does not say what `{window}` is called",
                       "Add it there.")  # fmt: skip


def _ends(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """How keys end: by `revoke`, or with the successor that `reroll` makes."""
    operations = tree["operations"]
    if "one_per_kind" in tree and not {"list", "reroll"} <= operations.keys():
        yield (("one_per_kind",), "the one key of a kind cannot be seen, or not be replaced",
               "Add the operations `list` and `reroll`.")  # fmt: skip
    elif "one_per_kind" not in tree and "revoke" not in operations:
        yield (("operations",), "nothing says how a key is revoked",
               "Add the operation `revoke`; docs/profiles.md says what it means.")  # fmt: skip


def _copies(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What it takes to use a `reroll` that makes a copy, and to undo what that does to the old key."""
    if "deadline" not in tree["operations"].get("reroll", {}):
        return
    where = ("operations", "reroll", "deadline")
    if "one_per_kind" in tree:
        yield where, "where a kind has exactly one key there is no copy beside it", "Remove it."
        return
    for name in sorted({"list", "update", "revoke"} - tree["operations"].keys()):
        yield (where, f"a copy and the old key are seen to by `{name}`, and there is none",
               f"Add the operation `{name}`.")  # fmt: skip
    mutable = tree.get("mutable", ())
    if _marker_place(tree) not in mutable:
        yield (where, "a copy has the old key's label, and that does not change in place",
               "Let `marker` be in the metadata, name or description, and that in `mutable`.")  # fmt: skip
    if "expires_at" not in mutable or "expires_at" not in tree.get("shown", ()):
        yield (where, "the old key is given an end, and that is not shown, or does not change in place",
               "Add `expires_at` to `mutable` and `shown`.")  # fmt: skip
    if "created_at" not in tree.get("key", {}):
        yield (where, "it takes the time at which a key was made to tell a copy from another",
               "Add `created_at` to `key`.")  # fmt: skip


def _updates(tree: Mapping[str, Any]) -> Iterator[Problem]:
    mutable = tree.get("mutable", [])
    update = tree["operations"].get("update")
    if mutable and update is None:
        yield (
            ("mutable",),
            "fields change in place and there is no operation `update`",
            "Add it, or remove them.",
        )
    if update is None or update["backing"] != DOCUMENTED:
        return
    said = {*update.get("fields", {}), *update.get("calls", {})}
    for n, name in enumerate(mutable):
        if name not in said:
            yield (("mutable", n), f"nothing says how a change of `{name}` is sent",
                   "Add it to `operations.update.fields`, or remove it here.")  # fmt: skip
    for name in sorted(said - set(mutable)):
        mend = f"Add `{name}` to `mutable`, or remove it here."
        if name == "expires_in":
            mend = (
                "Name it `expires_at`, here and in `mutable`: a span changes as the moment that it ends at."
            )
        elif name not in SPEC_FIELDS:  # `tags`: what keyform writes there is its label, which never changes
            mend = f"Remove it here: keyform changes no `{name}` of a key."
        yield (
            ("operations", "update"),
            f"it says how `{name}` is sent, which does not change in place",
            mend,
        )


def _marker_place(tree: Mapping[str, Any]) -> str | None:
    marker = tree.get("marker")
    return marker["in"] if isinstance(marker, dict) else marker


def _is_time(text: str) -> bool:
    try:
        parse_instant(text)
    except ValueError:
        return False
    return True


def _listed(words: Any) -> str:
    return ", ".join(sorted(words))
