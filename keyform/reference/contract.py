"""The routes of keyform's own key-service contract, which a dialect may speak in a vendor's manner.

The paths under /v1/keys, /v1/projects, /v1/verify and /v1/whoami are keyform's contract
(schemas/key-service.openapi.yaml) whichever service they manage: no vendor documents them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from . import bodies, moments
from .catalogue import Catalogue
from .records import Key, KeyRequest
from .refusal import Refusal, invalid
from .service import KeyService
from .verification import Caller, Verifier, refuse_over_limit
from .web import App, Errors, answer, bearer, body, new_app, page, parameters, window

_PROJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?", re.ASCII)
MANAGED = ("/v1/keys", "/v1/projects", "/v1/whoami")
"""Where the routes lie that need a management credential."""


def contract_error(refusal: Refusal) -> tuple[int, object]:
    """The contract's error envelope."""
    # The contract says no more of a key that cannot be used than that it is not valid.
    vague = {"missing_credential", "malformed_api_key"}
    code = "invalid_api_key" if refusal.code in vague else refusal.code
    return refusal.status, {"error": {"code": code, "message": refusal.message, "details": refusal.details}}


def plain_view(key: Key, now: int) -> dict[str, Any]:
    """The key as the contract shows it."""
    return key.view(now)


@dataclass(frozen=True, slots=True)
class Manners:
    """How a dialect speaks the contract.

    errors: the answer to a refusal. credential: reads the management credential of a request.
    managed: where the paths begin that need one. challenge: as WWW-Authenticate names it.
    view: a key at a moment (epoch milliseconds). admit: may refuse a create for reasons of the account.
    """

    errors: Errors = contract_error
    credential: Callable[[falcon.Request], str] = bearer
    managed: tuple[str, ...] = ("/",)
    challenge: str = "Bearer"
    view: Callable[[Key, int], dict[str, Any]] = plain_view
    admit: Callable[[KeyRequest], None] = lambda request: None


def build(
    service: KeyService, verifier: Verifier, catalogue: Catalogue, manners: Manners | None = None
) -> App:
    """The contract as an application, to which a dialect may add routes of its own."""
    manners = manners or Manners()
    app = new_app(manners.errors, challenge=manners.challenge)
    app.add_middleware(_Authentication(verifier, manners))
    app.add_route("/v1/whoami", _WhoAmI(service))
    app.add_route("/v1/keys", _Keys(service, catalogue, manners))
    app.add_route("/v1/keys/{key_id}", _Key(service, catalogue, manners))
    app.add_route("/v1/projects", _Projects(service))
    app.add_route("/v1/projects/{project_id}", _Project(service))
    app.add_route("/v1/verify", _Verify(verifier, service, manners))
    return app


def idempotency_key(req: falcon.Request) -> str | None:
    """The Idempotency-Key of a request; 422 for one that is too long or not printable."""
    found = req.get_header("Idempotency-Key")
    if found is not None and not _IDEMPOTENCY_KEY.fullmatch(found):
        raise invalid("Idempotency-Key", "Idempotency-Key must be 1 to 200 printable ASCII characters.")
    return found


class _Authentication:
    """Names the caller of every management route and counts the call, before anything else is looked at."""

    def __init__(self, verifier: Verifier, manners: Manners) -> None:
        self._verifier = verifier
        self._manners = manners

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        if req.path == "/v1/verify" or not req.path.startswith(self._manners.managed):
            return
        try:
            credential = self._manners.credential(req)
        except Refusal:
            # Without a credential, a path that does not exist is told first.
            if req.get_header("Authorization"):
                raise
            return
        req.context.caller = caller = self._verifier.caller(credential)
        allowance = self._verifier.take(caller)
        if allowance is not None:
            resp.set_headers(allowance.headers())
        refusal = refuse_over_limit(allowance)
        if refusal is not None:
            raise refusal

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: object, params: Mapping[str, str]
    ) -> None:
        managed = req.path != "/v1/verify" and req.path.startswith(self._manners.managed)
        if managed and getattr(req.context, "caller", None) is None:
            self._manners.credential(req)


class _WhoAmI:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        parameters(req)
        caller: Caller = req.context.caller
        answer(resp, {"key_id": caller.key_id, "now": moments.to_text(self._service.now())})


class _Keys:
    def __init__(self, service: KeyService, catalogue: Catalogue, manners: Manners) -> None:
        self._service = service
        self._catalogue = catalogue
        self._manners = manners

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        found = parameters(req, "limit", "cursor", "project")
        after, limit = window(found)
        keys = self._service.list_keys(after=after, limit=limit + 1, project=found.get("project"))
        now = self._service.now()
        views = [self._manners.view(key, now) for key in keys[:limit]]
        answer(resp, page([key.seq for key in keys], limit, views))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        parameters(req)
        marker = idempotency_key(req)
        request = bodies.key_request(body(req), self._catalogue)
        self._manners.admit(request)
        created = self._service.create_key(request, marker, _held(req))
        resp.status = 201
        if created.secret is None:
            resp.status = 200
            resp.set_header("Idempotency-Replayed", "true")
        shown = self._manners.view(created.key, self._service.now())
        answer(resp, {"key": shown, "secret": created.secret})


class _Key:
    def __init__(self, service: KeyService, catalogue: Catalogue, manners: Manners) -> None:
        self._service = service
        self._catalogue = catalogue
        self._manners = manners

    def on_get(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        parameters(req)
        self._show(resp, self._service.get_key(key_id))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        parameters(req)
        if not self._catalogue.mutable:
            message = "Keys of this service are never edited; create another one and revoke this one."
            raise Refusal(405, "method_not_allowed", message, headers={"Allow": "GET, DELETE"})
        changes = bodies.key_changes(body(req), self._catalogue)
        self._show(resp, self._service.update_key(key_id, changes, _held(req)))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        parameters(req)
        self._show(resp, self._service.revoke_key(key_id))

    def _show(self, resp: falcon.Response, key: Key) -> None:
        answer(resp, self._manners.view(key, self._service.now()))


class _Projects:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        after, limit = window(parameters(req, "limit", "cursor"))
        projects = self._service.list_projects(after=after, limit=limit + 1)
        views = [project.view() for project in projects[:limit]]
        answer(resp, page([project.seq for project in projects], limit, views))


class _Project:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response, project_id: str) -> None:
        parameters(req)
        answer(resp, self._service.get_project(project_id).view())

    def on_put(self, req: falcon.Request, resp: falcon.Response, project_id: str) -> None:
        parameters(req)
        if not _PROJECT_ID.fullmatch(project_id):
            message = "A project id is 1 to 100 letters, digits, dots, hyphens or underscores, no sign first."
            raise invalid("id", message)
        origins = bodies.project_origins(body(req))
        answer(resp, self._service.put_project(project_id, origins, _held(req)).view())


class _Verify:
    def __init__(self, verifier: Verifier, service: KeyService, manners: Manners) -> None:
        self._verifier = verifier
        self._service = service
        self._manners = manners

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        parameters(req)
        key, allowance = self._verifier.verify(bodies.asked(body(req), req.get_header("Origin")))
        if allowance is not None:
            resp.set_headers(allowance.headers())
        shown = self._manners.view(key, self._service.now())
        named = {name: shown[name] for name in ("kind", "environment", "project", "scopes")}
        answer(resp, {"valid": True, "key_id": key.id, **named})


def _held(req: falcon.Request) -> frozenset[str] | None:
    """The scopes of the caller; None for all."""
    caller: Caller = req.context.caller
    return caller.scopes
