"""How keyform proves to Vault or OpenBao who it is: a token, or a login that it can repeat."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, VaultError

from keyform.errors import StoreError
from keyform.masking import masked
from keyform.model import Secret

POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  a path, where pods find theirs


@dataclass(frozen=True, slots=True)
class Credentials:
    """``method`` is ``token``, ``approle``, ``kubernetes`` or ``jwt``, ``mount`` where the method is mounted.
    ``secret`` is the token, the secret id or the JWT, unless it is in ``file``; ``origin`` says where it
    comes from."""

    method: str
    mount: str
    role: str
    secret: Secret | None
    file: Path | None
    origin: str

    @property
    def repeats(self) -> bool:
        """Whether a new token can be had at any time."""
        return self.method != "token"

    def read(self, store: str) -> Secret | None:
        """The secret that is presented, read anew each time: who issues one in a file changes it there."""
        if self.file is None:
            return self.secret
        try:
            text = self.file.read_text().strip()
        except (OSError, UnicodeDecodeError) as problem:
            why = "it is not there" if isinstance(problem, FileNotFoundError) else "it cannot be read"
            raise StoreError(
                f"Store {store!r} takes its {self.origin} from {self.file}, and {why}", _WAYS
            ) from None
        if not text:
            raise StoreError(
                f"Store {store!r} takes its {self.origin} from {self.file}, which is empty", _WAYS
            )
        return Secret(text)


_WAYS = (
    "Log in with `vault login` or `bao login`, set VAULT_TOKEN, or give the store `auth` with a method that "
    "fits where keyform runs: approle, kubernetes or jwt."
)


def credentials_of(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> Credentials:
    """What the options of the store ``name`` and the environment say. Does no I/O. Raises ``StoreError``."""
    auth = options.get("auth")
    if auth is None:
        if options.get("token") is not None:
            return Credentials("token", "token", "", options["token"], None, "the option `token`")
        for variable in ("BAO_TOKEN", "VAULT_TOKEN"):
            if env.get(variable):
                return Credentials("token", "token", "", Secret(env[variable]), None, variable)
        home = env.get("HOME")
        file = Path(home) / ".vault-token" if home else Path("~/.vault-token").expanduser()
        return Credentials("token", "token", "", None, file, "token")
    if options.get("token") is not None:
        raise StoreError(
            f"Store {name!r} has both `token` and `auth`", "Keep one of them; `auth` outlives a long run."
        )
    method = auth["method"]
    mount = auth.get("mount", method).strip("/")
    if method == "approle":
        return Credentials(method, mount, auth["role_id"], auth.get("secret_id"), None, "secret id")
    if auth.get("token") is not None and auth.get("jwt_file") is not None:
        raise StoreError(f"Store {name!r} has both `token` and `jwt_file` in `auth`", "Keep one of them.")
    if auth.get("token") is not None:
        return Credentials(method, mount, auth["role"], auth["token"], None, "JWT")
    file = project_folder / auth.get("jwt_file", POD_TOKEN)
    return Credentials(method, mount, auth["role"], None, file, "JWT")


class Session:
    """The token of one client, had when first needed and kept alive while it can be."""

    def __init__(self, store: str, client: hvac.Client, credentials: Credentials) -> None:
        self._store = store
        self._client = client
        self._credentials = credentials
        self._turn = threading.Lock()
        self._due = float("inf")  # when the token has to be renewed, by time.monotonic
        self._lease = 0.0
        self._known: tuple[Secret, ...] = ()

    @property
    def who(self) -> str:
        """How keyform shows who it is, for messages."""
        c = self._credentials
        return f"the {c.method} login at auth/{c.mount}" if c.repeats else "the token"

    @property
    def _source(self) -> str:
        return str(self._credentials.file or self._credentials.origin)

    @property
    def known(self) -> tuple[Secret, ...]:
        """Every credential that the server has been told or has given."""
        return self._known

    def token(self) -> str:
        """The token to use now. Raises ``StoreError``, and what hvac and requests raise."""
        if not self._client.token or time.monotonic() >= self._due:
            with self._turn:
                if not self._client.token:
                    self._begin()
                elif time.monotonic() >= self._due:
                    self._renew()
        return str(self._client.token)

    def refused(self, token: str) -> bool:
        """What to do about a "permission denied" to ``token``: True when there is another token now, False
        when the token is good and may not. Raises ``StoreError`` for a token that is dead for good."""
        with self._turn:
            if self._client.token != token:
                return True
            if self._alive():
                return False
            if not self._credentials.repeats:
                raise self._dead()
            self._begin()
            return True

    def close(self) -> None:
        """End a token that was had by a login; nobody else knows it."""
        with self._turn:
            if self._credentials.repeats and self._client.token:
                with contextlib.suppress(VaultError, OSError):
                    self._client.auth.token.revoke_self()
            self._client.token = ""

    def _begin(self) -> None:
        secret = self._credentials.read(self._store)
        if secret is not None and not re.fullmatch("[!-~]+", secret.reveal()):
            raise StoreError(
                f"Store {self._store!r}: {self._source} holds a character that no credential has",
                "Set it to the credential alone, without spaces and line breaks.",
            )
        self._known += (secret,) if secret else ()
        if self._credentials.repeats:
            self._log_in(secret)
        elif secret is not None:
            self._client.token = secret.reveal()
            with contextlib.suppress(VaultError):  # a policy may forbid it to look at itself
                data = self._client.auth.token.lookup_self()["data"]
                self._keep(data["ttl"] if data.get("renewable") else 0)

    def _log_in(self, secret: Secret | None) -> None:
        c, auth = self._credentials, self._client.auth
        self._client.token = ""
        text = secret.reveal() if secret else None
        try:
            if c.method == "approle":
                answer = auth.approle.login(c.role, text, mount_point=c.mount)
            elif c.method == "kubernetes":
                answer = auth.kubernetes.login(c.role, text, mount_point=c.mount)
            else:
                answer = auth.jwt.jwt_login(c.role, text, path=c.mount)
        except (InvalidRequest, InvalidPath, Forbidden) as refusal:
            told = masked(", ".join(refusal.errors or ()) or "no reason given", self._known)
            raise StoreError(
                f"Store {self._store!r}: the {c.method} login at auth/{c.mount} was refused: {told}",
                f"Check that the method is mounted there, the role, and that the {c.origin} is still valid.",
            ) from None
        self._known += (Secret(answer["auth"]["client_token"]),)
        self._keep(answer["auth"]["lease_duration"])

    def _renew(self) -> None:
        try:
            lease = self._client.auth.token.renew_self()["auth"]["lease_duration"]
        except (VaultError, requests.RequestException):
            lease = 0
        if self._credentials.repeats and lease < self._lease / 2:  # near the end of what it may live
            self._begin()
        else:
            self._keep(lease)

    def _keep(self, lease: float) -> None:
        self._lease = max(self._lease, lease)
        self._due = time.monotonic() + max(lease / 2, 1) if lease else float("inf")

    def _alive(self) -> bool:
        try:
            self._client.auth.token.lookup_self()
        except Forbidden:
            return False
        return True

    def _dead(self) -> StoreError:
        return StoreError(
            f"Store {self._store!r}: the token from {self._source} is not valid: it has expired, or was "
            "revoked",
            f"Get a new one, then run keyform again: it finishes what it began. {_WAYS}",
        )
