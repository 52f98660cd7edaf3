"""A key service that speaks keyform's key-service contract (``schemas/key-service.openapi.yaml``)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar
from urllib.parse import quote

from keyform.diagnostics import Diagnostic, error
from keyform.errors import AnswerLost, Refused, ServiceError, Unreachable
from keyform.model import KeySpec, LiveKey, LiveProject, Secret
from keyform.ports import Listing, Minted
from keyform.profile import Profile
from keyform.services import wire
from keyform.services.failures import CREATE, READ, WRITE
from keyform.services.http import Call, Http

_PAGE = 1000
_MOST_PAGES = 10_000
_MOST_ENTRIES = 200_000
_MOST_BYTES = 256 << 20
_CANNOT_BE_USED = (401, 403, 404)

_PROOF_STEPS = {
    401: "The new secret does not work: the service may need a moment, or gave out a wrong one.",
    403: "The secret is known but refused; for a public key check its allowed origins.",
    429: "The key's own rate limit refuses its first use; give it a higher one.",
}


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_Entry)
_R = TypeVar("_R")


class ContractService:
    """The :class:`~keyform.ports.Service` port over the contract."""

    def __init__(self, name: str, profile: Profile, http: Http) -> None:
        self.name = name
        self.profile = profile
        self._http = http
        self._origins: dict[str, tuple[str, ...]] = {}  # projects as last seen, for proofs
        self._origins_lock = threading.Lock()

    def list(self) -> Listing:
        keys, problem = self._walk("listing the keys", "/v1/keys", wire.live_key)
        projects: tuple[LiveProject, ...] = ()
        if problem is None:
            projects, problem = self._walk("listing the projects", "/v1/projects", wire.live_project)
            self._remember(*projects)
        return Listing(keys, projects, complete=problem is None, problem=problem)

    def create(self, spec: KeySpec, label: str) -> Minted:
        call = Call(
            "creating a key",
            "POST",
            "/v1/keys",
            CREATE,
            body=wire.key_body(spec, label),
            headers={"Idempotency-Key": idempotency_key(label)},
            next_steps={409: "An earlier create with this marker asked for something else; apply again."},
        )
        body = self._http.call(call).body
        try:
            raw = body if isinstance(body, dict) else {}
            key, secret = wire.live_key(raw.get("key")), wire.secret(raw.get("secret"))
        except wire.Unintelligible as problem:
            what = str(problem)
        else:
            return Minted(key, secret)
        raise AnswerLost(
            f"service {self.name!r}: creating a key failed: the answer holds {what}",
            "The key may exist all the same. Check that the service's `endpoint` is a key service.",
        )

    def update(self, key: LiveKey, spec: KeySpec, fields: frozenset[str]) -> LiveKey:
        named = [name for name in wire.CHANGEABLE if name in fields]
        call = Call(
            f"changing key {key.id}",
            "PATCH",
            f"/v1/keys/{self._segment(key.id)}",
            WRITE,
            body=wire.changed_fields(spec, named, key.label),
            next_steps={404: "The key is gone from the service; plan again."},
        )
        return self._read(call, wire.live_key)

    def revoke(self, key_id: str) -> None:
        call = Call(f"revoking key {key_id}", "DELETE", f"/v1/keys/{self._segment(key_id)}", WRITE)
        try:
            shown = self._read(call, wire.live_key)
        except Refused as refused:
            # A missing route is a 404 too; only the service's own word says that the key is gone.
            if refused.status == 404 and refused.reason == "not_found":
                return
            raise
        if shown.status != "revoked":
            raise ServiceError(
                f"service {self.name!r}: revoking key {key_id} failed: it is shown as {shown.status}",
                "Ask whoever runs the service; the key still works.",
            )

    def prove(self, secret: Secret, key: LiveKey) -> str | None:
        body: dict[str, str] = {"key": secret.reveal()}
        origin = self._origin(key)
        if origin is not None:
            body["origin"] = origin
        # The secret itself is what is tried: no credential, and the key's own rate limit counts.
        call = Call(
            f"proving key {key.id}",
            "POST",
            "/v1/verify",
            READ,
            body=body,
            managed=False,
            secret=secret,
            next_steps=_PROOF_STEPS,
        )
        answer = self._http.call(call).body
        if isinstance(answer, dict) and answer.get("valid") is True:
            key_id = answer.get("key_id")
            return key_id if isinstance(key_id, str) else None
        raise ServiceError(
            f"service {self.name!r}: proving key {key.id} failed: the answer does not say that it works",
            "Check that the service's `endpoint` is a key service.",
        )

    def clock_skew(self) -> timedelta | None:
        return self._http.clock_skew()

    def set_origins(self, project: str, origins: tuple[str, ...]) -> None:
        call = Call(
            f"setting the origins of project {project}",
            "PUT",
            f"/v1/projects/{self._segment(project)}",
            WRITE,
            body={"allowed_origins": list(origins)},
        )
        shown = self._read(call, wire.live_project)
        self._remember(shown)
        if set(shown.allowed_origins) != set(origins):
            raise ServiceError(
                f"service {self.name!r}: project {project} does not have the origins that were set",
                "Ask whoever runs the service; plan again to see what it has.",
            )

    def own_key(self) -> str | None:
        answer = self._http.call(Call("asking for keyform's own key", "GET", "/v1/whoami")).body
        key_id = answer.get("key_id") if isinstance(answer, dict) else None
        return key_id if isinstance(key_id, str) else None

    def close(self) -> None:
        self._http.close()

    def _walk(
        self, doing: str, path: str, read: Callable[[object], _T]
    ) -> tuple[tuple[_T, ...], Diagnostic | None]:
        """Every entry of a listing, in the service's order, and why some may be missing."""
        found: dict[str, _T] = {}
        cursors: set[str | None] = {None}
        cursor: str | None = None
        seen = size = 0
        for number in range(1, _MOST_PAGES + 1):
            params: dict[str, str | int] = {"limit": _PAGE}
            if cursor is not None:
                params["cursor"] = cursor
            try:
                answer = self._http.call(Call(doing, "GET", path, params=params))
                page, cursor = wire.page(answer.body)
                seen, size = seen + len(page), size + answer.size
                if seen > _MOST_ENTRIES or size > _MOST_BYTES:
                    return tuple(found.values()), self._gap(
                        doing, f"it has not ended after {_MOST_ENTRIES} entries or {_MOST_BYTES >> 20} MiB"
                    )
                entries = {entry.id: entry for entry in map(read, page)}
                if len(entries) < len(page) or not found.keys().isdisjoint(entries):
                    # Whatever shifted while the pages were read may have pushed another entry out of sight.
                    return tuple(found.values()), self._gap(doing, f"page {number} repeats an id")
                found.update(entries)
            except wire.Unintelligible as problem:
                return tuple(found.values()), self._gap(doing, f"page {number} holds {problem}")
            except (Refused, Unreachable) as problem:
                first = number == 1
                if first and (isinstance(problem, Unreachable) or problem.status in _CANNOT_BE_USED):
                    raise
                return tuple(found.values()), self._gap(doing, f"page {number}: {problem}")
            except ServiceError as problem:
                return tuple(found.values()), self._gap(doing, f"page {number}: {problem}")
            if cursor is None:
                return tuple(found.values()), None
            if cursor in cursors:
                return tuple(found.values()), self._gap(
                    doing, f"page {number} points back to an earlier page"
                )
            cursors.add(cursor)
        return tuple(found.values()), self._gap(doing, f"it has not ended after {_MOST_PAGES} pages")

    def _gap(self, doing: str, why: str) -> Diagnostic:
        return error(
            "incomplete-listing",
            f"service {self.name!r}: {doing} is incomplete: {why}",
            "What is missing from it may well exist, so nothing is concluded from its absence. Try again.",
        )

    def _read(self, call: Call, read: Callable[[object], _R]) -> _R:
        body = self._http.call(call).body
        try:
            return read(body)
        except wire.Unintelligible as problem:
            what = str(problem)
        raise AnswerLost(
            f"service {self.name!r}: {call.doing} failed: the answer holds {what}",
            "It may have been carried out all the same. Check that the `endpoint` is a key service.",
        )

    def _origin(self, key: LiveKey) -> str | None:
        """An origin that a key may be used from, or None for a key that is not bound to any."""
        if key.spec.allowed_origins:
            return key.spec.allowed_origins[0]
        kind = self.profile.kinds.get(key.spec.kind or "")
        project = key.spec.project
        if project is None or kind is None or kind.origins == "forbidden":
            return None
        with self._origins_lock:
            origins = self._origins.get(project)
        if origins is None:
            call = Call(f"reading project {project}", "GET", f"/v1/projects/{self._segment(project)}")
            shown = self._read(call, wire.live_project)
            self._remember(shown)
            origins = shown.allowed_origins
        return origins[0] if origins else None

    def _remember(self, *projects: LiveProject) -> None:
        with self._origins_lock:
            self._origins.update((project.id, project.allowed_origins) for project in projects)

    def _segment(self, text: str) -> str:
        """An id as one segment of a path, which it cannot leave."""
        if text in ("", ".", ".."):
            raise ServiceError(
                f"service {self.name!r}: {text!r} is no id", "Check the ids in the configuration."
            )
        return quote(text, safe="")


def idempotency_key(label: str) -> str:
    """The Idempotency-Key of the create that carries an ownership label: always the same for the same."""
    return "keyform-" + hashlib.sha256(label.encode()).hexdigest()
