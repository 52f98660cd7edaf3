"""A client of one vendor's dialect, for the tests of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from keyform.reference.account import Options
from keyform.reference.app import ReferenceApp, create_app
from keyform.reference.limiter import RateLimit

from .conftest import ROOT, Clock

HEADERS = {"revenium": "x-api-key", "revkeen": "x-revkeen-key"}
"""Where a credential goes; Authorization: Bearer where nothing is said."""


class Vendor:
    """One dialect at `/`, and shorthands for what its tests send."""

    def __init__(
        self, name: str, data: Path, clock: Clock, limit: RateLimit | None = None, **options: Any
    ) -> None:
        self.name = name
        self.data = data
        self.clock = clock
        self.application: ReferenceApp = create_app(
            data, root_token=ROOT, clock=clock, limit=limit, service=name, options=Options(**options)
        )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = ROOT,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request with `key` where this vendor wants it."""
        sent = {} if key is None else credential(self.name, key)
        with httpx.Client(transport=httpx.WSGITransport(self.application), base_url="http://vendor") as http:
            content = {} if body is None else {"json": body}
            return http.request(method, path, headers={**sent, **(headers or {})}, **content)  # type: ignore[arg-type]

    def create(self, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx.Response:
        return self.call("POST", "/v1/keys", {"name": "Backend", **fields}, headers=headers)

    def minted(self, **fields: Any) -> tuple[dict[str, Any], str]:
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"], answer.json()["secret"]

    def revoke(self, key_id: str) -> None:
        answer = self.call("DELETE", f"/v1/keys/{key_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, "revoked")

    def listed(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.call("GET", "/v1/keys").json()["data"]
        return entries

    def shown(self, key_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = self.call("GET", f"/v1/keys/{key_id}").json()
        return entry

    def verify(self, secret: str, **asked: str) -> httpx.Response:
        return self.call("POST", "/v1/verify", {"key": secret, **asked}, key=None)

    def project(self, name: str, *origins: str) -> httpx.Response:
        return self.call("PUT", f"/v1/projects/{name}", {"allowed_origins": list(origins)})


def credential(vendor: str, key: str) -> dict[str, str]:
    """The header in which the vendor wants a credential."""
    name = HEADERS.get(vendor)
    return {name: key} if name else {"Authorization": f"Bearer {key}"}
