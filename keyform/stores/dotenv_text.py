"""The text of a .env file: values quoted so that shells and python-dotenv read the same, merged in place.

python-dotenv reads the file; it has no way to write what a shell reads back too: it escapes a quote inside
single quotes, where a shell knows no escapes, and puts ``${NAME}`` in even there.
"""

from __future__ import annotations

import re
from io import StringIO

from dotenv.parser import Binding, parse_stream

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*\Z")
_ASSIGNMENT = re.compile(
    r"""(?P<lead>\s*) (?P<export>export[^\S\r\n]+)? (?:'[^']+'|[^=\#\s]+)
    (?: [^\S\r\n]*=[^\S\r\n]* (?: '(?:\\[\s\S]|[^'\\])*' | "(?:\\[\s\S]|[^"\\])*" | [^\r\n]*? ) )?
    (?P<tail> (?:[^\S\r\n]+\#[^\r\n]*)? [^\S\r\n]* (?:\r\n|\n|\r|\Z) )\Z""",
    re.VERBOSE,
)


class Unwritable(Exception):
    """Why a value cannot be written, in words that do not show it."""


def quoted_value(text: str) -> str:
    """``text`` as it stands behind ``NAME=``. Raises ``Unwritable``."""
    if _PLAIN.match(text):
        return text
    if "\0" in text or "\r" in text:
        raise Unwritable("no .env file can hold its control characters")
    if "${" in text:
        raise Unwritable("python-dotenv would put a variable in where it has `${`")
    # Where a backslash is no escape in either reading, single quotes are the plainest.
    if "'" not in text and "\\\\" not in text and not text.endswith("\\"):
        return f"'{text}'"
    if "$" not in text and "`" not in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    raise Unwritable(
        "it mixes quotes or backslashes with `$` or backticks, which are not read alike everywhere"
    )


def value_of(document: str, name: str) -> str | None:
    """The value of a variable, as python-dotenv reads it, but for variables in it. The last one counts."""
    found = None
    for binding in _bindings(document):
        if binding.key == name:
            found = binding.value or ""
    return found


def unreadable_line(document: str) -> int | None:
    """The number of the first line that is not one of a .env file."""
    return next((binding.original.line for binding in _bindings(document) if binding.error), None)


def with_value(document: str, name: str, text: str | None) -> str:
    """The document with the variable set where it stands (its last place, if there are several), or at the
    end; without it where ``text`` is None. All other lines, and the comment behind it, stay as they are.
    Raises ``Unwritable``."""
    bindings = list(_bindings(document))
    places = [number for number, binding in enumerate(bindings) if binding.key == name]
    parts = ["\ufeff"] if document.startswith("\ufeff") else []
    for number, binding in enumerate(bindings):
        original = binding.original.string
        if number not in places:
            parts.append(original)
            continue
        assignment = _ASSIGNMENT.match(original)
        if assignment is None:
            raise Unwritable(f"line {binding.original.line} of the file cannot be changed safely")
        parts.append(assignment["lead"])
        if text is not None and number == places[-1]:
            parts.append(f"{assignment['export'] or ''}{name}={quoted_value(text)}{assignment['tail']}")
    if text is not None and not places:
        if parts not in ([], ["\ufeff"]) and not parts[-1].endswith(("\n", "\r")):
            parts.append("\n")
        parts.append(f"{name}={quoted_value(text)}\n")
    return "".join(parts)


def _bindings(document: str) -> list[Binding]:
    return list(parse_stream(StringIO(document, newline="")))
