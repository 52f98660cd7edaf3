"""A key or project in hand while it is checked: its fields filled in, and where each of them stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyform.config.interpolate import UNRESOLVED, Each, Interpolator, is_plain
from keyform.config.merge import Entry
from keyform.documents.problems import Problems
from keyform.model import SourceRef


@dataclass(frozen=True, slots=True)
class Declared:
    """One key (one of a ``for_each``) or project.

    ``unknown``: fields that were written but cannot be used, for a reason that has been recorded.
    """

    address: str
    entry: Entry
    fields: Mapping[str, Any]
    unknown: frozenset[str]
    problems: Problems

    def at(self, *path: str | int) -> SourceRef:
        """The place of a field; without a path, of the declaration."""
        return self.entry.at(*path)

    def error(
        self,
        code: str,
        path: tuple[str | int, ...],
        summary: str,
        detail: str = "",
        *,
        on_name: bool = False,
        also: tuple[str, SourceRef] | None = None,
    ) -> None:
        """Record what is wrong with a field, or with the declaration when ``path`` is empty."""
        self.problems.error(
            code,
            self.entry.at(*path),
            summary,
            detail,
            on_name=on_name or not path,
            address=self.address,
            also=also,
        )


def declared(
    address: str, entry: Entry, fill: Interpolator, problems: Problems, each: Each | None = None
) -> Declared:
    """An entry with the templates in its fields filled in."""
    body: dict[str, Any] = entry.body
    if is_plain(body):
        return Declared(address, entry, body, entry.unknown, problems)
    fields, unknown = {}, set(entry.unknown)
    for name, value in body.items():
        filled = fill.fill(value, entry.at(name), each)
        if filled is UNRESOLVED:
            unknown.add(name)
        else:
            fields[name] = filled
    return Declared(address, entry, fields, frozenset(unknown), problems)
