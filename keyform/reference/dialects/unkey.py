"""Unkey v2: the part of its published API that a client needs to manage keys.

Documented, all of it: `POST /v2/apis.*`, `keys.*` and `permissions.*` as in Unkey's OpenAPI document, whose
request schemas stand beside this file in unkey_requests.json (taken from that document, descriptions left
out; a test holds them against it). Nothing here is keyform's contract. Not served: migrateKeys,
updateCredits, the add/remove/set calls for permissions and roles, and the get/delete calls of permissions.

Unknown, and chosen here: the exact `type` URIs of errors; 401 rather than 400 for a missing root key; that
a soft deleted key is as gone as one deleted for good; that rerolling refuses an expired key with 400, and
that 0 ms of overlap ends the old key at once; that an overlap never lengthens the old key's life; the order
in which verifyKey looks at permissions, rate limits and credits, and the cost of a rate limit (always 1). A
deletion counts at once here; Unkey allows itself 30 seconds. Credits are never refilled, keys are never
recoverable. A fresh account has one API namespace, `api_keyform`, since an account with none could not be
used before somebody made one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import falcon
from jsonschema import Draft202012Validator

from ..account import Account
from ..credentials import new_id, same_text
from ..limiter import Limiter
from ..refusal import Refusal
from ..web import App, answer, bearer, body, new_app
from .unkey_keys import Keys
from .unkey_workspace import RootKey, Workspace

Answer = tuple[object, Mapping[str, object] | None]
"""The data of an answer, and its pagination where it is a page."""
Operation = Callable[[RootKey, dict[str, Any]], Answer]

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def build(account: Account) -> App:
    """Unkey over one account: one workspace, whose root keys are the root token and those of the options."""
    workspace = Workspace(account)
    keys = Keys(account, workspace)
    operations: dict[str, Operation] = {
        "apis.createApi": lambda root, given: (workspace.create_api(root, given), None),
        "apis.getApi": lambda root, given: (workspace.get_api(root, given), None),
        "apis.listKeys": keys.list_keys,
        "keys.createKey": lambda root, given: (keys.create(root, given), None),
        "keys.getKey": lambda root, given: (keys.get(root, given), None),
        "keys.updateKey": lambda root, given: (keys.update(root, given), None),
        "keys.deleteKey": lambda root, given: (keys.delete(root, given), None),
        "keys.rerollKey": lambda root, given: (keys.reroll(root, given), None),
        "keys.verifyKey": lambda root, given: (keys.verify(root, given), None),
        "keys.whoami": lambda root, given: (keys.whoami(root, given), None),
        "permissions.createPermission": lambda root, given: (workspace.create_permission(root, given), None),
        "permissions.listPermissions": workspace.list_permissions,
        "permissions.createRole": lambda root, given: (workspace.create_role(root, given), None),
        "permissions.listRoles": workspace.list_roles,
    }
    schemas = json.loads((Path(__file__).parent / "unkey_requests.json").read_text(encoding="utf-8"))
    guard = _Guard(account)
    app = new_app(errors)
    for name, operation in operations.items():
        app.add_route(f"/v2/{name}", _Route(guard, Draft202012Validator(schemas[name]), operation))
    return app


def errors(refusal: Refusal) -> tuple[int, object]:
    """`{"meta", "error": {"title", "detail", "status", "type"}}`; a 400 also lists what is wrong."""
    status = 400 if refusal.status == 422 else refusal.status
    error: dict[str, object] = {
        "title": _TITLES.get(status, "Error"),
        "detail": refusal.message,
        "status": status,
        "type": f"https://unkey.com/docs/errors/{refusal.code}",
    }
    if status == 400:
        location = f"body.{refusal.details.get('field', '')}".rstrip(".")
        error["errors"] = [{"location": location, "message": refusal.message}]
    return status, {"meta": {"requestId": new_id("req")}, "error": error}


class _Guard:
    """Knows the root keys and counts their calls."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._limiter = Limiter(account.clock)
        self._roots = [(account.root_token, frozenset({"*"})), *account.options.unkey_root_keys.items()]

    def root_key(self, req: falcon.Request, resp: falcon.Response) -> RootKey:
        """Who calls; 401 and 429."""
        credential = bearer(req)
        found = [number for number, (text, _) in enumerate(self._roots) if same_text(credential, text)]
        if not found:
            raise Refusal(401, "unauthorized", "This is not a valid root key.")
        limit = self._account.limit
        if limit is not None:
            allowance = self._limiter.take(
                found[0], amount=limit.per_minute, per_seconds=60, burst=limit.burst
            )
            headers = {
                "RateLimit-Limit": str(allowance.limit),
                "RateLimit-Remaining": str(allowance.remaining),
                "RateLimit-Reset": str(max(0, allowance.reset - int(self._account.clock()))),
            }
            resp.set_headers(headers)
            if not allowance.allowed:
                headers |= {
                    "Retry-After": str(allowance.retry_after),
                    "Content-Type": "application/problem+json",
                }
                message = f"Too many requests; try again in {allowance.retry_after} s."
                raise Refusal(429, "too_many_requests", message, headers=headers)
        return RootKey(self._roots[found[0]][1])


class _Route:
    def __init__(self, guard: _Guard, schema: Draft202012Validator, operation: Operation) -> None:
        self._guard = guard
        self._schema = schema
        self._operation = operation

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        root = self._guard.root_key(req, resp)
        given = _well_formed(body(req))
        for problem in self._schema.iter_errors(given):
            # The message of a schema error quotes the value, which may be a secret; the rule is enough.
            field = ".".join(str(part) for part in problem.absolute_path)
            detail = f"The request does not fit its schema: {problem.validator}."
            raise Refusal(400, "invalid_input", detail, details={"field": field})
        data, pagination = self._operation(root, given)
        document = {"meta": {"requestId": new_id("req")}, "data": data}
        answer(resp, document if pagination is None else {**document, "pagination": pagination})


def _well_formed(given: dict[str, Any]) -> dict[str, Any]:
    """The body with 5.0 read as 5, since JSON knows one kind of number; 400 for half a surrogate pair."""
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        raise Refusal(400, "invalid_input", "The request holds what is no text, or nests too deep.") from None
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in given.items()
    }
