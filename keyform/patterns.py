"""Regular expressions that a profile brings, on an engine whose time grows with the text alone.

A profile may come with a pull request, and Python's own engine can be made to run for ever by a pattern of
seven characters. RE2 cannot; what it lacks (references back, looking around) is refused when a profile is
read. Each pattern is compiled once.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re2

SYNTAX = "https://github.com/google/re2/wiki/Syntax says what may stand in a pattern."

_LONGEST = 1000
_MOST_MEMORY = 1 << 20  # bytes of one compiled pattern, so that counted repeats cannot grow without bound


def fault(pattern: str, groups: int | None = None) -> str:
    """Why a pattern cannot be used, as the rest of a sentence about it; empty when it can. ``groups`` is how
    many it has to have, where that matters."""
    import re2

    if len(pattern) > _LONGEST:
        return f"has {len(pattern):,} characters; at most {_LONGEST:,} are allowed"
    try:
        has = _compiled(pattern).groups
    except (re2.error, UnicodeError) as problem:
        return f"is not one that RE2 can do: {_words(problem)}"
    if groups is not None and has != groups:
        return f"has {has} groups in ( ), and needs {'one group' if groups == 1 else groups}"
    return ""


def matches(pattern: str, text: str) -> bool:
    """Whether all of ``text`` matches a pattern without a :func:`fault`."""
    return _within_unicode(text) and _compiled(pattern).fullmatch(text) is not None


def first_group(pattern: str, text: str) -> str:
    """What the first group of a pattern without a :func:`fault` takes of ``text``, or nothing."""
    found = _compiled(pattern).search(text) if _within_unicode(text) else None
    return (found[1] or "") if found else ""


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re2._Regexp[Any]:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    return re2.compile(pattern, options)


def _within_unicode(text: str) -> bool:
    # RE2 reads UTF-8, which has no halves of surrogate pairs; no pattern matches those.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(problem: Exception) -> str:
    said = problem.args[0] if problem.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
