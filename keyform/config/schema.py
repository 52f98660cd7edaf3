"""The published JSON Schema: a fast verdict, and sentences for people when it is no.

The verdict is jsonschema-rs's; only an invalid file is gone through with jsonschema, whose errors are
data from which the sentences are made.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import yaml

from keyform.diagnostics import did_you_mean
from keyform.documents.kinds import actual, expected
from keyform.documents.problems import Problems
from keyform.documents.sensitive import is_sensitive
from keyform.model import SourceRef
from keyform.schemas_location import schema_text

SCHEMA = "config.schema.json"

_NOUNS = {
    "keys": "key",
    "services": "service",
    "stores": "store",
    "projects": "project",
    "variables": "variable",
    "imports": "import",
    "moved": "move",
    "removed": "removal",
    "accept": "acceptance",
}

_SPANS = ("expires_in", "every", "overlap", "recovery_window", "stale_after")

Path = tuple[str | int, ...]


@lru_cache(maxsize=1)
def _schema() -> Any:
    return json.loads(schema_text(SCHEMA))


@lru_cache(maxsize=1)
def _fast() -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(_schema())


def check(tree: Mapping[str, Any], file: str, problems: Problems) -> set[Path]:
    """Record everything in ``tree`` that the schema refuses; return the paths where it does."""
    if _fast().is_valid(tree):
        return set()
    from jsonschema import Draft202012Validator

    refused: set[Path] = set()
    for failure in Draft202012Validator(_schema()).iter_errors(tree):
        path: Path = tuple(failure.absolute_path)
        refused.add(path)
        for code, spot, on_name, summary, detail in _sentences(failure, path):
            address = f"{path[0]}.{path[1]}" if path[:1] in (("keys",), ("projects",)) and path[1:] else None
            problems.error(code, SourceRef(file, spot), summary, detail, on_name=on_name, address=address)
    return refused


def _thing(path: Path) -> str:
    """``key `checkout` ``, ``defaults.rotation`` and so on: what a path is about."""
    if not path:
        return "the configuration"
    noun = _NOUNS.get(str(path[0]))
    if noun is None or len(path) == 1:
        return f"`{'.'.join(map(str, path))}`"
    head = f"{noun} {path[1] + 1}" if isinstance(path[1], int) else f"{noun} `{path[1]}`"
    rest = _dotted(path[2:])
    return f"`{rest}` of {head}" if rest else head


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _sentences(failure: Any, path: Path) -> Iterable[tuple[str, Path, bool, str, str]]:
    rule, wanted, found = failure.validator, failure.validator_value, failure.instance
    thing = _thing(path)
    if "propertyNames" in failure.absolute_schema_path:
        noun = _NOUNS.get(str(path[0]), "entry") if path else "entry"
        if len(path) > 1:
            said = failure.schema.get("description", "")
            return [("bad-name", (*path, str(found)), True, f"`{found}` cannot be a name in {thing}", said)]
        return [
            (
                "bad-name",
                (*path, str(found)),
                True,
                f"`{found}` cannot name a {noun}",
                "Start with a letter or `_`, go on with letters, digits, `_` and `-`, 128 at most.",
            )
        ]
    if rule == "additionalProperties":
        known = failure.schema.get("properties", {})
        return (
            (
                "unknown-field",
                (*path, name),
                True,
                f"unknown field `{name}` in {thing}",
                _unknown_hint(name, known, path),
            )
            for name in found
            if name not in known
        )
    if rule == "required":
        known = failure.schema.get("properties", {})
        return [
            ("missing-field", path, True, f"{thing} has no `{name}`", _missing_hint(name, path, known))
            for name in wanted
            if name not in found
        ]
    if rule == "type":
        return [
            (
                "wrong-type",
                path,
                False,
                f"{thing} must be {expected(wanted)}, not {actual(found)}",
                _type_hint(wanted, found, path, failure.schema),
            )
        ]
    if rule == "enum":
        return [
            (
                "bad-value",
                path,
                False,
                f"{thing} cannot be `{found}`",
                did_you_mean(str(found), map(str, wanted)),
            )
        ]
    if rule == "const":
        return [
            (
                "bad-version",
                path,
                False,
                f"this keyform reads version {wanted} of the configuration",
                f"Write `version: {wanted}`.",
            )
        ]
    if rule in ("minItems", "minProperties", "minLength"):
        mend = "Write it out, or leave the field out."
        if path[-1] == "scopes":  # for some services that is an error too
            mend = "Name at least one, or leave the field out where the service takes a key without scopes."
        return [("empty", path, False, f"{thing} is empty", mend)]
    if rule == "maxItems":
        return [
            (
                "too-many",
                path,
                False,
                f"{thing} has {len(found):,} entries; at most {wanted:,} are allowed",
                "",
            )
        ]
    if rule in ("minimum", "maximum"):
        bound = "at least" if rule == "minimum" else "at most"
        return [("bad-value", path, False, f"{thing} must be {bound} {wanted:,}", "")]
    if rule == "pattern" and wanted.startswith("^https?://") and re.fullmatch(r"[\w.-]+:\d+", found):
        detail = f"Write its scheme too: `{path[-1]}: https://{found}`, or http:// on this machine."
        return [("bad-value", path, False, f"{thing} cannot be `{found}`: it has no scheme", detail)]
    if rule == "pattern" and not any(is_sensitive(part) for part in path if isinstance(part, str)):
        said = failure.schema.get("description", "")
        hint = f"{said} {_example_hint(path, failure.schema)}".strip()
        return [("bad-value", path, False, f"{thing} cannot be `{found}`", hint)]
    if rule in ("oneOf", "anyOf") and all(branch.keys() == {"required"} for branch in wanted):
        names = [name for branch in wanted for name in branch["required"]]
        return [_choice(names, failure, path)] if isinstance(found, dict) else []  # which has its own error
    return [("invalid", path, False, f"{thing} is not valid here", _example_hint(path, failure.schema))]


def _choice(names: list[str], failure: Any, path: Path) -> tuple[str, Path, bool, str, str]:
    """What is wrong where one of these fields is needed, and with ``oneOf`` no more than one."""
    given = [f"`{name}`" for name in names if name in failure.instance]
    if given:
        summary = f"{_thing(path)} has {' and '.join(given)}"
        return "conflicting-fields", path, True, summary, "Keep one of them; they cannot stand together."
    known = failure.schema.get("properties", {})
    shown = [f"`{name}: {_flow(known[name]['examples'][0])}`" for name in names]
    summary = f"{_thing(path)} has neither {' nor '.join(f'`{name}`' for name in names)}"
    one = "one of them" if failure.validator == "oneOf" else "one of them, or both"
    return "missing-field", path, True, summary, f"Add {one}: {' or '.join(shown)}."


def _unknown_hint(name: str, known: Mapping[str, Any], path: Path) -> str:
    hint = did_you_mean(name, known)
    home = next((field for field, its in known.items() if name in its.get("properties", {})), None)
    if home is not None and (path or not hint.startswith("Did")):
        examples = (shape for shape in known[home].get("examples", ()) if isinstance(shape, dict))
        shown = next((f", like `{home}: {_flow(shape)}`" for shape in examples), "")
        return f"It belongs under `{home}`{shown}."
    if not path and hint.startswith("Known"):
        hint += " If this file is not keyform's, move it into a folder of its own."
    return hint


def _missing_hint(name: str, path: Path, known: Mapping[str, Any]) -> str:
    if name == "secret":
        return f"Say where its secret goes, like `secret: keys/{path[-1]}`."
    if name == "revoke":
        return "Write `revoke: true` to revoke it, or `revoke: false` to forget it and let it live."
    examples = known.get(name, {}).get("examples") if path[:1] == ("stores",) else None
    return f"Add `{name}: {_flow(examples[0])}`, or what is right for you." if examples else f"Add `{name}:`."


def _type_hint(wanted: str | list[str], found: Any, path: Path, schema: Mapping[str, Any]) -> str:
    if found is None:
        return "Write a value, or leave the field out."
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    if "string" in wanted and isinstance(found, bool | int | float) and not is_sensitive(name):
        shown = str(found).lower() if isinstance(found, bool) else str(found)
        if name in _SPANS:
            return f"Write it with a unit, like `{shown}d`."
        if not re.search(schema.get("pattern", ""), shown):
            return _example_hint(path, schema)
        return f'Put it in quotes: "{shown}".'
    if wanted == "array" and isinstance(found, str):
        if is_sensitive(name) or len(found) > 80:
            return "Write it in brackets."
        words = _words(found) if path[0] == "stores" and "{path}" in str(schema.get("examples")) else [found]
        return f"Write `{name}: {_flow(words)}`."
    if wanted == "boolean" and isinstance(found, str):
        return "Write `true` or `false` without quotes."
    if not path:
        return "Write `version: 1`, and below it sections like `services:` and `keys:`."
    return _example_hint(path, schema)


def _example_hint(path: Path, schema: Mapping[str, Any]) -> str:
    """How the schema itself would write it, where it says."""
    example = next(iter(schema.get("examples", ())), None)
    if example is None or not path:
        return ""
    named = "" if isinstance(path[-1], int) else f"{path[-1]}: "
    return f"Write it like `{named}{_flow(example)}`."


def _flow(value: Any) -> str:
    """An example of the schema as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if not isinstance(value, str) or _plain(text) else json.dumps(text, ensure_ascii=False)


def _plain(text: str) -> bool:
    """Whether a text needs no quotes in YAML, in brackets too."""
    try:
        return bool(yaml.safe_load(f"[{text}]") == [text])
    except (yaml.YAMLError, ValueError):
        return False


def _words(line: str) -> list[str]:
    """A command line as the list that a store of type exec takes; a shell's script names the place by
    variables, since what stands in it is code."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that is never closed
        words = line.split()
    scripts = {number + 1 for number, word in enumerate(words) if re.fullmatch("-[a-z]*c", word)}
    return [_by_variables(word) if number in scripts else word for number, word in enumerate(words)]


def _by_variables(script: str) -> str:
    return re.sub(r"""(["']?)\{(path|field)\}\1""", lambda found: f'"$KEYFORM_{found[2].upper()}"', script)
