"""CLIMeter: keys are created and revoked with a short-lived token; nothing lists, shows or changes them.

Documented: `POST /v1/keys {name, scopes}` with `{key, key_id, name, created_at}` as its answer, `DELETE
/v1/keys/{key_id}` with `{revoked, key_id}`, the seven scopes, immediate revocation (401), and that a JWT
comes from `POST /v1/auth/login`. There is no other management call, no Idempotency-Key, and no place for a
marker but the name. Nothing here is keyform's contract.

Unknown, and chosen here: the shape of login (`{email, password}` in, `{access_token, token_type,
expires_in}` out), the JWT's algorithm (HS256) and life (15 minutes); that a key with keys:manage may stand
in for the JWT, which its scope table says and its examples do not show; at least one scope per key; 404 for
a key_id that never was, and the same answer to a second revocation; the error envelope and the status of
invalid requests (the contract's). Here the account is keyform@example.com, and its password is the root
token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping

import falcon

from .. import bodies, moments
from ..account import Account
from ..catalogue import Catalogue, Kind
from ..contract import contract_error
from ..credentials import KeyFormat, same_text
from ..records import KeyRequest
from ..refusal import Refusal
from ..service import KeyService
from ..verification import Asked, Verifier
from ..web import App, answer, bearer, body, new_app
from .samples import Ask, Read, Write

EMAIL = "keyform@example.com"
TOKEN_SECONDS = 15 * 60

_SCOPES = frozenset(
    {
        "events:write",
        "events:read",
        "tools:read",
        "tools:write",
        "billing:read",
        "billing:write",
        "keys:manage",
    }
)
CATALOGUE = Catalogue(
    kinds={"key": Kind("clmtr", _SCOPES, in_project=False)},
    environments=frozenset({"live"}),
    scopes=_SCOPES,
    manage_kind="key",
    manage_scope="keys:manage",
    fields=frozenset({"name", "scopes"}),
    mutable=frozenset(),
)


def _draw(prefix: str, environment: str) -> tuple[str, str]:
    secret = secrets.token_hex(24)
    return f"{prefix}_{environment}_{secret}", f"{prefix}_{environment}_{secret[:4]}"


KEY_FORMAT = KeyFormat(re.compile(r"clmtr_live_[0-9a-f]{48}"), _draw)


def build(account: Account) -> App:
    """CLIMeter over one account."""
    service, verifier = account.core(CATALOGUE, KEY_FORMAT, root=False)
    tokens = Tokens(account)
    app = new_app(contract_error)
    app.add_route("/v1/auth/login", _Login(tokens, account.root_token))
    app.add_route("/v1/keys", _Keys(service, verifier, tokens))
    app.add_route("/v1/keys/{key_id}", _Key(service, verifier, tokens))
    app.add_route("/v1/tools", Read(verifier, _ask("tools:read"), {"tools": []}))
    app.add_route("/v1/events", Write(verifier, _ask("events:write"), {"accepted": True}, 202))
    return app


class Tokens:
    """JWTs (RFC 7519) signed with HMAC-SHA256 by this account alone."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._key = hmac.digest(account.pepper, b"climeter-jwt", hashlib.sha256)

    def issue(self) -> str:
        """A token for the account, good for TOKEN_SECONDS."""
        now = self._account.now() // 1000
        claims = {"sub": EMAIL, "iat": now, "exp": now + TOKEN_SECONDS}
        signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def check(self, token: str) -> None:
        """401 for a token that this account did not sign, or that has expired."""
        signed, _, signature = token.rpartition(".")
        if not same_text(signature, self._signature(signed)):
            raise Refusal(401, "invalid_token", "The token is not valid; log in again.")
        # It was signed here, so it has the form that issue gave it.
        claims = json.loads(base64.urlsafe_b64decode(_padded(signed.partition(".")[2])))
        if claims["exp"] * 1000 <= self._account.now():
            raise Refusal(401, "token_expired", "The token has expired; log in again.")

    def _signature(self, signed: str) -> str:
        digest = hmac.digest(self._key, signed.encode("utf-8", "replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class _Login:
    def __init__(self, tokens: Tokens, password: str) -> None:
        self._tokens = tokens
        self._password = password

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        fields = {"email": bodies.text(1, 320), "password": bodies.text(1, 1000)}
        given = bodies.read_fields(body(req), fields, required=fields)
        right = same_text(given["password"], self._password)
        if not same_text(given["email"], EMAIL) or not right:
            raise Refusal(401, "invalid_credentials", "The e-mail or the password is wrong.")
        token = self._tokens.issue()
        answer(resp, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})


class _Managed:
    """A call that needs a token, or a key that may manage keys."""

    def __init__(self, service: KeyService, verifier: Verifier, tokens: Tokens) -> None:
        self._service = service
        self._verifier = verifier
        self._tokens = tokens

    def _authenticate(self, req: falcon.Request) -> None:
        credential = bearer(req)
        if KEY_FORMAT.pattern.fullmatch(credential):
            self._verifier.caller(credential)
        else:
            self._tokens.check(credential)


class _Keys(_Managed):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._authenticate(req)
        fields = {"name": bodies.text(1, 200), "scopes": bodies.text_set(100, 100)}
        given = bodies.read_fields(body(req), fields, required=fields)
        request = KeyRequest("key", "live", given["name"], given["scopes"])
        created = self._service.create_key(request, None, None)
        key = created.key
        shown = {"key": created.secret, "key_id": key.id, "name": key.name}
        resp.status = 201
        answer(resp, shown | {"created_at": moments.to_text(key.created_at)})


class _Key(_Managed):
    def on_delete(self, req: falcon.Request, resp: falcon.Response, key_id: str) -> None:
        self._authenticate(req)
        answer(resp, {"revoked": True, "key_id": self._service.revoke_key(key_id).id})


def _ask(scope: str) -> Ask:
    def ask(req: falcon.Request, fields: Mapping[str, str]) -> Asked:
        return Asked(bearer(req), scope=scope)

    return ask


def _encode(document: object) -> str:
    content = json.dumps(document, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
