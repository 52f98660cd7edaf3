"""Where something stands in a JSON value: ``data.keys``, ``permissions[].slug``, ``ratelimits[0].limit``.

A path is compiled once into a function; following it costs a few dictionary lookups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

Getter = Callable[[Any], Any]

_STEP = re.compile(r"\[(\d*)\]|\.?([^.\[\]]+)")


class BadPath(ValueError):
    """A text that is no path."""


def compile_path(text: str, missing: Any = None) -> Getter:
    """A function that follows the path; it gives ``missing`` where the path leads nowhere. The path ``""``
    is the value itself. ``[]`` goes through every entry of a list and leaves out those without the rest
    of the path. Raises :class:`BadPath`."""
    steps = _steps(text)
    if not steps:
        return lambda raw: raw
    if len(steps) == 1 and isinstance(steps[0], str):
        name = steps[0]
        return lambda raw: raw.get(name, missing) if type(raw) is dict else missing
    return _follow(steps, missing)


def first_text(texts: Iterable[str]) -> Callable[[Any], str]:
    """A function that gives the first non-empty text found at one of the paths, or ""."""
    getters = tuple(compile_path(text) for text in texts)

    def find(raw: Any) -> str:
        for getter in getters:
            found = getter(raw)
            if type(found) is str and found:
                return found
        return ""

    return find


def _steps(text: str) -> list[str | int | None]:
    steps: list[str | int | None] = []
    end = 0
    for match in _STEP.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        index, name = match.groups()
        steps.append(name if index is None else int(index) if index else None)
    if end != len(text) or text.startswith("."):
        raise BadPath(f"{text!r} is no path; write it like data.keys or items[].id")
    return steps


def _follow(steps: list[str | int | None], missing: Any) -> Getter:
    step, rest = steps[0], steps[1:]
    onward = _follow(rest, missing) if rest else (lambda raw: raw)
    if step is None:

        def through(raw: Any) -> Any:
            if type(raw) is not list:
                return missing
            found = [onward(entry) for entry in raw]
            return [entry for entry in found if entry is not missing]

        return through
    if isinstance(step, int):
        return lambda raw: onward(raw[step]) if type(raw) is list and len(raw) > step else missing
    return lambda raw: onward(raw[step]) if type(raw) is dict and step in raw else missing
