"""The documents of all files as one configuration, each entry with the file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keyform.documents.problems import Problems
from keyform.model import SourceRef

Path = tuple[str | int, ...]

_NAMED = ("variables", "services", "stores", "projects", "keys")
_LISTED = ("imports", "moved", "removed", "accept")
_SINGLE = ("state", "schedule", "defaults")
_REQUIRED = {
    "keys": {"service", "secret"},
    "projects": {"service"},
    "services": {"type"},
    "stores": {"type"},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a section. ``unknown``: its fields whose value cannot be used, for a recorded reason."""

    file: str
    path: Path
    body: Any
    unknown: frozenset[str] = frozenset()

    def at(self, *path: str | int) -> SourceRef:
        """The place of a field in the entry."""
        return SourceRef(self.file, self.path + path)


@dataclass(slots=True)
class Merged:
    """The sections. ``unusable`` names, per section, what is declared but cannot be read.

    ``incomplete`` when a file or a section could not be read, so that a name that is not found may be
    declared there.
    """

    state: Entry | None = None
    schedule: Entry | None = None
    defaults: Entry | None = None
    variables: dict[str, Entry] = field(default_factory=dict)
    services: dict[str, Entry] = field(default_factory=dict)
    stores: dict[str, Entry] = field(default_factory=dict)
    projects: dict[str, Entry] = field(default_factory=dict)
    keys: dict[str, Entry] = field(default_factory=dict)
    imports: list[Entry] = field(default_factory=list)
    moved: list[Entry] = field(default_factory=list)
    removed: list[Entry] = field(default_factory=list)
    accept: list[Entry] = field(default_factory=list)
    unusable: dict[str, set[str]] = field(default_factory=lambda: {section: set() for section in _NAMED})
    incomplete: bool = False


def merge(trees: Mapping[str, Any], refused: Mapping[str, set[Path]], problems: Problems) -> Merged:
    """Merge the documents of files. ``refused`` are the paths in each that its schema refuses."""
    merged = Merged(incomplete=bool(problems.broken_files))
    for file, tree in trees.items():
        if not isinstance(tree, dict):
            merged.incomplete = True
            continue
        bad = _by_entry(refused.get(file, set()))
        for section in _SINGLE:
            _take_single(merged, section, file, tree.get(section), bad, problems)
        for section in _NAMED:
            _take_named(merged, section, file, tree.get(section), bad, problems)
        for section in _LISTED:
            entries = tree.get(section)
            if isinstance(entries, list):
                getattr(merged, section).extend(
                    Entry(file, (section, index), body)
                    for index, body in enumerate(entries)
                    if (section, index) not in bad
                )
            elif entries is not None:
                merged.incomplete = True
    if trees and not merged.incomplete and not any("version" in tree for tree in trees.values()):
        first = next(iter(trees))
        problems.error(
            "missing-version",
            SourceRef(first, ()),
            "the configuration does not say its version",
            f"Write `version: 1` at the top of {first}.",
        )
    return merged


def _by_entry(paths: set[Path]) -> dict[Path, set[str]]:
    """Refused paths as the refused fields of each entry (or of a section that is one)."""
    bad: dict[Path, set[str]] = {}
    for path in paths:
        head, rest = (path[:1], path[1:]) if path and path[0] in _SINGLE else (path[:2], path[2:])
        bad.setdefault(head, set()).update(str(part) for part in rest[:1])
    return bad


def _take_single(
    merged: Merged, section: str, file: str, body: Any, bad: Mapping[Path, set[str]], problems: Problems
) -> None:
    if body is None:
        return
    first: Entry | None = getattr(merged, section)
    if first is not None:
        problems.error(
            "duplicate-name",
            SourceRef(file, (section,)),
            f"`{section}` is written in two files",
            "Keep one of the two.",
            on_name=True,
            also=("The first is at", first.at()),
        )
    elif isinstance(body, dict):
        unknown = frozenset(bad.get((section,), ()))
        usable = {field: value for field, value in body.items() if field not in unknown}
        setattr(merged, section, Entry(file, (section,), usable, unknown))
    elif isinstance(body, str) and (section,) not in bad:
        setattr(merged, section, Entry(file, (section,), body))
    else:
        merged.incomplete = True


def _take_named(
    merged: Merged, section: str, file: str, entries: Any, bad: Mapping[Path, set[str]], problems: Problems
) -> None:
    if not isinstance(entries, dict):
        merged.incomplete |= entries is not None
        return
    known: dict[str, Entry] = getattr(merged, section)
    for name, body in entries.items():
        path = (section, name)
        if name in known:
            problems.error(
                "duplicate-name",
                SourceRef(file, path),
                f"`{name}` is declared twice under `{section}`",
                "Rename or remove one of the two.",
                on_name=True,
                also=("The first is at", known[name].at()),
            )
        elif path not in bad:
            known[name] = Entry(file, path, body)
        elif isinstance(body, dict) and section in _REQUIRED:
            unknown = bad[path] | (_REQUIRED[section] - body.keys())
            usable = {field: value for field, value in body.items() if field not in unknown}
            known[name] = Entry(file, path, usable, frozenset(unknown))
        else:
            merged.unusable[section].add(name)
