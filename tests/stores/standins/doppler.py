"""Doppler's API, by https://docs.doppler.com/reference, /docs/secrets and /docs/platform-limits.

What is not said there is done in the way that is worst for a client: a secret that is made replaces one of
the same name.
"""

from __future__ import annotations

import re
from typing import Any

from tests.stores.standins import Refusal, Request, StandIn

_CHANGE = {"name", "originalName", "value", "originalValue", "visibility", "originalVisibility"} | {
    "shouldPromote",
    "shouldDelete",
    "shouldConverge",
    "valueType",
    "originalValueType",
}
_MANAGED = ("DOPPLER_PROJECT", "DOPPLER_ENVIRONMENT", "DOPPLER_CONFIG")


class Doppler(StandIn):
    """One config. ``absent_is_404`` False: the other way in which Doppler's own Terraform provider knows a
    secret that is not there, by an answer without any value."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {"dp.sa.good": "rw", "dp.st.reader": "r", "dp.st.foreign": ""}
        self.secrets: dict[str, str] = {}
        self.restricted: set[str] = set()
        self.absent_is_404 = True
        self.route("GET", "/v3/configs/config/secret", self._get)
        self.route("GET", "/v3/configs/config/secrets/names", self._names)
        self.route("POST", "/v3/configs/config/secrets", self._update)

    def error(self, status: int, message: str) -> Any:
        return {"messages": [message], "success": False}

    def _refuse(self, status: int, message: str, **data: Any) -> Refusal:
        return Refusal(status, {**self.error(status, message), **({"data": data} if data else {})})

    def _may(self, request: Request, project: str, config: str, need: str) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise self._refuse(401, "Invalid Auth token")
        if not self.tokens[token]:
            raise self._refuse(403, "This token does not have access to requested config")
        if project != "payments":
            raise self._refuse(404, f"Could not find requested project '{project}'")
        if config != "prd":
            raise self._refuse(404, f"Could not find requested config '{config}'")
        if need not in self.tokens[token]:
            raise self._refuse(403, "This token does not have write access")

    def _get(self, request: Request) -> Any:
        request.only(query=("project", "config", "name"))
        self._may(request, request.query["project"], request.query["config"], "r")
        name = request.query["name"]
        if name not in self.secrets and self.absent_is_404:
            raise self._refuse(404, f"Could not find requested secret: {name}")
        value = self.secrets.get(name)
        told = {"raw": value, "computed": value, "note": ""}
        if name in self.restricted:
            told |= {"raw": None, "computed": None, "rawVisibility": "restricted"}
        return {"name": name, "value": told}

    def _names(self, request: Request) -> Any:
        request.only(query=("project", "config", "include_dynamic_secrets", "include_managed_secrets"))
        self._may(request, request.query["project"], request.query["config"], "r")
        return {"names": [*_MANAGED, *self.secrets], "success": True}

    def _update(self, request: Request) -> Any:
        request.only(body=("project", "config", "secrets", "change_requests"))
        body = request.body
        self._may(request, body["project"], body["config"], "w")
        assert ("secrets" in body) != ("change_requests" in body), "either secrets or change_requests"
        new = dict(self.secrets)
        for change in body["change_requests"]:
            assert {"name", "originalName", "value"} <= change.keys() <= _CHANGE, f"no change: {[*change]}"
            self._change(new, change)
        self.secrets = new
        return {"secrets": {name: {"raw": value, "computed": value} for name, value in new.items()}}

    def _change(self, secrets: dict[str, str], change: dict[str, Any]) -> None:
        name, value = change["name"], change["value"]
        if not re.match(r"[A-Z_][A-Z0-9_]{0,199}\Z", name) or name in _MANAGED:
            raise self._refuse(400, "Secret names must be uppercase letters, numbers and underscores")
        assert change["originalName"] in (None, name), "a rename"
        if change["originalName"] is not None and name not in secrets:
            raise self._refuse(400, f"Secret {name} does not exist")
        if "originalValue" in change and secrets.get(name) != change["originalValue"]:
            raise self._refuse(400, "The secret's value has changed")
        if change.get("shouldDelete"):
            del secrets[name]
            return
        assert isinstance(value, str), "a value is text"
        if len(value.encode()) > 50 * 1024:
            raise self._refuse(400, "Secret value is too large")
        secrets[name] = value
