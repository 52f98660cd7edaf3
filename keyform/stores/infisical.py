"""Infisical: a place is a secret of one environment, its path the folder's and the secret's name.

The calls are those of Infisical's API reference (https://infisical.com/docs/api-reference/endpoints):
secrets/read, create, update, delete and list, folders/create and projects/get-project. What the reference
leaves open is as its source has it (github.com/Infisical/infisical, backend/src: server/routes/v4 and
services/secret-v2-bridge): values lose blanks at their ends, ``${`` begins a reference, and metadata is
replaced as a whole.
"""

from __future__ import annotations

import re
import secrets as _random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.http import Rest
from keyform.stores.http_access import Credential, checked_address
from keyform.stores.http_failures import Refused
from keyform.stores.infisical_login import credential_of
from keyform.stores.infisical_secrets import (
    LABEL,
    fault_of,
    labels_of,
    metadata_of,
    said,
    split,
    value_of,
    version_of,
)
from keyform.stores.over import allow, allow_deletion

ENDPOINT = "https://app.infisical.com"

_FOLDER = re.compile(r"[A-Za-z0-9_-]+\Z")
_NAME = re.compile(r"[^\s:/]+\Z")
_TURNS, _REFUSALS = 12, 8
_ADVICE = {
    401: "Check the machine identity: its client id and secret, or its token, are wrong, expired or revoked.",
    403: "Grant the identity what docs/stores/infisical.md lists, in this environment and folder.",
    404: "Check `project_id`, `environment` and `endpoint`; the identity must be a member of the project.",
}


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> InfisicalStore:
    """The store that a configuration declares. Options: ``project_id``, ``environment``, ``endpoint``;
    ``client_id`` and ``client_secret``, or ``token`` (default: the variables that Infisical's own tools
    read); ``insecure``. Does no I/O. Raises ``StoreError``."""
    insecure = options.get("insecure") is True
    endpoint = checked_address(name, options.get("endpoint", ENDPOINT), insecure=insecure)
    rest = rest_to(name, endpoint)
    who = credential_of(name, options, env, rest)
    return InfisicalStore(name, rest, who, options["project_id"], options["environment"])


def rest_to(
    name: str,
    endpoint: str,
    *,
    timeout: float = 30.0,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Rest:
    """Calls to an Infisical at an address; the rest is for tests."""
    return Rest(name, endpoint, said, _ADVICE, timeout=timeout, transport=transport, sleep=sleep)


class InfisicalStore:
    """A :class:`~keyform.ports.Store` over the shared secrets of one environment of one project."""

    readable = True

    def __init__(self, name: str, rest: Rest, who: Credential, project_id: str, environment: str) -> None:
        self.name = name
        self._rest = rest
        self._credential = who
        self._environment = environment
        self._project_id = project_id
        self._where = f"the environment {environment} of the project {project_id}"
        self._project: Mapping[str, Any] | None = None

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        *folders, name = place.path.split("/")
        if place.field is not None:
            why, do = (
                "its secrets have no fields",
                f"Give it a path of its own, like {place.path}_{place.field}.",
            )
        elif not all(map(_FOLDER.match, folders)):
            why, do = "folders have letters, digits, - and _ alone", "Write it like prod/checkout/API_KEY."
        elif not _NAME.match(name) or not name.isprintable() or name in (".", ".."):
            why, do = (
                "a name is not empty and has no blanks and colons",
                "Write it like prod/checkout/API_KEY.",
            )
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Infisical does not tell what else an identity may do."""
        name = self._see().get("name", self._project_id)
        where = {**self._at("/"), "viewSecretValue": "false"}
        self._call("GET", "", f"list the secrets of {self._where}", params=where)
        return (
            f"the environment {self._environment} of the project {name!r} can be seen; "
            "whether secrets can be written shows with the first write"
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = Place(self.name, f"KEYFORM_CANARY_{_random.token_hex(8).upper()}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._where}",
                "Check that nothing rewrites secrets there, then try again.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The value does not leave Infisical for this."""
        self.check(place)
        held = self._read(place, view=False)
        return None if held is None else Held(version_of(held), labels_of(held))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        if version is None:
            return value_of(self._read(place))
        id_, _, number = version.rpartition("/")
        if not number.isascii() or not number.isdigit():
            return None
        held = self._read(place, number=number)
        return value_of(held) if held is not None and held.get("id") == id_ else None

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`. Making a secret is refused where there is one; what a change
        replaces is looked at just before."""
        self.check(place)
        if why := fault_of(secret):
            summary = f"Store {self.name!r} cannot keep the value of {place}: {why}"
            raise StoreError(summary, "Keep it in another store.")
        refused = 0
        for _ in range(_TURNS):
            held = self._read(place)
            present = value_of(held)
            if held is not None and present == secret and labels_of(held) == dict(labels):
                return version_of(held)
            if present != secret:
                allow(self.name, place, over, present)
            try:
                written = self._write(place, held, secret, labels)
            except Refused:  # for one that was there in between, unless it comes again and again
                refused += 1
                if refused == _REFUSALS:
                    raise
                continue
            if written is not None:
                return version_of(written)
        raise StoreError(
            f"Store {self.name!r} could not write {place}: somebody else keeps making and deleting it",
            "Find out who does, then run the command again.",
        )

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. DELETE /api/v4/secrets/{secretName}. Folders stay."""
        self.check(place)
        folder, name = split(place)
        body = {**self._at(folder), "type": "shared"}
        if over != ANYTHING:  # Infisical has no conditional deletion
            allow_deletion(self.name, place, over, value_of(self._read(place)))
        if self._call("DELETE", f"/{name}", f"delete {place}", body=body, accept=(404,)) is None:
            self._see()

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._rest.close()

    def _read(self, place: Place, *, number: str | None = None, view: bool = True) -> dict[str, Any] | None:
        """GET /api/v4/secrets/{secretName}."""
        folder, name = split(place)
        params = {
            **self._at(folder),
            "type": "shared",
            "viewSecretValue": "true" if view else "false",
            "expandSecretReferences": "false",
            "include_imports": "false",
            **({} if number is None else {"version": number}),
        }
        body = self._call("GET", f"/{name}", f"read {place}", params=params, accept=(404,))
        if body is None:
            self._see()
            return None
        return self._secret(body, f"read {place}")

    def _write(
        self, place: Place, held: Mapping[str, Any] | None, secret: Secret, labels: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """POST or PATCH /api/v4/secrets/{secretName}; None where somebody else made or deleted it."""
        folder, name = split(place)
        encrypted = self._see().get("enforceEncryptedSecretManagerSecretMetadata") is True
        kept = [] if held is None else [m for m in metadata_of(held) if not str(m["key"]).startswith(LABEL)]
        ours = [{"key": LABEL + k, "value": v, "isEncrypted": encrypted} for k, v in sorted(labels.items())]
        body = {
            **self._at(folder),
            "type": "shared",
            "secretValue": secret.reveal(),
            "secretMetadata": [*kept, *ours],
        }
        doing = f"write {place}"
        if held is not None:
            told = self._call("PATCH", f"/{name}", doing, body=body, accept=(404,), secret=secret)
            return None if told is None else self._secret(told, doing)
        try:
            told = self._call("POST", f"/{name}", doing, body=body, accept=(404,), secret=secret)
            if told is None:
                self._make_folders(place, folder)
                told = self._call("POST", f"/{name}", doing, body=body, secret=secret)
        except Refused:
            if self._read(place, view=False) is None:
                raise
            return None
        return self._secret(told, doing)

    def _make_folders(self, place: Place, folder: str) -> None:
        """POST /api/v2/folders, from the top down; one that is there already is refused with 400."""
        self._see()
        above = "/"
        for name in folder.strip("/").split("/"):
            body = {**self._at(above), "name": name}
            body["path"] = body.pop("secretPath")
            doing = f"make the folder {above}{name} for {place}"
            self._rest.call("POST", "/api/v2/folders", doing, self._credential, body=body, accept=(400,))
            above += f"{name}/"

    def _see(self) -> Mapping[str, Any]:
        """The project, which must have the environment: a 404 may come from these as well as from a secret
        that is not there. GET /api/v1/projects/{projectId}."""
        if self._project is None:
            path = f"/api/v1/projects/{quote(self._project_id, safe='')}"
            answer = self._rest.call("GET", path, f"see {self._where}", self._credential)
            project = answer.body.get("project")
            environments = project.get("environments", ()) if isinstance(project, dict) else ()
            slugs = sorted(str(e.get("slug")) for e in environments if isinstance(e, dict))
            if self._environment not in slugs:
                raise StoreError(
                    f"Store {self.name!r}: there is no {self._where}",
                    f"Write `environment` as one of: {', '.join(slugs)}.",
                )
            self._project = project
        return self._project or {}

    def _at(self, folder: str) -> dict[str, str]:
        return {"projectId": self._project_id, "environment": self._environment, "secretPath": folder}

    def _call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        accept: tuple[int, ...] = (),
        secret: Secret | None = None,
    ) -> Any:
        """A call about secrets: what it answers, or None for an accepted refusal."""
        answer = self._rest.call(
            method,
            f"/api/v4/secrets{path}",
            doing,
            self._credential,
            params=params,
            body=body,
            accept=accept,
            secret=secret,
        )
        if answer.status in accept:
            return None
        if "approval" in answer.body:
            raise StoreError(
                f"Store {self.name!r} could not {doing}: Infisical opened a request for approval instead",
                "Close that request, and let the policy of this folder except keyform's identity.",
            )
        return answer.body

    def _secret(self, body: Mapping[str, Any], doing: str) -> dict[str, Any]:
        secret = body.get("secret")
        if not isinstance(secret, dict) or not {"id", "version"} <= secret.keys():
            raise StoreError(
                f"Store {self.name!r} could not {doing}: the answer is not what Infisical documents",
                "Check the store's `endpoint`.",
            )
        return secret
