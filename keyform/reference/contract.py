"""The dialect of keyform's own key-service contract: routes, bearer credential, error envelope."""

from __future__ import annotations

import base64
import json
import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import falcon

from . import bodies, moments
from .records import Key, Project
from .refusal import Refusal, invalid
from .service import KeyService
from .verification import Caller, Verifier, refuse_over_limit

_log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 * 1024
_PROJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?", re.ASCII)
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 500: "internal_error"}


def build(service: KeyService, verifier: Verifier) -> falcon.App[falcon.Request, falcon.Response]:
    """The contract as a falcon application."""
    app = falcon.App(middleware=[_Authentication(verifier)])
    app.add_error_handler(Refusal, _answer_refusal)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(Exception, _answer_bug)
    app.add_route("/v1/whoami", _WhoAmI(service))
    app.add_route("/v1/keys", _Keys(service))
    app.add_route("/v1/keys/{key_id}", _Key(service))
    app.add_route("/v1/projects", _Projects(service))
    app.add_route("/v1/projects/{project_id}", _Project(service))
    app.add_route("/v1/verify", _Verify(verifier))
    return app


def bearer(header: str | None) -> str:
    """The credential in an Authorization header; 401 when there is none."""
    scheme, _, credential = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Refusal(401, "invalid_api_key", "Send the header `Authorization: Bearer <credential>`.")
    return credential.strip()


def envelope(refusal: Refusal) -> bytes:
    """The body of a refusal."""
    error = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
    return json.dumps({"error": error}).encode()


def cursor_after(seq: int) -> str:
    """The opaque cursor of the page that follows this sequence number."""
    return base64.urlsafe_b64encode(f"after:{seq}".encode()).decode().rstrip("=")


class _Authentication:
    """Names the caller of every management route and counts the call, before anything else is looked at."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        if req.path == "/v1/verify" or not req.get_header("Authorization"):
            return
        req.context.caller = caller = self._verifier.caller(bearer(req.get_header("Authorization")))
        allowance = self._verifier.take(caller)
        if allowance is not None:
            resp.set_headers(allowance.headers())
        refusal = refuse_over_limit(allowance)
        if refusal is not None:
            raise refusal

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: object, params: Mapping[str, str]
    ) -> None:
        if not isinstance(resource, _Verify) and getattr(req.context, "caller", None) is None:
            bearer(None)


class _WhoAmI:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _parameters(req)
        caller: Caller = req.context.caller
        _answer(resp, {"key_id": caller.key_id, "now": moments.to_text(self._service.now())})


class _Keys:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        parameters = _parameters(req, "limit", "cursor", "project")
        after, limit = _window(parameters)
        keys = self._service.list_keys(after=after, limit=limit + 1, project=parameters.get("project"))
        now = self._service.now()
        _answer(resp, _page(keys, limit, [key.view(now) for key in keys[:limit]]))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        _parameters(req)
        idempotency_key = req.get_header("Idempotency-Key")
        if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
            raise invalid("Idempotency-Key", "Idempotency-Key must be 1 to 200 printable ASCII characters.")
        created = self._service.create_key(bodies.key_request(_body(req)), idempotency_key, _held(req))
        resp.status = 201
        if created.secret is None:
            resp.status = 200
            resp.set_header("Idempotency-Replayed", "true")
        _answer(resp, {"key": created.key.view(self._service.now()), "secret": created.secret})


class _Key:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        _parameters(req)
        self._show(resp, self._service.get_key(key_id))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        _parameters(req)
        self._show(resp, self._service.update_key(key_id, bodies.key_changes(_body(req)), _held(req)))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        _parameters(req)
        self._show(resp, self._service.revoke_key(key_id))

    def _show(self, resp: falcon.Response, key: Key) -> None:
        _answer(resp, key.view(self._service.now()))


class _Projects:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        after, limit = _window(_parameters(req, "limit", "cursor"))
        projects = self._service.list_projects(after=after, limit=limit + 1)
        _answer(resp, _page(projects, limit, [project.view() for project in projects[:limit]]))


class _Project:
    def __init__(self, service: KeyService) -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response, project_id: str) -> None:
        _parameters(req)
        _answer(resp, self._service.get_project(project_id).view())

    def on_put(self, req: falcon.Request, resp: falcon.Response, project_id: str) -> None:
        _parameters(req)
        if not _PROJECT_ID.fullmatch(project_id):
            message = "A project id is 1 to 100 letters, digits, dots, hyphens or underscores, no sign first."
            raise invalid("id", message)
        origins = bodies.project_origins(_body(req))
        _answer(resp, self._service.put_project(project_id, origins, _held(req)).view())


class _Verify:
    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        _parameters(req)
        asked = bodies.asked(_body(req), req.get_header("Origin"))
        key, allowance = self._verifier.verify(asked)
        if allowance is not None:
            resp.set_headers(allowance.headers())
        answer = {"valid": True, "key_id": key.id, "kind": key.kind, "environment": key.environment}
        _answer(resp, answer | {"project": key.project, "scopes": key.scopes})


def _held(req: falcon.Request) -> frozenset[str] | None:
    """The scopes of the caller; None for all."""
    caller: Caller = req.context.caller
    return caller.scopes


def _body(req: falcon.Request) -> dict[str, Any]:
    # One byte more than allowed tells a body that is too large, whatever its headers claim.
    content = req.bounded_stream.read(_MAX_BODY_BYTES + 1)
    if len(content) > _MAX_BODY_BYTES:
        raise Refusal(413, _CODES[413], f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    return bodies.parse(content)


def _parameters(req: falcon.Request, *known: str) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    for name, value in req.params.items():
        if name not in known:
            raise invalid(name, f"There is no query parameter {name[:40]!r} here.")
        if isinstance(value, list):
            raise invalid(name, f"The query parameter {name} is given more than once.")
        parameters[name] = value
    return parameters


def _window(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Where a page starts after, and how many entries it holds."""
    limit = parameters.get("limit", "100")
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= 1000:
        raise invalid("limit", "limit must be a whole number from 1 to 1000.")
    cursor = parameters.get("cursor")
    return (0 if cursor is None else _position(cursor)), int(limit)


def _position(cursor: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        seq = int(text.removeprefix("after:"))
        if cursor_after(seq) == cursor and 0 <= seq < 2**63:
            return seq
    except ValueError:
        pass
    raise invalid("cursor", "This cursor did not come from next_cursor; start again without one.")


def _page(entries: Sequence[Key] | Sequence[Project], limit: int, views: list[dict[str, Any]]) -> object:
    more = len(entries) > limit
    return {"data": views, "next_cursor": cursor_after(entries[limit - 1].seq) if more else None}


def _answer(resp: falcon.Response, document: object) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(document).encode()
    # Answers hold secrets and states of keys; neither belongs into a cache.
    resp.set_header("Cache-Control", "no-store")


def _answer_refusal(req: falcon.Request, resp: falcon.Response, refusal: Refusal, params: object) -> None:
    resp.status = refusal.status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = envelope(refusal)
    if refusal.status == 401:
        resp.set_header("WWW-Authenticate", "Bearer")
    resp.set_headers(refusal.headers)


def _answer_http_error(
    req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: object
) -> None:
    # Falcon's own refusals: no such route, no such method.
    status = 405 if error.status_code == 400 else error.status_code
    message = {
        404: "There is nothing at this path.",
        405: "This path does not take this method; the header Allow names those it takes.",
    }
    code = _CODES.get(status, "invalid_request")
    refusal = Refusal(
        status, code, message.get(status, "The request cannot be read."), headers=dict(error.headers or ())
    )
    _answer_refusal(req, resp, refusal, params)


def _answer_bug(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    # Where and what kind only: the text of an error might quote the request, and that may hold a secret.
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s while serving %s %s\n%s", type(error).__name__, req.method, req.uri_template, where)
    message = f"The service failed ({type(error).__name__}); the fault is its own."
    _answer_refusal(req, resp, Refusal(500, _CODES[500], message), params)
