"""All six services in this process on one clock: keyform's way to them, their clients', and what is live."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from keyform.reference import DIALECTS
from keyform.reference.account import Options
from keyform.reference.app import ReferenceApp, create_app
from keyform.reference.faults import ConnectionDropped, Faults
from tests.reference.conftest import ROOT

SITE = "https://yoursite.com"

SERVICES = """
version: 1
services:
  revenium: {type: revenium, endpoint: "http://localhost:1/revenium", credential: "${env:ROOT}"}
  revkeen: {type: revkeen, endpoint: "http://localhost:1/revkeen", credential: "${env:ROOT}"}
  cart: {type: revkeen-cart, endpoint: "http://localhost:1/revkeen", credential: "${env:ROOT}"}
  millimetric:
    {type: millimetric, endpoint: "http://localhost:1/millimetric", credential: "${env:ROOT}", plan: business}
  climeter:
    type: climeter
    endpoint: "http://localhost:1/climeter"
    email: keyform@example.com
    password: "${env:ROOT}"
  devtune: {type: devtune, endpoint: "http://localhost:1/devtune", credential: "${env:ROOT}", plan: plus}
  unkey:
    type: unkey
    endpoint: "http://localhost:1/unkey"
    credential: "${env:ROOT}"
    api_id: api_keyform
    prefix: acme
projects:
  web: {service: millimetric, allowed_origins: ["https://yoursite.com"]}
  acme: {service: devtune}
"""
"""ROOT has to be in the environment."""


class Way(httpx.BaseTransport):
    """Requests to an application that outlives the client."""

    def __init__(self, application: ReferenceApp) -> None:
        self._wsgi = httpx.WSGITransport(application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._wsgi.handle_request(request)
        except ConnectionDropped as lost:
            raise httpx.RemoteProtocolError(str(lost), request=request) from None


@dataclass(frozen=True)
class Told:
    """What a service said to the bearer of a key."""

    works: bool
    key_id: str | None


class Fleet:
    """The services over one data folder. keyform comes through ``faults``; the clients of the keys do not."""

    def __init__(self, data: Path, clock: Callable[[], datetime], services: Iterable[str] = DIALECTS) -> None:
        self.faults = Faults(sleep=lambda seconds: None)
        kept: dict[str, Any] = {"root_token": ROOT, "services": services, "options": Options()}
        seconds = lambda: clock().timestamp()  # noqa: E731
        self._apps = [
            create_app(data, clock=seconds, faults=self.faults, **kept),
            create_app(data, clock=seconds, **kept),
        ]
        self.way, self._clients = (Way(app) for app in self._apps)
        self._clock = clock
        self._data = data
        self._read: dict[str, sqlite3.Connection] = {}

    def close(self) -> None:
        for connection in self._read.values():
            connection.close()
        for app in self._apps:
            app.close()

    def ask(self, method: str, path: str, body: Any = None, key: str = ROOT) -> httpx.Response:
        """One request of somebody else than keyform."""
        name = {"revenium": "x-api-key", "revkeen": "x-revkeen-key"}.get(path.split("/")[1])
        sent = {name: key} if name else {"Authorization": f"Bearer {key}"}
        content = {} if body is None else {"json": body}
        request = httpx.Request(method, f"http://localhost{path}", headers=sent, **content)
        answer = self._clients.handle_request(request)
        answer.read()
        return answer

    def use(self, service: str, secret: str) -> Told:
        """Use a key, at its service's own data plane or by its verify call."""
        if service == "climeter":  # 403: known, and not allowed to read tools
            return Told(self.ask("GET", "/climeter/v1/tools", key=secret).status_code in (200, 403), None)
        if service == "unkey":
            told = self.ask("POST", "/unkey/v2/keys.verifyKey", {"key": secret}).json()["data"]
            return Told(told["valid"], told.get("keyId"))
        at = "revkeen" if service == "cart" else service
        answer = self.ask("POST", f"/{at}/v1/verify", {"key": secret, "origin": SITE})
        told = answer.json()
        return Told(answer.status_code == 200 and told["valid"], told.get("key_id"))

    def live(self, service: str) -> dict[str, str]:
        """Name by id of each key of a service that is neither revoked nor expired, from its own books."""
        return {row["id"]: row["name"] for row in self._rows(service) if self._is_live(service, row)}

    def lasting(self, service: str) -> set[str]:
        """The ids of those that do not end by themselves in the grace of a rotation, as cart keys do."""
        return {
            row["id"]
            for row in self._rows(service)
            if self._is_live(service, row) and (service != "cart" or row["expires_at"] is None)
        }

    def revoke(self, service: str, key_id: str) -> None:
        """As somebody else may, behind keyform's back."""
        if service == "unkey":
            answer = self.ask("POST", "/unkey/v2/keys.deleteKey", {"keyId": key_id})
        elif service == "climeter":
            login = {"email": "keyform@example.com", "password": ROOT}
            token = self.ask("POST", "/climeter/v1/auth/login", login).json()["access_token"]
            answer = self.ask("DELETE", f"/climeter/v1/keys/{key_id}", key=token)
        else:
            answer = self.ask("DELETE", f"/{service}/v1/keys/{key_id}")
        assert answer.status_code == 200, answer.text

    def rescope(self, service: str, key_id: str, scopes: Iterable[str]) -> None:
        """Change what a key may do, as somebody else may."""
        if service == "unkey":
            body = {"keyId": key_id, "permissions": list(scopes)}
            answer = self.ask("POST", "/unkey/v2/keys.updateKey", body)
        else:
            answer = self.ask("PATCH", f"/{service}/v1/keys/{key_id}", {"scopes": list(scopes)})
        assert answer.status_code == 200, answer.text

    def make(self, service: str, name: str) -> str:
        """A key of somebody else; its id."""
        if service == "unkey":
            answer = self.ask("POST", "/unkey/v2/keys.createKey", {"apiId": "api_keyform", "name": name})
            return str(answer.json()["data"]["keyId"])
        self.ask("PUT", f"/{service}/v1/projects/acme", {"allowed_origins": []})
        answer = self.ask("POST", f"/{service}/v1/keys", {"name": name, "project": "acme", "scopes": []})
        return str(answer.json()["key"]["id"])

    def _rows(self, service: str) -> list[sqlite3.Row]:
        at = "revkeen" if service == "cart" else service
        if at not in self._read:
            self._read[at] = sqlite3.connect(self._data / f"{at}.sqlite3", check_same_thread=False)
            self._read[at].row_factory = sqlite3.Row
        if service == "unkey":
            return (
                self._read[at]
                .execute(
                    "SELECT id, json_extract(fields, '$.name') AS name, fields FROM unkey_keys"
                    " WHERE deleted_at IS NULL"
                )
                .fetchall()
            )
        carts = "kind LIKE 'cart-%'" if service == "cart" else "kind NOT LIKE 'cart-%'"
        return (
            self._read[at]
            .execute(
                f"SELECT id, name, expires_at FROM keys WHERE revoked_at IS NULL AND {carts}"  # noqa: S608
            )
            .fetchall()
        )

    def _is_live(self, service: str, row: sqlite3.Row) -> bool:
        ends = json.loads(row["fields"]).get("expires") if service == "unkey" else row["expires_at"]
        return ends is None or ends > self._clock().timestamp() * 1000
