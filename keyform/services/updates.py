"""How a change of some fields is said to a service.

Each field has its piece of the request's body. Services differ in what goes with it: the named fields
alone (``send: changed``), every field that can change (``send: all``), or the whole object as it stands
with the change written over it (``send: merged``); the pieces may be entries of a list of operations
instead; and a field may have calls of its own, one for the whole, or one per entry that comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyform.model import KeySpec
from keyform.services.dialect import Operation
from keyform.services.templates import OMIT, Values, compile_template, put_into

CHANGED, ALL, MERGED = "changed", "all", "merged"
SENDS = (CHANGED, ALL, MERGED)


@dataclass(frozen=True, slots=True)
class Part:
    """A call for one field, with what it needs beside the key's values."""

    operation: Operation
    values: Mapping[str, Any] = field(default_factory=dict)


class Update:
    """One change of the named fields."""

    def __init__(self, operation: Operation, fields: frozenset[str], mutable: frozenset[str]) -> None:
        self._operation = operation
        self._pieces: Mapping[str, Any] = operation.tree.get("fields", {})
        self._own: Mapping[str, Any] = operation.tree.get("calls", {})
        send = operation.tree.get("send", CHANGED)
        self.merges = send == MERGED
        self._fields = [name for name in self._pieces if name in (mutable if send == ALL else fields)]
        self._named = fields
        self.rest = bool(fields & self._pieces.keys())
        """Whether anything is left to say besides the calls that single fields have."""

    def calls(self, before: KeySpec, after: KeySpec) -> Iterator[Part]:
        """The calls that single fields have, in the profile's order."""
        for name, entry in self._own.items():
            if name not in self._named:
                continue
            for tree in entry if isinstance(entry, list) else [entry]:
                operation = Operation(name, tree, self._operation.dialect)
                each = tree.get("each")
                if each is None:
                    yield Part(operation)
                    continue
                old, new = _entries(getattr(before, name)), _entries(getattr(after, name))
                first, second = (new, old) if each == "added" else (old, new)
                for item in sorted(first.keys() - second.keys()):
                    yield Part(operation, {"item": item, "item_value": first[item]})
                if each == "added":
                    for item in sorted(k for k in new.keys() & old.keys() if new[k] != old[k]):
                        yield Part(operation, {"item": item, "item_value": new[item]})

    def body(self, values: Values, present: dict[str, Any] | None) -> Any:
        """The body of the one call for the other fields; ``present`` is the object to write over."""
        tree = self._operation.tree
        pieces = [self._pieces[name] for name in self._fields]
        if any(isinstance(piece, list) for piece in pieces):
            made = [compile_template(piece)(values) for piece in pieces]
            flat = [entry for entries in made for entry in entries]
            return _without_omitted(compile_template(tree["body"])({**values, "operations": flat}))
        body: dict[str, Any] = {} if present is None else dict(present)
        for name in tree.get("drop", ()):
            body.pop(name, None)
        put_into(body, tree.get("body", {}), values)
        for piece in pieces:
            put_into(body, piece, values)
        return body


def _without_omitted(body: Any) -> Any:
    return {} if body is OMIT else body


def _entries(value: Any) -> dict[str, str]:
    """A set of texts, or of named texts, as a mapping."""
    if value and isinstance(value[0], tuple):
        return dict(value)
    return {entry: entry for entry in value}
