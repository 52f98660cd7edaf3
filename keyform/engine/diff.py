"""What differs between two specifications, and the words for it.

Comparing comes first and is cheap; explaining is for what differs only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from keyform.encoding import spec_to_json
from keyform.engine.plan import FieldDiff
from keyform.model import SPEC_FIELDS, KeySpec, format_duration
from keyform.profile import Profile


def changed_fields(have: KeySpec, want: KeySpec, among: Iterable[str] = SPEC_FIELDS) -> frozenset[str]:
    """Names of the fields that differ."""
    if have == want:
        return frozenset()
    return frozenset(name for name in among if getattr(have, name) != getattr(want, name))


EVERYTHING = "everything"
"""Stands for the scopes of a key that names none where that means all of them."""


def explain(
    have: KeySpec | None, want: KeySpec | None, fields: Iterable[str], profile: Profile
) -> tuple[FieldDiff, ...]:
    """Field by field before and after; a field that holds a mapping is explained entry by entry."""
    before = _as_shown(have, profile) if have else {}
    after = _as_shown(want, profile) if want else {}
    out: list[FieldDiff] = []
    for name in SPEC_FIELDS:
        if name not in fields:
            continue
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if have and want and (isinstance(old, dict) or isinstance(new, dict)):
            out += _entries(name, old or {}, new or {})
        else:
            out.append(FieldDiff(name, old, new))
    return tuple(out)


def _as_shown(spec: KeySpec, profile: Profile) -> dict[str, Any]:
    kind = profile.kinds.get(spec.kind or "")
    shown = spec_to_json(spec)
    if not spec.scopes and kind is not None and kind.unscoped_is_all:
        shown["scopes"] = EVERYTHING
    return shown


def _entries(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[FieldDiff]:
    from deepdiff import DeepDiff

    tree = DeepDiff(_leaves(old), _leaves(new), view="tree", threshold_to_diff_deeper=0)
    paths = {
        ".".join([name, *map(str, level.path(output_format="list"))]): level
        for found in tree.values()
        for level in found
    }
    return [
        FieldDiff(
            path,
            level.t1 if isinstance(level.t1, str | int) else None,
            level.t2 if isinstance(level.t2, str | int) else None,
        )
        for path, level in sorted(paths.items())
    ]


def _leaves(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree as one mapping, so that what comes or goes as a whole is told entry by entry too."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        inner = _leaves(value) if isinstance(value, dict) else None
        leaves |= {name: value} if inner is None else {f"{name}.{path}": leaf for path, leaf in inner.items()}
    return leaves


def duration_diff(path: str, before: timedelta | None, after: timedelta | None) -> FieldDiff:
    """A span before and after, as a user writes it; None is ``never``."""

    def text(span: timedelta | None) -> str:
        return "never" if span is None else format_duration(span)

    return FieldDiff(path, text(before), text(after))


def words(value: Any) -> str:
    """A JSON value in a sentence."""
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]" if value else "nothing"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return str(value)


def sentence(difference: FieldDiff) -> str:
    """``scopes changed from [a] to [a, b]``."""
    return f"{difference.path} changed from {words(difference.before)} to {words(difference.after)}"
