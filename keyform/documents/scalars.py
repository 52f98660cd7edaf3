"""Plain YAML scalars, read so that nobody is surprised.

YAML 1.1 reads ``no`` as false, ``1:30`` as 90 and ``010`` as 8; YAML 1.2, which editors follow, does
not. What the two versions disagree about is refused with a request to quote it.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SWITCHES = frozenset(w for word in ("yes", "no", "on", "off") for w in (word, word.title(), word.upper()))
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})\Z")  # what is too large is told by whoever takes it
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}\Z")
_CLOCK = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\Z")
_ODD_NUMBER = re.compile(
    r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o[0-7_]+|[0-9][0-9_]*"
    r"|([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?"
    r"|\.(inf|Inf|INF|nan|NaN|NAN))\Z"
)

SPECIAL_STARTS = frozenset("-+.~0123456789yYnNtTfFoO")
"""A plain scalar that starts with another character is text."""

DATE = "a date"

Scalar = str | int | float | bool | None


@lru_cache(maxsize=4096)
def plain_scalar(text: str) -> tuple[Scalar, str | None]:
    """What an unquoted scalar means: its value, and what YAML 1.1 takes it for where that is a surprise."""
    if text in _NULL:
        return None, None
    if text in _BOOLEANS:
        return _BOOLEANS[text], None
    if text in _SWITCHES:
        return text, "true or false"
    if _INTEGER.match(text):
        return int(text), None
    if _FLOAT.match(text):
        return float(text), None
    if _CLOCK.match(text):
        return text, "a number in base 60"
    if _DATE.match(text):
        return text, DATE
    if _ODD_NUMBER.match(text):
        return text, "a number"
    return text, None
