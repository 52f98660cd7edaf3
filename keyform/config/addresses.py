"""Addresses of keys that entries of the configuration name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from keyform.config.interpolate import UNRESOLVED, Interpolator
from keyform.config.merge import Entry, Merged
from keyform.config.values import has_control
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.model import SourceRef, normal_address

_ADDRESS = re.compile(r'keys\.[A-Za-z_][A-Za-z0-9_-]{0,127}(\["(?:[^"\\]|\\.){1,1000}"\])?\Z')


class Addresses:
    """Reads addresses and says which are declared. ``declared`` maps every declared key address to its
    service, if known."""

    def __init__(
        self, merged: Merged, declared: Mapping[str, str | None], fill: Interpolator, problems: Problems
    ) -> None:
        self.declared = declared
        self.instances: dict[str, list[str]] = {}
        """The addresses of the keys of each `for_each`, by its bare address."""
        for address in declared:
            if "[" in address:
                self.instances.setdefault(address.partition("[")[0], []).append(address)
        self._merged = merged
        self._interpolator = fill
        self._problems = problems

    def text(self, entry: Entry, field: str) -> str | None:
        """The text of a field, None where it cannot be told."""
        value = self._interpolator.fill(entry.body[field], entry.at(field))
        return None if value is UNRESOLVED else str(value)

    def key(self, entry: Entry, field: str) -> str | None:
        """The address of a key in a field; None after recording that it is none."""
        text = self.text(entry, field)
        if text is None:
            return None
        address = normal_address(text)
        if not _ADDRESS.match(address):
            shown = "this" if has_control(text) or len(text) > 300 else f"`{text}`"
            self._problems.error(
                "bad-address",
                entry.at(field),
                f"{shown} is not the address of a key",
                'Write NAME, or NAME["EACH"] for one of a `for_each`.',
            )
            return None
        return address

    def must_be_declared(
        self, address: str, entry: Entry, field: str, what: str, *, all_instances: bool = False
    ) -> None:
        """Record an error for a key that is not declared. ``all_instances``: the bare address of a
        `for_each` stands for all of its keys."""
        if address in self.declared or self._merged.incomplete or self._is_unusable(address):
            return
        if all_instances and address in self.instances:
            return
        instances = self.instances.get(address, ())
        hint = (
            f"It has a `for_each`; name one of its keys, like `{instances[0]}`."
            if instances
            else did_you_mean(address.removeprefix("keys."), (a.removeprefix("keys.") for a in self.declared))
            if len(self.declared) <= 2000
            else ""
        )
        self._problems.error(
            "undeclared-key",
            entry.at(field),
            f"{what} names {address}, which is not declared",
            hint or "Declare the key under `keys` as well.",
        )

    def once(self, seen: dict[Any, Entry], what: Any, entry: Entry, field: str, summary: str) -> None:
        """Record an error for the second entry about one thing."""
        first = seen.setdefault(what, entry)
        if first is not entry:
            where: SourceRef = entry.at(field)
            self._problems.error(
                "duplicate-change",
                where,
                summary,
                "Keep one of the two.",
                also=("The first is at", first.at(field)),
            )

    def _is_unusable(self, address: str) -> bool:
        name = address.removeprefix("keys.").partition("[")[0]
        entry = self._merged.keys.get(name)
        return name in self._merged.unusable["keys"] or (entry is not None and "for_each" in entry.unknown)
