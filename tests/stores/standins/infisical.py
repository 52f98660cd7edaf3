"""Infisical's API, by https://infisical.com/docs/api-reference.

Where that is silent, by the source: names, trimming, references, versions and errors of backend/src at
github.com/Infisical/infisical (server/routes/v4/secret-router.ts, services/secret-v2-bridge).
"""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Any

from tests.stores.standins import Refusal, Request, StandIn

_MOMENT = "2026-11-20T12:00:00.000Z"
PROJECT = "5f1c2b9e-7a61-4c0e-9d0b-2f6f0c7f9a10"
_AT = ("projectId", "environment", "secretPath")
_WRITE = (*_AT, "secretValue", "secretComment", "secretMetadata", "tagIds", "skipMultilineEncoding", "type")
_READ = (*_AT, "version", "type", "viewSecretValue", "expandSecretReferences", "include_imports")
_LIST = ("metadataFilter", *_AT, *_READ[5:], "recursive", "tagSlugs")


class Infisical(StandIn):
    """One project with the environments dev and prod. ``identities`` maps a client id to its secret and to
    what it may do there: letters of read, describe, create, edit, delete. ``life``: seconds of a token;
    ``ends_with``: how a token that has ended is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.identities = {
            "keyform": ("good-client-secret", "rdwex"),
            "reader": ("reader-client-secret", "rd"),
            "blind": ("blind-client-secret", "dwex"),
            "stranger": ("stranger-client-secret", ""),
        }
        self.tokens: dict[str, str] = {}
        self.life = 2_592_000
        self.ends_with = 401
        self.logins = 0
        self.encrypted = False
        self.approval = False
        self.folders = {("dev", "/"), ("prod", "/")}
        self.secrets: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self.route("POST", "/api/v1/auth/universal-auth/login", self._login)
        self.route("GET", "/api/v1/projects/{project}", self._project)
        self.route("POST", "/api/v2/folders", self._folder)
        self.route("GET", "/api/v4/secrets", self._list)
        self.route("GET", "/api/v4/secrets/{name}", self._get)
        self.route("POST", "/api/v4/secrets/{name}", self._create)
        self.route("PATCH", "/api/v4/secrets/{name}", self._patch)
        self.route("DELETE", "/api/v4/secrets/{name}", self._delete)

    def error(self, status: int, message: Any, error: str = "Refused") -> Any:
        return {"reqId": "req-1", "statusCode": status, "message": message, "error": error}

    def held(self, environment: str = "prod") -> dict[str, str]:
        """The values by folder and name."""
        found = self.secrets.items()
        return {f"{at[1].rstrip('/')}/{at[2]}"[1:]: v[-1]["value"] for at, v in found if at[0] == environment}

    def _refuse(self, status: int, message: Any, error: str = "Refused") -> Refusal:
        return Refusal(status, self.error(status, message, error))

    def _login(self, request: Request) -> Any:
        request.only(body=("clientId", "clientSecret", "subOrganizationName"))
        self.logins += 1
        known = self.identities.get(request.body["clientId"])
        if known is None or known[0] != request.body["clientSecret"]:
            raise self._refuse(401, "Invalid credentials", "Unauthorized")
        token = f"eyJ{secrets.token_hex(16)}"
        self.tokens[token] = known[1]
        told = {"accessToken": token, "expiresIn": self.life, "accessTokenMaxTTL": self.life}
        return {**told, "tokenType": "Bearer"}

    def _may(self, request: Request, project: str, need: str) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            ended = "Your token has expired. Please re-authenticate."
            raise self._refuse(
                self.ends_with, ended, "TokenError" if self.ends_with == 403 else "Unauthorized"
            )
        if project != PROJECT:
            raise self._refuse(404, f"Project with ID '{project}' not found", "NotFound")
        if not self.tokens[token]:
            raise self._refuse(403, "You are not a member of this project", "Forbidden")
        if need not in self.tokens[token]:
            raise self._refuse(403, f"You are not allowed to {need} on secrets", "PermissionDenied")

    def _place(self, request: Request, asked: Any, name: str, need: str) -> tuple[str, str, str]:
        self._may(request, asked["projectId"], need)
        folder = "/" + asked.get("secretPath", "/").strip("/")
        if (asked["environment"], folder) not in self.folders:
            slug = asked["environment"]
            raise self._refuse(
                404, f"Folder with path '{folder}' in environment with slug '{slug}' not found"
            )
        return asked["environment"], folder, name

    def _project(self, request: Request, project: str) -> Any:
        request.only()
        self._may(request, project, "")
        slugs = [{"id": uuid.uuid4().hex, "name": slug.title(), "slug": slug} for slug in ("dev", "prod")]
        told = {"id": PROJECT, "name": "Payments", "slug": "payments", "environments": slugs}
        return {"project": {**told, "enforceEncryptedSecretManagerSecretMetadata": self.encrypted}}

    def _folder(self, request: Request) -> Any:
        request.only(body=("projectId", "environment", "name", "path", "description"))
        body = request.body
        at = {"projectId": body["projectId"], "environment": body["environment"], "secretPath": body["path"]}
        environment, above, name = self._place(request, at, body["name"], "w")
        assert re.match(r"[A-Za-z0-9_-]+\Z", name), "a folder's name"
        folder = (environment, f"{above.rstrip('/')}/{name}")
        if folder in self.folders:
            raise self._refuse(400, f"Folder with name '{name}' already exists in path '{above}'")
        self.folders.add(folder)
        told = {"id": str(uuid.uuid4()), "name": name, "path": folder[1], "envId": str(uuid.uuid4())}
        return {"folder": {**told, "createdAt": _MOMENT, "updatedAt": _MOMENT}}

    def _list(self, request: Request) -> Any:
        request.only(query=_LIST)
        environment, folder, _ = self._place(request, request.query, "", "d")
        found = [at for at in self.secrets if at[:2] == (environment, folder)]
        return {"secrets": [self._told(at, self.secrets[at][-1], False) for at in found], "imports": []}

    def _told(self, at: tuple[str, str, str], kept: dict[str, Any], view: bool) -> dict[str, Any]:
        return {
            "id": kept["id"],
            "_id": kept["id"],
            "createdAt": _MOMENT,
            "updatedAt": _MOMENT,
            "workspace": PROJECT,
            "environment": at[0],
            "secretPath": at[1],
            "secretKey": at[2],
            "version": kept["version"],
            "type": "shared",
            "secretValue": kept["value"] if view else "<hidden-by-infisical>",
            "secretValueHidden": not view,
            "secretComment": kept["comment"],
            "secretMetadata": kept["metadata"],
            "tags": [],
        }

    def _get(self, request: Request, name: str) -> Any:
        request.only(query=_READ)
        query = request.query
        view = query.get("viewSecretValue", "true") == "true"
        at = self._place(request, query, name, "r" if view else "d")
        assert query.get("type") == "shared", "this stand-in keeps shared secrets alone"
        found = self.secrets.get(at, [])
        if "version" in query:
            found = [kept for kept in found if str(kept["version"]) == query["version"]]
        if not found:
            raise self._refuse(404, f"Secret with name '{name}' not found", "NotFound")
        return {"secret": self._told(at, found[-1], view)}

    def _written(self, body: dict[str, Any]) -> dict[str, Any]:
        value = body["secretValue"]
        value = value.strip() + ("\n" if value.endswith("\n") else "")
        if "${" in value:
            raise self._refuse(400, "Referenced secret(s) not found")
        metadata = [
            {"key": m["key"].strip(), "value": m["value"].strip(), "isEncrypted": m.get("isEncrypted", False)}
            for m in body.get("secretMetadata", [])
        ]
        if self.encrypted and not all(m["isEncrypted"] for m in metadata):
            raise self._refuse(400, "Encrypted secret metadata is enforced for this project.")
        return {"value": value, **({"metadata": metadata} if "secretMetadata" in body else {})}

    def _create(self, request: Request, name: str) -> Any:
        request.only(body=(*_WRITE, "secretReminderRepeatDays", "secretReminderNote"))
        at = self._place(request, request.body, name, "w")
        if ":" in name or "/" in name:
            raise self._refuse(422, [{"message": "Secret name cannot contain colon or forward slash."}])
        if at in self.secrets:
            raise self._refuse(400, "Secret already exist")
        if self.approval:
            return {"approval": {"id": uuid.uuid4().hex}}
        new = {
            "id": str(uuid.uuid4()),
            "version": 1,
            "comment": "",
            "metadata": [],
            **self._written(request.body),
        }
        self.secrets[at] = [new]
        return {"secret": self._told(at, new, True)}

    def _patch(self, request: Request, name: str) -> Any:
        request.only(body=(*_WRITE, "metadata", "newSecretName"))
        at = self._place(request, request.body, name, "e")
        if at not in self.secrets:
            raise self._refuse(404, f"Secret with name {name} not found", "NotFound")
        if self.approval:
            return {"approval": {"id": uuid.uuid4().hex}}
        last = self.secrets[at][-1]
        new = {**last, "version": last["version"] + 1, **self._written(request.body)}
        self.secrets[at].append(new)
        return {"secret": self._told(at, new, True)}

    def _delete(self, request: Request, name: str) -> Any:
        request.only(body=(*_AT, "type"))
        at = self._place(request, request.body, name, "x")
        if at not in self.secrets:
            raise self._refuse(404, "Secret not found", "NotFound")
        if self.approval:
            return {"approval": {"id": uuid.uuid4().hex}}
        return {"secret": self._told(at, self.secrets.pop(at)[-1], True)}
