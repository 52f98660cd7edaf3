"""What a JSON Schema calls the kinds of values, in words for people."""

from __future__ import annotations

from typing import Any

_KINDS = {
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true` or `false`",
    "null": "nothing",
}


def expected(wanted: str | list[str]) -> str:
    """The kinds that a schema's ``type`` allows."""
    kinds = [wanted] if isinstance(wanted, str) else [kind for kind in wanted if kind != "null"]
    words = [_KINDS[kind] for kind in kinds]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def actual(found: Any) -> str:
    """The kind of a value that stands in a file."""
    if found is None:
        return "empty"
    if isinstance(found, bool):
        return "true or false"
    if isinstance(found, int | float):
        return "a number"
    return "text" if isinstance(found, str) else "a list" if isinstance(found, list) else "a mapping"
