"""The form of a profile: the verdict of its published schema, and sentences for people when it is no."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from keyform.diagnostics import did_you_mean
from keyform.documents.kinds import actual, expected
from keyform.schemas_location import schema_text

Problem = tuple[tuple[str | int, ...], str, str]

_LONGEST_QUOTE = 40
_ONLY_HERE = ("type", "enum", "const")
_TOO_LITTLE = ("minLength", "minItems", "minProperties")


def form_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What the schema refuses in a profile: where, what, and what to do."""
    if _verdict().is_valid(tree):
        return
    from jsonschema import Draft202012Validator

    found = [
        problem
        for failure in Draft202012Validator(_schema()).iter_errors(tree)
        for problem in _sentences(failure)
    ]
    # The two validators differ in details of regular expressions; the verdict stands.
    yield from found or [((), "the schema refuses this profile", "docs/profiles.md lists every word.")]


@functools.cache
def _schema() -> Any:
    return json.loads(schema_text("profile.schema.json"))


@functools.cache
def _verdict() -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema())


def _sentences(failure: Any) -> Iterator[Problem]:
    rule, wanted, found = failure.validator, failure.validator_value, failure.instance
    path = tuple(failure.absolute_path)
    said = failure.schema.get("description", "")
    if rule == "anyOf":
        yield from _choice(failure, path)
    elif rule == "additionalProperties":
        known = failure.schema.get("properties", {})
        for name in found:
            if name not in known:
                yield (*path, name), f"there is no `{_brief(name)}` here", did_you_mean(name, known)
    elif rule == "required":
        for name in wanted:
            if name not in found:
                yield path, f"`{name}` is missing", "Add it; docs/profiles.md says what it means."
    elif rule == "type":
        bare = "string" in wanted and isinstance(found, int | float)
        hint = "Numbers and words like true are texts only in quotes." if bare else ""
        yield path, f"must be {expected(wanted)}, and is {actual(found)}", hint
    elif rule == "enum":
        yield path, f"{_quoted(found)} is none of the words that fit here", _meant(found, wanted)
    elif rule == "const":
        yield path, f"must be {wanted}", f"Write {wanted}."
    elif rule in _TOO_LITTLE:
        what = "is empty" if wanted == 1 else f"needs at least {wanted} entries"
        yield path, what, "Write it out, or leave it out."
    elif rule == "uniqueItems":
        yield path, "holds something twice", "Remove one of the two."
    elif rule in ("minimum", "maximum"):
        yield path, f"must be {'at least' if rule == 'minimum' else 'at most'} {wanted:,}", ""
    elif "propertyNames" in failure.absolute_schema_path:
        yield (*path, found), f"{_quoted(found)} cannot be a name here", said
    else:
        yield path, "is not written as it has to be", said


def _choice(failure: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Of several forms the one that was meant, by the kind of value, and what is wrong with it."""
    branches: dict[Any, list[Any]] = {}
    for inner in failure.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    for inners in branches.values():
        if not any(inner.validator in _ONLY_HERE and not inner.relative_path for inner in inners):
            for inner in inners:
                yield from _sentences(inner)
            return
    wanted = [inner for inners in branches.values() for inner in inners if inner.validator in _ONLY_HERE]
    words = [word for inner in wanted if inner.validator == "enum" for word in inner.validator_value]
    if words and isinstance(failure.instance, str):
        yield (
            path,
            f"{_quoted(failure.instance)} is none of the words that fit here",
            _meant(failure.instance, words),
        )
        return
    kinds = [inner.validator_value for inner in wanted if inner.validator == "type"]
    forms = (["one of the words " + ", ".join(words)] if words else []) + [expected(kind) for kind in kinds]
    yield path, f"must be {' or '.join(forms)}, and is {actual(failure.instance)}", ""


def _meant(found: Any, words: Iterable[Any]) -> str:
    return did_you_mean(str(found), map(str, words))


def _quoted(found: Any) -> str:
    return f"`{_brief(str(found))}`" if isinstance(found, str | int | float) else actual(found)


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
