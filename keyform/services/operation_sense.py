"""Whether each call that a profile describes can be made and its answer be understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keyform.services.paging import CURSOR, OFFSET, PAGE
from keyform.services.paths import BadPath, compile_path
from keyform.services.speech import DESCRIPTION, KEY_VALUES, METADATA, NAME, TAGS
from keyform.services.templates import placeholders

Problem = tuple[tuple[str | int, ...], str, str]

_PAGED = frozenset(("limit", "cursor", "page", "offset"))
_OF_A_KEY = KEY_VALUES | {"id"}
_KNOWN: Mapping[str, frozenset[str]] = {
    "list": _PAGED,
    "get_origins": _PAGED,
    "create": KEY_VALUES,
    "read": frozenset(("id",)),
    "update": _OF_A_KEY | {"operations", "item", "item_value"},
    "revoke": frozenset(("id",)),
    "prove": _OF_A_KEY | {"secret", "origin"},
    "set_origins": frozenset(("project", "origins", "origin", "origin_id")),
    "own_key": frozenset(),
    "reroll": _OF_A_KEY | {"overlap.ms", "overlap.seconds", "overlap.hours"},
}
_REQUESTS = ("path", "query", "headers", "body", "fields", "calls", "add", "remove")
_PATHS = ("items", "key", "id", "parent", "secret")
_SENT_AS = {
    "expires_in": ("expires_in", "expires_at", "expiry_window"),
    "expires_at": ("expires_at", "expires_in", "expiry_window"),
    "scopes": ("scopes", "scopes.text", "scopes.csv"),
    "rate_limit": ("rate_limit", "rate_limit.limit"),
    "credits": ("credits", "credits.remaining"),
}
_SAYS = {CURSOR: "cursor", PAGE: "page", OFFSET: "offset"}


def operation_problems(tree: Mapping[str, Any], documented: list[str]) -> Iterator[Problem]:
    """What is wrong with the documented operations of a profile."""
    options = {f"options.{option}" for option in tree.get("options", {})}
    groups = {f"scopes.{group}" for group in tree.get("scope_groups", {})}
    by_project = "list" in documented and lists_by_project(tree)
    if by_project:
        yield from _parents(tree, _PAGED | options)
    for name in documented:
        operation = tree["operations"][name]
        where = ("operations", name)
        known = _KNOWN[name] | options | (groups if "scopes" in _KNOWN[name] else set())
        if by_project and name in ("list", "read", "revoke"):
            known |= {"project"}
        yield from _calls(where, name, operation, known)
        for word in _PATHS:
            places = operation.get(word)
            for place in [places] if isinstance(places, str) else places or ():
                yield from _path((*where, word), place)
        yield from _conditions(where, operation)
        if name in ("list", "get_origins"):
            yield from _paging(where, operation)
    if "create" in documented:
        yield from _create(tree, tree["operations"]["create"])
    if "revoke" in documented and "id" not in set(placeholders(tree["operations"]["revoke"])):
        yield ("operations", "revoke"), "nothing says which key to revoke", "Put `{id}` in its path or body."
    if "revoke" in documented:
        for n, entry in enumerate(tree["operations"]["revoke"].get("accept", ())):
            if str(entry) in ("200", "404", "410"):
                yield (
                    ("operations", "revoke", "accept", n), f"a wrong address answers {entry} too",
                    f"Name the service's own code (`{entry} ?*` for any one), or use `masked`.",
                )  # fmt: skip
    yield from _told_failures(tree, documented)
    if "prove" in documented:
        yield from _prove(tree["operations"]["prove"])
    yield from _origins(tree, documented)
    update = tree["operations"].get("update", {})
    if update.get("send") == "merged" and "read" not in tree["operations"]:
        yield (("operations", "update", "send"), "the key has to be read first, and there is no `read`",
               "Add the operation `read`.")  # fmt: skip


def lists_by_project(tree: Mapping[str, Any]) -> bool:
    """Whether keys are listed project by project."""
    return "parents" in tree["operations"].get("list", {})


def _parents(tree: Mapping[str, Any], known: frozenset[str]) -> Iterator[Problem]:
    """What is wrong where keys are listed project by project, so that each is in one."""
    operations = tree["operations"]
    where = ("operations", "list", "parents")
    parents = operations["list"]["parents"]
    yield from _calls(where, "parents", parents, known)
    yield from _conditions(where, parents)
    yield from _paging(where, parents)
    if "items" in parents:
        yield from _path((*where, "items"), parents["items"])
    if "project" not in {name for part in _REQUESTS for name in placeholders(operations["list"].get(part))}:
        yield (("operations", "list"), "keys are listed by project, and nothing says which project",
               "Put `{project}` in its path, query or body.")  # fmt: skip
    for word in ("fields", "shown"):
        if "project" not in tree.get(word, ()):
            yield (word,), "keys are listed by project, so that each has one", f"Add `project` to `{word}`."
    if "project" in tree.get("key", {}):
        yield (("key", "project"), "the project of a key is the one that it is listed in", "Remove it.")
    kinds = tree.get("kinds", {})
    if not kinds:
        yield (where, "keys are listed by project, and nothing demands that a key has one",
               "Declare a kind with `project: required`, and make it the `default_kind`.")  # fmt: skip
    for kind, rules in kinds.items():
        if rules.get("project") != "required":
            yield (("kinds", kind), "keys are listed by project, so that each has one",
                   "Give it `project: required`.")  # fmt: skip
    for name in ("prove", "own_key"):
        if "id" in operations.get(name, {}) and "parent" not in operations[name]:
            yield (("operations", name), "keys are listed by project, and nothing tells that of this id",
                   "Add `parent`, the place of the project in the answer.")  # fmt: skip


def _calls(
    where: tuple[str | int, ...], name: str, operation: Mapping[str, Any], known: frozenset[str] | set[str]
) -> Iterator[Problem]:
    if "path" not in operation and "add" not in operation and not _only_calls(operation):
        yield where, "a documented operation needs a `path`", "Write it like /v1/keys/{id}."
    for part in _REQUESTS:
        for placeholder in placeholders(operation.get(part)):
            if placeholder not in known:
                hint = "Declare it under `options`." if placeholder.startswith("options.") else (
                    f"{name} takes: {', '.join(sorted(known))}." if known else f"{name} takes none."
                )  # fmt: skip
                yield (*where, part), f"`{{{placeholder}}}` has no value here", hint


def _only_calls(operation: Mapping[str, Any]) -> bool:
    return "calls" in operation and not operation.get("fields")


def _path(where: tuple[str | int, ...], text: str) -> Iterator[Problem]:
    try:
        compile_path(text)
    except BadPath as problem:
        yield where, str(problem), "docs/profiles.md shows how paths are written."


def _conditions(where: tuple[str | int, ...], operation: Mapping[str, Any]) -> Iterator[Problem]:
    for word in ("expect", "refused_if", "where"):
        for path in operation.get(word, {}):
            yield from _path((*where, word, path), path)


def _told_failures(tree: Mapping[str, Any], documented: list[str]) -> Iterator[Problem]:
    """What is wrong where errors are told in answers with a status of success."""
    errors = tree.get("errors", {})
    for word in ("code", "message"):
        for n, path in enumerate(errors.get(word, ())):
            yield from _path(("errors", word, n), path)
    for path in errors.get("failed_if", {}):
        yield from _path(("errors", "failed_if", path), path)
    if "failed_if" in errors:
        if "code" not in errors and "message" not in errors:
            yield (("errors", "failed_if"), "nothing says where such an answer tells what went wrong",
                   "Add `code`, `message` or both.")  # fmt: skip
        return
    for name in documented:
        for word in ("accept", "masked"):
            for n, entry in enumerate(tree["operations"][name].get(word, ())):
                if str(entry).startswith("2"):
                    yield (("operations", name, word, n), f"an answer {entry} is no refusal",
                           "Say in `errors.failed_if` by what such an answer tells of an error.")  # fmt: skip


def _paging(where: tuple[str | int, ...], operation: Mapping[str, Any]) -> Iterator[Problem]:
    paging = operation.get("paging", {})
    needed = _SAYS.get(paging.get("by", ""))
    if needed and needed not in set(placeholders(operation)):
        yield ((*where, "paging"), f"pages are named by their {needed}, which the call does not send",
               f"Put `{{{needed}}}` in the query or the body.")  # fmt: skip
    if paging.get("by") == CURSOR and "next" not in paging:
        yield (*where, "paging"), "nothing says where the cursor of the next page stands", "Add `next`."
    for word in ("next", "more", "total", "pages"):
        if word in paging:
            yield from _path((*where, "paging", word), paging[word])


def _create(tree: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Problem]:
    where = ("operations", "create")
    if "secret" not in operation:
        yield where, "nothing says where the secret of a new key stands", "Add `secret` with its place."
    if "key" not in operation and "id" not in operation:
        yield (where, "nothing says where the id of a new key stands",
               "Add `key`, the place of the whole key, or `id`.")  # fmt: skip
    if "key" in operation and "id" not in {**tree.get("key", {}), **operation.get("key_fields", {})}:
        yield ("key",), "nothing says where the id of a key stands", "Add `id` to `key`."
    sent = set(placeholders(operation))
    for n, field in enumerate(tree["fields"]):
        if field == "kind" and tree.get("one_per_kind") == "together":
            continue
        if not sent & set(_SENT_AS.get(field, (field,))):
            yield (("fields", n), f"keys have `{field}`, and `create` does not send it",
                   f"Put `{{{_SENT_AS.get(field, (field,))[0]}}}` in its path, query or body.")  # fmt: skip
    marker = tree.get("marker")
    place = marker["in"] if isinstance(marker, dict) else marker
    if place is not None and not sent & {place, "label"}:
        yield (("marker",), f"keyform's label travels in the {place}, and `create` does not send it",
               f"Put `{{{place}}}` in its body.")  # fmt: skip
    if (
        place in (METADATA, TAGS, NAME, DESCRIPTION)
        and "list" in tree["operations"]
        and place not in tree.get("key", {})
        and tree["operations"]["list"]["backing"] == "documented"
    ):
        yield (("marker",), f"keyform's label travels in the {place}, which `key` does not place",
               f"Add `{place}` to `key`.")  # fmt: skip


def _prove(operation: Mapping[str, Any]) -> Iterator[Problem]:
    for part in ("path", "query"):
        if "secret" in set(placeholders(operation.get(part))):
            yield (("operations", "prove", part), "an address ends up in logs, and `{secret}` with it",
                   "Send it in a header (`auth: key`) or in the body.")  # fmt: skip
    shown_by = operation.get("auth", "key")
    if shown_by != "key" and "secret" not in set(placeholders(operation)):
        yield (("operations", "prove"), "nothing shows the new key to the service",
               "Use `auth: key`, or put `{secret}` in the body.")  # fmt: skip


def _origins(tree: Mapping[str, Any], documented: list[str]) -> Iterator[Problem]:
    if "get_origins" in documented:
        operation, where = tree["operations"]["get_origins"], ("operations", "get_origins")
        if "project" not in operation and not {"only", "origin"} <= operation.keys():
            yield (where, "nothing says where projects and their origins stand",
                   "Add `project` with `id` and `allowed_origins`, or `only` and `origin`.")  # fmt: skip
    if "set_origins" in documented:
        operation, where = tree["operations"]["set_origins"], ("operations", "set_origins")
        if ("add" in operation) != ("remove" in operation):
            yield where, "origins are added and removed by a call each", "Add the other one."
        if "get_origins" not in tree["operations"]:
            yield where, "origins can be set and not be read", "Add the operation `get_origins`."
