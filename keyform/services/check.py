"""Reading and checking a profile file: its form by the schema, its sense by rules, each finding with its
place.

Whoever can change a configuration can name any file as a profile. So nothing that stands in a file is
repeated before it is known to be a profile, and no credential in it even then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keyform.diagnostics import Diagnostic, error
from keyform.documents.locate import Sources, diagnostics_of
from keyform.documents.parse import parse
from keyform.documents.problems import Problems
from keyform.documents.read import decode, read_text
from keyform.documents.sensitive import is_sensitive
from keyform.errors import ConfigError
from keyform.model import Location, SourceRef
from keyform.profile import PROFILE_WORDS, looks_like_profile
from keyform.services.form import form_problems
from keyform.services.sense import problems_of

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 1 << 20
"""The largest profile, in bytes."""

_MOST_NODES = 100_000
_MOST = 50
_WORDS = re.compile(rf"""^(?:["{{\s]*["])?({"|".join(PROFILE_WORDS)})"?\s*:""", re.MULTILINE)
_PLACES = frozenset({("auth", "login", "token")})


def read_profile(file: Path, name: str, unreadable: str) -> Mapping[str, Any]:
    """The data of a profile file without anything wrong; ``name`` is what messages call it, and
    ``unreadable`` what to do where it cannot be read. Raises ``ConfigError`` with all that is wrong."""
    if not name.endswith(SUFFIXES):
        raise ConfigError(
            f"{name} is no profile file", "The name of one ends in .yaml, .yml or .json. Mend the path."
        )
    problems = Problems()
    text = read_text(file, name, problems, LARGEST)
    if text is None:
        failures = diagnostics_of(problems, Sources({}, ()))
        raise ConfigError(tuple(replace(d, detail=d.detail or unreadable) for d in failures))
    tree, found = _examined(text, name)
    if found:
        raise ConfigError(found)
    checked: Mapping[str, Any] = tree
    return checked


def check_profile(data: bytes, where: str) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a profile file, in the order of its lines; empty for a sound one.

    ``where`` is the file's name for messages. Reads nothing else and sends nothing.
    """
    problems = Problems()
    text = decode(data, where, problems)
    return diagnostics_of(problems, Sources({}, ())) if text is None else _examined(text, where)[1]


def _examined(text: str, where: str) -> tuple[Any, tuple[Diagnostic, ...]]:
    problems = Problems()
    tree = parse(text, where, problems, most_nodes=_MOST_NODES, number_names=True)
    broken = where in problems.broken_files
    if tree is None and not broken:
        place = Location(where, 1, 1)
        detail = "docs/profiles.md says what a profile holds, and shows one."
        return None, (error("profile", f"the profile {where} is empty", detail, location=place),)
    if not (len(set(_WORDS.findall(text))) > 1 if broken else looks_like_profile(tree)):
        return None, (_no_profile(where, diagnostics_of(problems, Sources({}, ())) if broken else ()),)
    if not problems.any_error:
        for path, summary, detail in _problems(tree):
            shown = ".".join(map(str, path))
            what = f"profile {where}: {shown}: {summary}" if shown else f"profile {where}: {summary}"
            problems.error("profile", SourceRef(where, path), what, detail)
    sources = Sources({where: text}, problems.broken_files, _holds_credential)
    return tree, diagnostics_of(problems, sources)[:_MOST]


def _problems(tree: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str, str]]:
    return list(form_problems(tree)) or list(problems_of(tree))


def _no_profile(where: str, broken: tuple[Diagnostic, ...]) -> Diagnostic:
    place = next((found.location for found in broken if found.location), Location(where, 1, 1))
    what = "cannot be read as YAML" if broken else "is no mapping with " + _listed()
    return error(
        "profile",
        f"{where} is not a profile: it {what}",
        f"A profile has {_listed()} at its top; docs/profiles.md shows one. Nothing of this file is shown.",
        location=place,
    )


def _listed() -> str:
    return ", ".join(f"`{word}`" for word in PROFILE_WORDS[:-1]) + f" and `{PROFILE_WORDS[-1]}`"


def _holds_credential(path: tuple[str, ...]) -> bool:
    """Whether what stands at a path of a profile may be a credential. ``secret`` and ``token`` are words of
    the language, which say where one stands in an answer."""
    place = path in _PLACES or (path[0], path[-1], len(path)) == ("operations", "secret", 3)
    return is_sensitive(path[-1]) and not place
