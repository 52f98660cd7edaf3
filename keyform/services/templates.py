"""Requests as data: a tree whose texts hold placeholders, compiled once.

A text that is nothing but ``{scopes}`` becomes the value itself, with its type. In a longer text a value
is written out, a list with blanks between its entries. A placeholder without a value leaves its place
out; ``{name|null}``, ``{name|[]}`` and ``{name|none}`` say what stands there instead, ``{scopes|omit}``
leaves out an empty list too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

Values = Mapping[str, Any]
Template = Callable[[Values], Any]

_LONGEST_SEGMENT = 2000  # characters; servers take addresses of 8,000

PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_-]+)?)(?:\|([^{}]*(?:\{\})?))?\}")


class _Omit:
    def __repr__(self) -> str:
        return "OMIT"


OMIT: Any = _Omit()
"""What a template gives when there is nothing to write."""


class _Keep:
    def __repr__(self) -> str:
        return "KEEP"


KEEP: Any = _Keep()
"""A value that says: leave what stands there. It is written nowhere, and taken out of nothing."""


class NoValue(ValueError):
    """A path cannot be written: ``name`` has no value that may stand in it."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name)
        self.name = name
        self.value = value


def placeholders(tree: Any) -> Iterator[str]:
    """The names of all placeholders in a tree."""
    if isinstance(tree, str):
        yield from (match[1] for match in PLACEHOLDER.finditer(tree))
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from placeholders(name)
            yield from placeholders(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from placeholders(value)


def compile_template(tree: Any) -> Template:
    """A function from values to the JSON value that the tree describes, or ``OMIT``."""
    if isinstance(tree, str):
        return _text(tree)
    if isinstance(tree, Mapping):
        parts = tuple((_name(name), compile_template(value)) for name, value in tree.items())

        def mapping(values: Values) -> Any:
            made = ((name(values), part(values)) for name, part in parts)
            return {name: value for name, value in made if value is not OMIT and value is not KEEP}

        return mapping
    if isinstance(tree, list):
        entries = tuple(compile_template(value) for value in tree)
        return lambda values: [
            value for value in (entry(values) for entry in entries) if value is not OMIT and value is not KEEP
        ]
    return lambda values: tree


def compile_path_template(text: str) -> Callable[[Values], str]:
    """A function from values to a URL path. Each value stays inside its segment; raises :class:`NoValue`
    for one that could not."""
    pieces: list[str | tuple[str, str | None]] = []
    end = 0
    for match in PLACEHOLDER.finditer(text):
        pieces += [text[end : match.start()], (match[1], match[2])]
        end = match.end()
    pieces.append(text[end:])

    def path(values: Values) -> str:
        return "".join(
            piece if isinstance(piece, str) else _segment(piece[0], values.get(piece[0]) or piece[1])
            for piece in pieces
        )

    return path


def put_into(target: dict[str, Any], tree: Mapping[str, Any], values: Values) -> None:
    """Write a tree over an existing object: mappings of the tree go down into it, everything else replaces
    what stands there, and what has no value is taken out."""
    for name, part in tree.items():
        if isinstance(part, Mapping):
            inner = target.get(name)
            target[name] = inner if isinstance(inner, dict) else {}
            put_into(target[name], part, values)
            continue
        value = compile_template(part)(values)
        if value is OMIT:
            target.pop(name, None)
        elif value is not KEEP:
            target[name] = value


def _name(name: str) -> Callable[[Values], str]:
    made = _text(name)
    return (lambda values: str(made(values))) if PLACEHOLDER.search(name) else (lambda values: name)


def _segment(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str | int) else ""
    if text in ("", ".", "..") or len(text) > _LONGEST_SEGMENT:
        raise NoValue(name, value)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:  # half of a surrogate pair
        raise NoValue(name, value) from None


def _text(text: str) -> Template:
    whole = PLACEHOLDER.fullmatch(text)
    if whole:
        name, instead = whole[1], whole[2]
        if instead is None:

            def plain(values: Values) -> Any:
                value = values.get(name)
                return OMIT if value is None or value == "" else value

            return plain
        default = OMIT if instead == "omit" else _literal(instead)

        def with_default(values: Values) -> Any:
            value = values.get(name)
            return default if value is None or (not value and isinstance(value, str | list | dict)) else value

        return with_default
    if not PLACEHOLDER.search(text):
        return lambda values: text

    def written(values: Values) -> Any:
        missing = False

        def put(match: re.Match[str]) -> str:
            nonlocal missing
            value = values.get(match[1])
            if value is None or value == "" or value is KEEP:
                missing = missing or match[2] is None
                return match[2] or ""
            return " ".join(map(str, value)) if isinstance(value, list) else str(value)

        made = PLACEHOLDER.sub(put, text)
        return OMIT if missing else made

    return written


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
