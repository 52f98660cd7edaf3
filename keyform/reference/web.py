"""What every dialect does the same over HTTP: bodies, query parameters, pages, answers, refusals."""

from __future__ import annotations

import base64
import json
import logging
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import falcon

from . import bodies
from .refusal import Refusal, invalid

_log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 * 1024
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 500: "internal_error"}

App: TypeAlias = "falcon.App[falcon.Request, falcon.Response]"
Errors = Callable[[Refusal], tuple[int, object]]
"""The status and the JSON document with which a service answers a refusal."""


def new_app(errors: Errors, *, challenge: str = "Bearer") -> App:
    """An application without routes, whose every error has the service's own form.

    challenge: the scheme that a 401 names in WWW-Authenticate.
    """

    def refuse(req: falcon.Request, resp: falcon.Response, refusal: Refusal, params: object) -> None:
        status, document = errors(refusal)
        resp.status = status
        resp.content_type = refusal.headers.pop("Content-Type", falcon.MEDIA_JSON)
        resp.data = json.dumps(document).encode()
        if status == 401:
            resp.set_header("WWW-Authenticate", challenge)
        resp.set_headers(refusal.headers)

    def refuse_request(
        req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: object
    ) -> None:
        refuse(req, resp, _falcon_refusal(error), params)

    def admit_bug(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
        # Where and what kind only: the text of an error might quote the request, and that may hold a secret.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s while serving %s %s\n%s", type(error).__name__, req.method, req.uri_template, where)
        message = f"The service failed ({type(error).__name__}); the fault is its own."
        refuse(req, resp, Refusal(500, _CODES[500], message), params)

    app: App = falcon.App()
    app.add_error_handler(Refusal, refuse)
    app.add_error_handler(falcon.HTTPError, refuse_request)
    app.add_error_handler(Exception, admit_bug)
    return app


def bearer(req: falcon.Request) -> str:
    """The credential in the Authorization header; 401 missing_credential when there is none."""
    scheme, _, credential = (req.get_header("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        message = "Send the header `Authorization: Bearer <credential>`."
        raise Refusal(401, "missing_credential", message)
    return credential.strip()


def header(req: falcon.Request, name: str) -> str:
    """The credential in a header of its own; 401 missing_credential when there is none."""
    credential = (req.get_header(name) or "").strip()
    if not credential:
        raise Refusal(401, "missing_credential", f"Send the header `{name}: <credential>`.")
    return credential


def body(req: falcon.Request) -> dict[str, Any]:
    """The JSON object in the body of a request; 413 and 422."""
    # One byte more than allowed tells a body that is too large, whatever its headers claim.
    content = req.bounded_stream.read(_MAX_BODY_BYTES + 1)
    if len(content) > _MAX_BODY_BYTES:
        raise Refusal(413, _CODES[413], f"The body is larger than {_MAX_BODY_BYTES} bytes.")
    return bodies.parse(content)


def parameters(req: falcon.Request, *known: str) -> Mapping[str, str]:
    """The query parameters; 422 for one that is not known or comes twice."""
    found: dict[str, str] = {}
    for name, value in req.params.items():
        if name not in known:
            raise invalid(name, f"There is no query parameter {name[:40]!r} here.")
        if isinstance(value, list):
            raise invalid(name, f"The query parameter {name} is given more than once.")
        found[name] = value
    return found


def answer(resp: falcon.Response, document: object) -> None:
    """Answer with a JSON document."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(document).encode()
    # Answers hold secrets and states of keys; neither belongs into a cache.
    resp.set_header("Cache-Control", "no-store")


def window(found: Mapping[str, str]) -> tuple[int, int]:
    """Where a page starts after, and how many entries it holds."""
    limit = found.get("limit", "100")
    if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= 1000:
        raise invalid("limit", "limit must be a whole number from 1 to 1000.")
    cursor = found.get("cursor")
    return (0 if cursor is None else position(cursor)), int(limit)


def cursor_after(seq: int) -> str:
    """The opaque cursor of the page that follows this sequence number."""
    return base64.urlsafe_b64encode(f"after:{seq}".encode()).decode().rstrip("=")


def position(cursor: str) -> int:
    """The sequence number in a cursor; 422 for one that cursor_after did not make."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        seq = int(text.removeprefix("after:"))
        if cursor_after(seq) == cursor and 0 <= seq < 2**63:
            return seq
    except ValueError:
        pass
    raise invalid("cursor", "This cursor did not come from next_cursor; start again without one.")


def page(seqs: Sequence[int], limit: int, views: list[dict[str, Any]]) -> object:
    """A page of `limit` entries at most; seqs: one more sequence number than that where more follow."""
    more = len(seqs) > limit
    return {"data": views, "next_cursor": cursor_after(seqs[limit - 1]) if more else None}


def _falcon_refusal(error: falcon.HTTPError) -> Refusal:
    """Falcon's own refusals: no such route, no such method."""
    status = 405 if error.status_code == 400 else error.status_code
    message = {
        404: "There is nothing at this path.",
        405: "This path does not take this method; the header Allow names those it takes.",
    }.get(status, "The request cannot be read.")
    return Refusal(status, _CODES.get(status, "invalid_request"), message, headers=dict(error.headers or ()))
