"""GitHub's secrets: of a repository, an environment or an organisation, for Actions or for Dependabot.

They can be written and never read back. What is told of one is when it was written last, to the second, and
that is its version here; a write in the same second as the one before it is made again in the next, so that
no two writes of keyform share a version. Values are sealed with libsodium for the public key of the place.
Source: https://docs.github.com/en/rest/actions/secrets and https://docs.github.com/en/rest/dependabot/secrets.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets as _random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.github_api import GitHubApi
from keyform.stores.http_access import checked_address, credential
from keyform.stores.over import allow_deletion, allow_held
from keyform.stores.quoting import quoted

LARGEST = 48 * 1024
"""Bytes; "Secrets are limited to 48 KB in size"."""
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+\Z")
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
_WRITES = 4


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> GitHubActionsStore:
    """The store that a configuration declares.

    Options: ``repository`` (``OWNER/NAME``), with ``environment`` or without, or ``organization``; ``app``
    (``actions`` or ``dependabot``); ``visibility`` and ``selected_repositories`` of an organisation's
    secrets; ``endpoint``; ``token``, by default ``$GITHUB_TOKEN``. Raises ``StoreError``.
    """
    endpoint = checked_address(name, str(options.get("endpoint", "https://api.github.com")), insecure=False)
    token = credential(name, options, env, "token", "GITHUB_TOKEN")
    return GitHubActionsStore(name, options, GitHubApi(name, endpoint, token))


class GitHubActionsStore:
    """A :class:`~keyform.ports.Store` whose values cannot be read back. See :func:`open_store`."""

    readable = False

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        api: GitHubApi,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._api = api
        self._sleep = sleep
        self._path, self._where, self._scope = _locate(name, options)
        self._organization: str | None = options.get("organization")
        self._visibility: str = options.get("visibility", "private")
        self._selected: tuple[str | int, ...] = tuple(options.get("selected_repositories", ()))
        self._key: tuple[str, PublicKey] | None = None
        self._ids: list[int] | None = None
        # GitHub asks for one mutating request at a time.
        self._writing = threading.Lock()

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        path = place.path
        if place.field is not None:
            why, do = (
                "its secrets have no fields",
                f"Give it a name of its own, such as {path}_{place.field}.",
            )
        elif path.startswith("GITHUB_"):
            why, do = "GitHub keeps names that start with GITHUB_ for itself", "Choose another name."
        elif not _NAME.match(path):
            usual = re.sub("[^A-Z0-9_]", "_", path.upper())
            why = "a name has the letters A to Z, digits and _ alone, and no digit at its start"
            do = f"Write it like {usual}." if _NAME.match(usual) else "Choose another name."
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. GitHub tells scopes of classic tokens alone; what another kind
        of token may write shows with the first write."""
        answer = self._api.call("GET", f"{self._path}/public-key", f"see the secrets of {self._where}")
        told = answer.headers.get("X-OAuth-Scopes", "")
        scopes = [scope.strip() for scope in told.split(",") if scope.strip()]
        if scopes and self._scope not in scopes:
            raise StoreError(
                f"Store {self.name!r}: the token may not write secrets of {self._where}: it has the scopes "
                f"{quoted(told)}",
                f"Give it the scope {self._scope}, or use a fine-grained token with Secrets: read and write.",
            )
        self._selected_ids()
        shown = (
            "written and seen" if scopes else "seen; whether they can be written shows with the first write"
        )
        return f"secrets of {self._where} can be {shown}, and never read"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        keeps(self, Place(self.name, f"KEYFORM_CANARY_{_random.token_hex(8).upper()}"))

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is ``updated_at``."""
        self.check(place)
        doing = f"look at {place} in {self._where}"
        answer = self._api.call("GET", f"{self._path}/{place.path}", doing, also=(404,))
        if answer.status == 404:
            self._see()
            return None
        updated = answer.body.get("updated_at") if isinstance(answer.body, dict) else None
        if not isinstance(updated, str):
            raise self._unexpected(doing)
        return Held(updated)

    def get(self, place: Place, version: str | None = None) -> NoReturn:
        """Refused: see :attr:`readable`."""
        raise StoreError(
            f"Store {self.name!r} cannot read {place}: GitHub never gives a secret back",
            "Keep the secret in a second store too, if keyform has to read it.",
        )

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> str:
        """See :class:`~keyform.ports.Store`. GitHub has no labels for secrets and no conditional writes:
        ``over`` is looked at just before."""
        self.check(place)
        value = self._encoded(place, secret)
        with self._writing:
            before = self.look(place)
            allow_held(self.name, place, over, before)
            for attempt in range(_WRITES):
                if attempt:
                    self._sleep(1.0)
                self._write(place, value)
                held = self.look(place)
                if held and held.version and (before is None or held.version != before.version):
                    return held.version
        raise StoreError(
            f"Store {self.name!r}: GitHub took {place} and does not show that it was written",
            "Run it again in a minute; https://www.githubstatus.com tells of delays.",
        )

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        doing = f"delete {place} from {self._where}"
        with self._writing:
            if over != ANYTHING:  # GitHub has no conditional deletion
                allow_deletion(self.name, place, over, self.look(place))
            if self._api.call("DELETE", f"{self._path}/{place.path}", doing, also=(404,)).status == 404:
                self._see()

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._api.close()

    def _encoded(self, place: Place, secret: Secret) -> bytes:
        try:
            value = secret.reveal().encode()
        except UnicodeEncodeError:
            value = None
        if value is None:  # raised out here because the first exception carries the text
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: the secret is not valid Unicode text",
                "See what the key service gave.",
            )
        if len(value) > LARGEST:
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: a secret there has at most {LARGEST:,} bytes, and "
                f"this one {len(value):,}",
                "Keep it in another store.",
            )
        return value

    def _write(self, place: Place, value: bytes) -> None:
        doing, path = f"write {place} to {self._where}", f"{self._path}/{place.path}"
        for again in (False, True):
            key_id, key = self._public_key()
            sealed = base64.b64encode(SealedBox(key).encrypt(value)).decode()
            body: dict[str, Any] = {"encrypted_value": sealed, "key_id": key_id}
            if self._organization:
                body["visibility"] = self._visibility
                if self._visibility == "selected":
                    body["selected_repository_ids"] = self._selected_ids()
            # GitHub refuses with 422 what was sealed for a key that it has since replaced.
            if self._api.call("PUT", path, doing, body, also=() if again else (422,)).status != 422:
                return
            self._key = None

    def _see(self) -> None:
        """Tell a secret that is not there from a place that the token may not see: GitHub answers 404 for
        both, and shows the public key of the former alone. Raises ``StoreError`` for the latter."""
        self._key = None
        self._public_key()

    def _public_key(self) -> tuple[str, PublicKey]:
        """The id and the key that secrets are sealed for."""
        key = self._key
        if key is None:
            doing = f"see the secrets of {self._where}"
            body = self._api.call("GET", f"{self._path}/public-key", doing).body
            try:
                key = str(body["key_id"]), PublicKey(base64.b64decode(body["key"], validate=True))
            except (TypeError, KeyError, binascii.Error, ValueError, CryptoError):
                raise self._unexpected(doing) from None
            self._key = key
        return key

    def _selected_ids(self) -> list[int]:
        """The numbers of the repositories that may use an organisation's secrets."""
        if self._ids is None:
            found = []
            for wanted in self._selected:
                if isinstance(wanted, int):
                    found.append(wanted)
                    continue
                full = wanted if "/" in wanted else f"{self._organization}/{wanted}"
                doing = f"find the repository {full}"
                body = self._api.call("GET", f"/repos/{quote(full)}", doing).body
                if not isinstance(body, dict) or not isinstance(body.get("id"), int):
                    raise self._unexpected(doing)
                found.append(body["id"])
            self._ids = found
        return self._ids

    def _unexpected(self, doing: str) -> StoreError:
        return StoreError(
            f"Store {self.name!r} could not {doing}: the answer is not what GitHub documents",
            "Check the store's `endpoint`: it must be the address of GitHub's REST API.",
        )


def _locate(name: str, options: Mapping[str, Any]) -> tuple[str, str, str]:
    """The path of the secrets, what they belong to in words, and the scope that a classic token needs.
    Raises ``StoreError`` for options that do not fit together."""

    def refuse(why: str, do: str) -> StoreError:
        return StoreError(f"Store {name!r}: {why}", do)

    repository, organization = options.get("repository"), options.get("organization")
    environment, app = options.get("environment"), options.get("app", "actions")
    if (repository is None) == (organization is None):
        raise refuse(
            "secrets belong to a repository or an organisation",
            "Give one of `repository` and `organization`.",
        )
    if repository is not None and not _REPOSITORY.match(repository):
        raise refuse(
            f"`{quoted(repository)}` is not a repository", "Write it as OWNER/NAME, such as acme/web."
        )
    if environment is not None and (repository is None or app != "actions"):
        raise refuse("environments belong to a repository and to Actions", "Leave out `environment`.")
    if organization is None and ("visibility" in options or "selected_repositories" in options):
        raise refuse(
            "a repository's secrets have no visibility", "Leave out `visibility` and `selected_repositories`."
        )
    if bool(options.get("selected_repositories")) != (options.get("visibility") == "selected"):
        raise refuse(
            "`visibility: selected` and `selected_repositories` go together", "Give both or neither."
        )
    of = f"Dependabot in {organization or repository}" if app == "dependabot" else organization or repository
    if organization is not None:
        return f"/orgs/{quote(organization, safe='')}/{app}/secrets", f"the organisation {of}", "admin:org"
    path = f"/repos/{quote(str(repository))}"
    if environment is not None:
        escaped = quote(str(environment), safe="")
        return f"{path}/environments/{escaped}/secrets", f"the environment {environment} of {of}", "repo"
    return f"{path}/{app}/secrets", f"the repository {of}", "repo"
