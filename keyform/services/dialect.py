"""A profile's description of its calls, compiled: one :class:`Dialect`, and an :class:`Operation` per call.

The key-service contract is such a description too (``contract.yaml`` beside this file); a profile takes
an operation from it with ``backing: contract``.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyform.errors import Refused, ServiceError
from keyform.model import LiveProject
from keyform.profile import CONTRACT, DOCUMENTED, Kind, Profile
from keyform.services.calls import READ, Call
from keyform.services.failures import safe
from keyform.services.fields import conditions
from keyform.services.paths import compile_path, first_text
from keyform.services.readers import KeyReader, key_reader, project_reader
from keyform.services.speech import Speech
from keyform.services.templates import OMIT, NoValue, compile_path_template, compile_template, placeholders
from keyform.services.told import Errors
from keyform.services.wire import value_fault

_CONTRACT_FILE = Path(__file__).parent / "contract.yaml"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer to recognise: ``404``, or ``404 not_found`` with the service's own code (``*`` matches)."""

    status: int
    code: str = "*"

    @staticmethod
    def of(entry: int | str) -> Said:
        status, _, code = str(entry).partition(" ")
        return Said(int(status), code.strip() or "*")

    def matches(self, refused: Refused) -> bool:
        return refused.status == self.status and fnmatch.fnmatchcase(
            refused.reason.lower(), self.code.lower()
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """What all operations of one description share."""

    speech: Speech
    headers: Mapping[str, str]
    mapping: Mapping[str, Any]
    kinds: Mapping[str, Kind]

    @staticmethod
    def of(tree: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Dialect:
        """From a profile's data."""
        return Dialect(Speech.of(tree), tree.get("headers", {}), tree.get("key", {}), kinds)


class Operation:
    """One call of a service, ready to be made. ``tree`` is its data, for what is particular to it."""

    def __init__(self, name: str, tree: Mapping[str, Any], dialect: Dialect) -> None:
        self.name = name
        self.tree = tree
        self.dialect = dialect
        self.method: str = tree.get("method", "POST" if {"body", "fields"} & tree.keys() else "GET")
        self._path = compile_path_template(tree.get("path", "/"))
        self._query = compile_template(tree.get("query", {}))
        self._body = compile_template(tree["body"]) if "body" in tree else None
        self._headers = compile_template({**dialect.headers, **tree.get("headers", {})})
        self._form = tree.get("encoding") == "form"
        self._accept = tuple(Said.of(entry) for entry in tree.get("accept", ()))
        self._masked = tuple(Said.of(entry) for entry in tree.get("masked", ()))
        self.next_steps = {int(status): step for status, step in tree.get("next_steps", {}).items()}
        self.expects = conditions(tree["expect"]) if "expect" in tree else None
        self.uses = frozenset(placeholders(dict(tree)))

    @functools.cached_property
    def read_key(self) -> KeyReader | None:
        """Reads a key out of the answer, where the answer holds one."""
        if "key" not in self.tree:
            return None
        at = compile_path(self.tree["key"])
        read = self.key
        return lambda body: read(at(body))

    @functools.cached_property
    def key(self) -> KeyReader:
        """Reads a key as this operation shows it."""
        return key_reader(self.mapping, self.dialect.speech, self.dialect.kinds)

    @functools.cached_property
    def mapping(self) -> Mapping[str, Any]:
        """Where the fields of a key stand in what this operation shows."""
        return {**self.dialect.mapping, **self.tree.get("key_fields", {})}

    @functools.cached_property
    def read_project(self) -> Callable[[object], LiveProject] | None:
        """Reads a project out of the answer, where the answer holds one."""
        return project_reader(self.tree["project"]) if "project" in self.tree else None

    def call(
        self,
        service: str,
        doing: str,
        values: Mapping[str, Any],
        effect: str = READ,
        *,
        body: Any = None,
        **more: Any,
    ) -> Call:
        """The call with everything filled in; ``body`` stands in for the operation's own, and the operation's
        next steps win over those of ``more``. Raises ``ServiceError`` for an id that cannot stand in a
        path."""
        try:
            path = self._path(values)
        except NoValue as problem:
            shown = safe(problem.value) if isinstance(problem.value, str) else ""
            raise ServiceError(
                f"service {service!r}: {doing} failed: {shown!r} is no {problem.name}",
                f"Check the ids in the configuration and the service's options; {problem.name} stands in the "
                "path of the call.",
            ) from None
        query = {name: _query_value(value) for name, value in self._query(values).items()}
        if body is None and self._body is not None:
            body = self._body(values)
            body = {} if body is OMIT else body
        headers = {name: str(value) for name, value in self._headers(values).items()}
        for name, value in headers.items():
            if wrong := value_fault(value):
                raise ServiceError(
                    f"service {service!r}: {doing} failed: what the header {name} is to say {wrong}",
                    "Nothing was sent. Check the service's options, and the fields of the key that go there.",
                )
        more["next_steps"] = {**more.get("next_steps", {}), **self.next_steps}
        return Call(
            doing,
            self.method,
            path,
            effect,
            params=query or None,
            body=body,
            headers={**headers, **more.pop("headers", {})},
            form=self._form,
            empty=True if effect != READ else self.name == "prove",
            **more,
        )

    def done_already(self, refused: Refused) -> bool:
        """Whether this refusal means that what was asked for is so already."""
        return any(said.matches(refused) for said in self._accept)

    def masked(self, refused: Refused) -> bool:
        """Whether this refusal may mean that it is so already, and may as well mean a missing right."""
        if not self._masked and not self._accept:
            return refused.status in (404, 410)
        return any(said.matches(refused) for said in self._masked)

    def part(self, name: str) -> Operation:
        """A call inside this one: ``add`` or ``remove``."""
        return Operation(name, self.tree[name], self.dialect)


def contract_tree() -> Mapping[str, Any]:
    """The key-service contract as a description."""
    return _read_contract()


@functools.cache
def _read_contract() -> Mapping[str, Any]:
    from keyform.services.profiles import parse_built_in

    tree: Mapping[str, Any] = parse_built_in(_CONTRACT_FILE)
    return tree


def operations_of(profile: Profile) -> dict[str, Operation]:
    """The operations of a profile that go over HTTP, by name."""
    made: dict[str, Operation] = {}
    dialects: dict[str, Dialect] = {}
    for name, backing in profile.operations.items():
        if backing not in (CONTRACT, DOCUMENTED):
            continue
        tree = contract_tree() if backing == CONTRACT else profile.rest
        if backing not in dialects:
            dialects[backing] = Dialect.of(tree, profile.kinds)
        made[name] = Operation(name, tree["operations"][name], dialects[backing])
    return made


def error_reader(profile: Profile) -> Errors:
    """The error envelopes of a profile: its own, and the contract's where an operation is backed by it."""
    trees = [profile.rest.get("errors", {})]
    if CONTRACT in profile.operations.values() or not trees[0]:
        trees.append(contract_tree()["errors"])
    failed = trees[0].get("failed_if")
    return Errors(
        first_text([path for tree in trees for path in tree.get("code", ())]),
        first_text([path for tree in trees for path in tree.get("message", ())]),
        conditions(failed) if failed else None,
        trees[0].get("statuses", {}),
    )


def _query_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
