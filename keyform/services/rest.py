"""The :class:`~keyform.ports.Service` port over the calls that a profile describes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from keyform.diagnostics import Diagnostic, error
from keyform.errors import AnswerLost, Refused, ServiceError
from keyform.model import REVOKED, SPEC_FIELDS, KeySpec, LiveKey, LiveProject, Secret
from keyform.ports import Clock, Listing, Minted
from keyform.profile import Profile
from keyform.services.calls import CREATE, READ, WRITE, Answer
from keyform.services.dialect import Operation
from keyform.services.fields import Unintelligible, conditions, told_id_reader
from keyform.services.http import Http
from keyform.services.origins import Origins
from keyform.services.paging import Entry, Pages, Patience
from keyform.services.parents import Parents, inside
from keyform.services.paths import compile_path
from keyform.services.proof import prove
from keyform.services.readers import read_id, secret_reader
from keyform.services.updates import Update

_T = TypeVar("_T", bound=Entry)
_R = TypeVar("_R")


class RestService:
    """A key service whose profile describes every call. ``operations``: those that go over HTTP."""

    def __init__(
        self,
        name: str,
        profile: Profile,
        operations: Mapping[str, Operation],
        http: Http,
        clock: Clock,
        options: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.profile = profile
        self._operations = operations
        self._http = http
        self._clock = clock
        self._options = {
            f"options.{option}": value
            for option, value in options.items()
            if not isinstance(value, Secret)  # those are for a login alone
        }
        self._tried: set[str] = set()  # labels that a create has gone out with
        self._tried_lock = threading.Lock()
        self._origins = Origins(self, operations) if "get_origins" in operations else None
        listing = operations.get("list")
        self._parents = Parents(self, listing) if listing and "parents" in listing.tree else None

    def list(self) -> Listing:
        keys: tuple[LiveKey, ...] = ()
        problem: Diagnostic | None = None
        if self.profile.lists:
            keys, problem = self._keys()
        projects: tuple[LiveProject, ...] = ()
        if problem is None and self._origins is not None:
            projects, problem = self._origins.list()
        return Listing(keys, projects, complete=problem is None, problem=problem)

    def create(self, spec: KeySpec, label: str) -> Minted:
        operation = self.operation("create")
        again = self.profile.idempotent
        if not again and (earlier := self._earlier(label)) is not None:
            return Minted(earlier, None)
        values = self.values(operation, spec, label)
        call = operation.call(self.name, "creating a key", values, CREATE, repeatable=again)
        try:
            key, secret = self._created(operation, "creating a key", self._http.call(call).body, spec, label)
        except AnswerLost as lost:
            if again or (found := self._find(label)) is None:
                raise
            return Minted(found, None, lost.diagnostics[0])
        if "key" not in operation.tree:
            key = self._as_shown(key)
        return Minted(key, secret)

    def update(self, key: LiveKey, spec: KeySpec, fields: frozenset[str]) -> LiveKey:
        operation = self.operation("update")
        update = Update(operation, fields, self.profile.mutable)
        wanted = replace(key.spec, **{field: getattr(spec, field) for field in fields})
        values = self.values(operation, wanted, key.label, key.spec) | self.parts_of(key.id)
        doing = f"changing key {key.id}"
        body: Any = None
        for part in update.calls(key.spec, wanted):
            more = {"next_steps": operation.next_steps}
            body = self.send(part.operation, doing, {**values, **part.values}, WRITE, **more)
        if update.rest:
            present = self._raw(key.id) if update.merges else None
            made = update.body(values, present)
            call = operation.call(self.name, doing, values, WRITE, body=made)
            body = self._http.call(call).body
            if operation.read_key is not None:
                shown = self.understood(doing, operation.read_key, body)
                return self._placed(shown, wanted.project)
        return self._as_shown(replace(key, spec=wanted))

    def reroll(self, key_id: str, spec: KeySpec, overlap: timedelta, label: str) -> Minted:
        operation = self.operation("reroll")
        seconds = int(overlap.total_seconds())
        spans = {
            "overlap.ms": seconds * 1000,
            "overlap.seconds": seconds,
            "overlap.hours": -(-seconds // 3600),
        }
        values = self.values(operation, spec, label) | self.parts_of(key_id) | spans
        doing = f"rotating key {key_id}"
        body = self.send(operation, doing, values, CREATE, repeatable=False)
        key, secret = self._created(operation, doing, body, spec, label)
        if secret is None:
            raise AnswerLost(
                f"service {self.name!r}: {doing} failed: the answer holds no secret",
                "It may have been carried out all the same; apply again, and keyform looks.",
            )
        return Minted(key, secret)

    def revoke(self, key_id: str) -> None:
        operation = self.operation("revoke")
        doing = f"revoking key {key_id}"
        try:
            body = self.send(operation, doing, self.parts_of(key_id), WRITE)
        except Refused as refused:
            # A missing route is a 404 too, and some services hide a missing right behind one.
            if operation.done_already(refused) or (operation.masked(refused) and self._is_gone(key_id)):
                return
            raise
        status = ""
        if operation.read_key is not None:
            status = self.understood(doing, operation.read_key, body).status
        if status not in ("", REVOKED) or (operation.expects and not operation.expects(body)):
            shown = f"it is shown as {status}" if status else "the answer does not say that it was"
            raise ServiceError(
                f"service {self.name!r}: {doing} failed: {shown}",
                "Ask whoever runs the service; the key may still work.",
            )

    def prove(self, secret: Secret, key: LiveKey) -> str | None:
        origins = self._origins.of if self._origins is not None else None
        return prove(self, self.operation("prove"), self._http, secret, key, origins)

    def set_origins(self, project: str, origins: tuple[str, ...]) -> None:
        if self._origins is None:
            raise ServiceError(f"service {self.name!r} has no call that sets origins", "Remove them.")
        self._origins.set(project, origins)

    def own_key(self) -> str | None:
        if not self.profile.lists:
            self._http.sign_in()  # nothing else shows, before a change, that a login is wrong
        operation = self._operations.get("own_key")
        if operation is None or not self.names_keys(operation):
            return None
        doing = "asking for keyform's own key"
        return self.told_id(operation, doing, self.send(operation, doing, {}, READ))

    def clock_skew(self) -> timedelta | None:
        return self._http.clock_skew()

    def close(self) -> None:
        self._http.close()

    # What the parts of this service, and classes that add to it, are made of

    def operation(self, name: str) -> Operation:
        """An operation of the profile. Raises ``ServiceError`` where the service has none."""
        found = self._operations.get(name)
        if found is None:
            raise ServiceError(
                f"service {self.name!r} has no call for `{name}`",
                f"`keyform services {self.profile.type}` shows what it has.",
            )
        return found

    def send(
        self, operation: Operation, doing: str, values: Mapping[str, Any], effect: str, **more: Any
    ) -> Any:
        """Carry out a call; the parsed body of its answer. Raises ``ServiceError``."""
        call = operation.call(self.name, doing, {**self._options, **values}, effect, **more)
        return self._http.call(call).body

    def walk(
        self,
        operation: Operation,
        doing: str,
        read: Callable[[object], _T],
        given: Mapping[str, Any] = MappingProxyType({}),
        patience: Patience | None = None,
    ) -> tuple[tuple[_T, ...], Diagnostic | None]:
        """Every entry of a listing, in the service's order, and why some may be missing. ``given``: what
        placeholders stand for beside those of a page; ``patience``: that of the listing which this is part
        of."""

        page = ""  # where the page before was had, which a link may be relative to

        def fetch(values: Mapping[str, Any], link: str | None) -> Answer:
            nonlocal page
            call = operation.call(self.name, doing, {**self._options, **given, **values})
            if link is not None:
                call = replace(call, path=self._http.within(link, page), params=None)
            page = call.path
            return self._http.call(call)

        where = conditions(operation.tree["where"]) if "where" in operation.tree else lambda raw: True
        patience = patience or self.patience(doing)
        found, why = Pages(operation.tree).walk(fetch, read, where, patience)
        if why is None:
            return found, None
        return found, error(
            "incomplete-listing",
            f"service {self.name!r}: {doing} is incomplete: {why}",
            "What is missing from it may well exist, so nothing is concluded from its absence. Try again.",
        )

    def patience(self, doing: str) -> Patience:
        """How long a listing that begins now may take."""
        return Patience(self._clock, f"service {self.name!r}: {doing}")

    def parts_of(self, key_id: str) -> dict[str, str]:
        """What stands for a key in a call: its ``id``, and its ``project`` if that counts."""
        return {"id": key_id} if self._parents is None else self._parents.parts(key_id)

    def names_keys(self, operation: Operation) -> bool:
        """Whether the answer to an operation says which key it is about, in full."""
        return "id" in operation.tree and (self._parents is None or "parent" in operation.tree)

    def told_id(self, operation: Operation, doing: str, body: Any) -> str | None:
        """The id of the key that an answer speaks of; None where it names none. Raises ``ServiceError`` where
        it names something else."""
        try:
            if self._parents is not None:
                return self._parents.id_in(operation.tree, body)
            return told_id_reader(operation.tree["id"])(body)
        except Unintelligible as problem:
            what = str(problem)
        raise ServiceError(
            f"service {self.name!r}: {doing} failed: the answer holds {what}",
            f"Check `{operation.name}.id` of the profile: it says where the answer names the key.",
        )

    def understood(self, doing: str, read: Callable[[object], _R], body: Any) -> _R:
        """What an answer to a change says. Raises ``AnswerLost`` when it makes no sense."""
        try:
            return read(body)
        except Unintelligible as problem:
            what = str(problem)
        raise AnswerLost(
            f"service {self.name!r}: {doing} failed: the answer holds {what}",
            "It may have been carried out all the same. Check that the `endpoint` is a key service.",
        )

    def values(
        self, operation: Operation, spec: KeySpec, label: str | None, before: KeySpec | None = None
    ) -> dict[str, Any]:
        """What the placeholders of an operation stand for; ``before`` is the key that an update changes.
        Holds no credential, but every option."""
        return self._options | operation.dialect.speech.values(spec, label, self._clock.now(), before)

    def _keys(self) -> tuple[tuple[LiveKey, ...], Diagnostic | None]:
        if self._parents is not None:
            return self._parents.keys()
        operation = self.operation("list")
        return self.walk(operation, "listing the keys", operation.key)

    def _placed(self, key: LiveKey, project: str | None) -> LiveKey:
        return key if self._parents is None else inside(project or "", key)

    def _created(
        self, operation: Operation, doing: str, body: Any, spec: KeySpec, label: str
    ) -> tuple[LiveKey, Secret | None]:
        tree = operation.tree
        if operation.read_key is not None:
            key = self.understood(doing, operation.read_key, body)
            asked = {field: getattr(spec, field) for field in SPEC_FIELDS if field not in operation.mapping}
            key = replace(key, spec=replace(key.spec, **asked)) if asked else key
        else:
            key_id = self.understood(doing, read_id(tree["id"]), body)
            key = LiveKey(key_id, spec, label=label if self.profile.marks else None)
        return self._placed(key, spec.project), self.understood(doing, secret_reader(tree["secret"]), body)

    def _as_shown(self, key: LiveKey) -> LiveKey:
        """The key as the service shows it, where a single key can be read; else as it was asked for. A
        failed read changes nothing about the key, so it is no failure; the next listing tells."""
        try:
            return self._one(key.id) or key
        except ServiceError:
            return key

    def _one(self, key_id: str) -> LiveKey | None:
        if "read" not in self._operations:
            return None
        operation = self.operation("read")
        parts = self.parts_of(key_id)
        body = self.send(operation, f"reading key {key_id}", parts, READ)
        key = self.understood(f"reading key {key_id}", operation.read_key or operation.key, body)
        return self._placed(key, parts.get("project"))

    def _raw(self, key_id: str) -> dict[str, Any]:
        operation = self.operation("read")
        body = self.send(operation, f"reading key {key_id}", self.parts_of(key_id), READ)
        found = compile_path(operation.tree.get("key", ""))(body)
        if type(found) is not dict:
            raise ServiceError(
                f"service {self.name!r}: changing key {key_id} failed: it cannot be read as a whole first",
                "Nothing was changed. Check the `read` operation of the profile.",
            )
        return found

    def _earlier(self, label: str) -> LiveKey | None:
        """The key of an earlier create with this label, where the service itself would not recognise it."""
        with self._tried_lock:
            first = label not in self._tried
            self._tried.add(label)
        return None if first else self._find(label)

    def _find(self, label: str) -> LiveKey | None:
        if not (self.profile.marks and "list" in self._operations):
            return None
        try:
            keys = self._keys()[0]
        except ServiceError:
            return None
        return next((key for key in keys if key.label == label), None)

    def _is_gone(self, key_id: str) -> bool:
        """Whether a whole listing shows the key no more, or as revoked."""
        if "list" not in self._operations:
            return False
        keys, problem = self._keys()
        return problem is None and not any(key.id == key_id and key.status != REVOKED for key in keys)
