"""What may stand in the first lines of a request: its path and its headers (RFC 3986, RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from keyform.documents.sensitive import is_sensitive
from keyform.services.templates import PLACEHOLDER

Problem = tuple[tuple[str | int, ...], str, str]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FRAMING = frozenset((
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
))  # fmt: skip
_CREDENTIALS = frozenset(("authorization", "cookie", "proxy-authorization"))


def wire_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the paths and the headers of a profile that has passed the schema."""
    yield from _headers(("headers",), tree.get("headers", {}))
    auth = tree.get("auth", {})
    ways = [(("auth", "choices", name), way) for name, way in auth.get("choices", {}).items()]
    for where, way in ((("auth",), auth), *ways, (("key_auth",), tree.get("key_auth", {}))):
        if way.get("header", "").lower() in _FRAMING:
            yield _own((*where, "header"), way["header"])
        if wrong := value_fault(PLACEHOLDER.sub("x", way.get("value", ""))):
            yield (*where, "value"), f"the value of a header {wrong}", "Mend it."
    if "login" in auth:
        yield from _call(("auth", "login"), auth["login"])
    for name, operation in tree["operations"].items():
        where = ("operations", name)
        yield from _call(where, operation)
        for part in ("parents", "add", "remove"):
            yield from _call((*where, part), operation.get(part, {}))
        for field, calls in operation.get("calls", {}).items():
            if isinstance(calls, list):
                for n, call in enumerate(calls):
                    yield from _call((*where, "calls", field, n), call)
            else:
                yield from _call((*where, "calls", field), calls)


def value_fault(value: str) -> str:
    """Why a text cannot be sent as the value of a header, as the rest of a sentence; empty when it can."""
    if not value.isascii():
        return "holds letters outside ASCII"
    if not value.isprintable():
        return "holds a line break or another control character"
    return "begins or ends with a space" if value != value.strip() else ""


def _call(where: tuple[str | int, ...], call: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _headers((*where, "headers"), call.get("headers", {}))
    path = call.get("path", "/")
    bare = PLACEHOLDER.sub("x", path)
    if not path.startswith("/") or path.startswith("//") or "://" in path:
        yield (*where, "path"), "a path begins with one /", "Only `base_url` and `endpoint` name a host."
    elif not bare.isprintable() or any(char.isspace() for char in bare):
        yield (*where, "path"), "a path holds no spaces and no control characters", "Write a space as %20."


def _headers(where: tuple[str | int, ...], headers: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in headers.items():
        at = (*where, name)
        if not _TOKEN.fullmatch(name):
            yield (
                at,
                "this is no name of a header",
                "It has letters, digits and !#$%&'*+-.^_`|~ only.",
            )
        elif name.lower() in _FRAMING:
            yield _own(at, name)
        elif (name.lower() in _CREDENTIALS or is_sensitive(name)) and "{secret}" not in value:
            yield (at, f"`{name}` carries a credential, which stands in no profile",
                   "Say with `auth` how it is sent; a service in the configuration has it as `credential`."
            )  # fmt: skip
        if wrong := value_fault(PLACEHOLDER.sub("x", value)):
            yield at, f"the value of a header {wrong}", "Mend it."


def _own(where: tuple[str | int, ...], name: str) -> Problem:
    return where, f"`{name}` belongs to the connection, and keyform writes it itself", "Remove it."
