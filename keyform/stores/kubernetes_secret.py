"""What a Secret of Kubernetes holds, and the bodies of requests that change one field of it.

keyform notes the labels of its fields in one annotation, ``keyform/fields``, since a field's name may be
longer than the name of an annotation. The annotation ``keyform/created`` marks a Secret that keyform made.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets as _random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret

MANAGER = "keyform"
FIELDS, MADE = "keyform/fields", "keyform/created"
LARGEST = 1 << 20  # bytes of all values together, MaxSecretSize of Kubernetes's API
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_FIELD = re.compile(r"(?!\.\.)(?!\.\Z)[-._a-zA-Z0-9]{1,253}\Z")
CANARY = "keyform-canary"
"""The Secret that all probes share, each with a field of its own, so that a role may be bound to names."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value lives in the cluster."""

    namespace: str
    name: str
    field: str

    @property
    def collection(self) -> str:
        """The path of the namespace's Secrets in the API."""
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    @property
    def path(self) -> str:
        """The path of the Secret in the API."""
        return f"{self.collection}/{self.name}"


def spot(store: str, place: Place, namespace: str | None, usual_field: str | None) -> Spot:
    """The spot of a place: its path is ``NAMESPACE/NAME``, or ``NAME`` where there is a ``namespace``.
    Raises ``StoreError``."""

    def refuse(why: str, do: str) -> StoreError:
        return StoreError(f"Store {store!r} cannot keep {place}: {why}", do)

    left, slash, name = place.path.rpartition("/")
    within = left if slash else namespace
    key = usual_field if place.field is None else place.field
    if within is None:
        raise refuse(
            "it names no namespace",
            f"Write NAMESPACE/{name}, or set `namespace` in the store's options.",
        )
    if not _NAMESPACE.match(within):
        raise refuse(
            f"{within!r} is no name of a namespace",
            "The path is NAMESPACE/NAME or NAME. A namespace has at most 63 lower-case letters, digits and "
            "hyphens, and begins and ends with a letter or digit.",
        )
    if not _NAME.match(name):
        raise refuse(
            f"{name[:80]!r} is no name of a Secret",
            "It has at most 253 lower-case letters, digits, hyphens and dots, and each part between dots "
            "begins and ends with a letter or digit.",
        )
    if key is None:
        raise refuse(
            "it names no field of the Secret",
            f"Write `secret: {{path: {place.path}, field: …}}`, or set `field` in the store's options.",
        )
    if not _FIELD.match(key):
        raise refuse(
            f"{key[:80]!r} is no name of a field",
            "It has at most 253 letters, digits, hyphens, dots and underscores, and does not begin with two "
            "dots.",
        )
    return Spot(within, name, key)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the store's options say of its Secrets. ``type`` None: ``Opaque``, or as it is."""

    type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class Found:
    """A Secret as the API server gave it."""

    __slots__ = ("_body", "_data", "_meta")

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._meta: Mapping[str, Any] = body.get("metadata") or {}
        # An empty value may come as null.
        self._data = {name: text or "" for name, text in (body.get("data") or {}).items()}

    @property
    def type(self) -> str:
        return str(self._body.get("type", "Opaque"))

    @property
    def immutable(self) -> bool:
        return self._body.get("immutable") is True

    @property
    def going(self) -> bool:
        """Whether it is deleted, and only waits for a finalizer."""
        return "deletionTimestamp" in self._meta

    def raw(self, name: str) -> bytes | None:
        """The bytes of a field."""
        return base64.b64decode(self._data[name]) if name in self._data else None

    def size_with(self, name: str, value: bytes) -> int:
        """Bytes of all values together once the field holds ``value``."""
        others = (text for other, text in self._data.items() if other != name)
        return sum(len(base64.b64decode(text)) for text in others) + len(value)

    def labels(self, name: str) -> dict[str, str]:
        """The labels that the field was written with."""
        labels = self._noted(name).get("labels")
        return {str(k): str(v) for k, v in labels.items()} if isinstance(labels, dict) else {}

    def version(self, name: str) -> str:
        """Another one after every write of keyform's, and after a change of the value by anybody."""
        salt = f"{self._meta.get('uid')} {self._noted(name).get('write')} "
        return hashlib.sha256(salt.encode() + (self.raw(name) or b"")).hexdigest()[:16]

    def alone(self, name: str) -> bool:
        """Whether keyform made the Secret and nothing is left of it without this field."""
        made = self._annotations().get(MADE) == "true"
        return made and self._data.keys() <= {name} and not self._meta.get("finalizers")

    def preconditions(self) -> dict[str, str]:
        """What a deletion goes by, so that it takes exactly this state of the Secret."""
        return {"uid": self._meta["uid"], "resourceVersion": self._meta["resourceVersion"]}

    def with_field(
        self, where: Spot, secret: Secret, labels: Mapping[str, str], wanted: Wanted
    ) -> dict[str, Any]:
        """The body of a server-side apply onto this state that sets the field. It repeats what keyform set
        before, since an apply takes away what it leaves out."""
        own = self._own_fields()
        body = _body(where, secret, {**self._notes(), where.field: _note(labels)}, wanted)
        body["type"] = self.type
        body["data"] = {name: text for name, text in self._data.items() if name in own} | body["data"]
        body["metadata"]["resourceVersion"] = self._meta["resourceVersion"]
        if MADE in self._annotations():
            body["metadata"]["annotations"][MADE] = "true"
        return body

    def without_field(self, name: str) -> dict[str, Any]:
        """A merge patch onto this state that takes the field away."""
        notes = {other: note for other, note in self._notes().items() if other != name}
        return {
            "metadata": {
                "resourceVersion": self._meta["resourceVersion"],
                "annotations": {FIELDS: _json(notes) if notes else None},
            },
            "data": {name: None},
        }

    def as_applied(self) -> dict[str, Any] | None:
        """A merge patch that counts what keyform wrote without an apply (the creation, a deletion) as
        applied, or None. Else an apply would be refused what keyform itself owns, and could not take it
        away again."""
        managed: list[dict[str, Any]] = self._meta.get("managedFields") or []
        mine = [m for m in managed if m.get("manager") == MANAGER and not m.get("subresource")]
        if not any(m.get("operation") == "Update" for m in mine):
            return None
        merged: dict[str, Any] = {}
        for entry in mine:
            _unite(merged, entry.get("fieldsV1") or {})
        entry = {**mine[0], "operation": "Apply", "fieldsV1": merged}
        others = [m for m in managed if m not in mine]
        return {
            "metadata": {
                "resourceVersion": self._meta["resourceVersion"],
                "managedFields": [*others, entry],
            }
        }

    def _own_fields(self) -> set[str]:
        applied: Iterable[Mapping[str, Any]] = (
            m.get("fieldsV1") or {}
            for m in self._meta.get("managedFields") or ()
            if m.get("manager") == MANAGER and m.get("operation") == "Apply"
        )
        return {key.removeprefix("f:") for fields in applied for key in fields.get("f:data") or ()}

    def _annotations(self) -> Mapping[str, str]:
        return self._meta.get("annotations") or {}

    def _notes(self) -> dict[str, Any]:
        try:
            notes = json.loads(self._annotations().get(FIELDS, "{}"))
        except ValueError:
            return {}
        return notes if isinstance(notes, dict) else {}

    def _noted(self, name: str) -> Mapping[str, Any]:
        note = self._notes().get(name)
        return note if isinstance(note, dict) else {}


def created(where: Spot, secret: Secret, labels: Mapping[str, str], wanted: Wanted) -> dict[str, Any]:
    """The body that creates a Secret with one field."""
    body = _body(where, secret, {where.field: _note(labels)}, wanted)
    body["type"] = wanted.type or "Opaque"
    body["metadata"]["annotations"][MADE] = "true"
    return body


def _body(where: Spot, secret: Secret, notes: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": where.name,
            "namespace": where.namespace,
            "labels": dict(wanted.labels),
            "annotations": {**wanted.annotations, FIELDS: _json(notes)},
        },
        "data": {where.field: base64.b64encode(secret.reveal().encode()).decode()},
    }


def _note(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"labels": dict(labels), "write": _random.token_hex(4)}


def _json(notes: Mapping[str, Any]) -> str:
    return json.dumps(notes, sort_keys=True, separators=(",", ":"))


def _unite(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for key, inner in fields.items():
        _unite(into.setdefault(key, {}), inner)
