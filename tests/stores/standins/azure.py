"""Stand-ins for Azure Key Vault's secrets and for a managed identity: the published REST interface over TLS,
with the rules of its documentation in memory. Written beside keyform, they are no emulator of Azure's."""

from __future__ import annotations

import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

LARGEST = 25_600


class Refusal(Exception):
    def __init__(self, status: int, code: str, inner: str | None = None, said: str = "") -> None:
        super().__init__(said)
        self.status = status
        error: dict[str, Any] = {"code": code, "message": said or code}
        if inner:
            error["innererror"] = {"code": inner}
        self.body = {"error": error}


def refuse(status: int, code: str, inner: str | None = None, said: str = "") -> NoReturn:
    raise Refusal(status, code, inner, said)


@dataclass
class Kept:
    """A secret: its versions, oldest first; the days of a deleted one; how many more answers say that it is
    being deleted or recovered."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    deleted: bool = False
    busy: int = 0


@dataclass
class Vault:
    """The service. ``fault`` is asked before each call, by its method and path, and may raise ``Refusal`` or
    wait. ``settling``: for how many calls a deleted or recovered secret stays busy. ``denied``: operations
    that the credential may not. ``calls`` counts."""

    fault: Callable[[str], None] = lambda call: None
    denied: frozenset[str] = frozenset()
    settling: int = 0
    tokens: set[str] = field(default_factory=lambda: {"token-of-today"})
    calls: list[str] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    url: str = ""
    lock: Any = field(default_factory=threading.RLock)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        self.calls.append(f"{method} {path}")
        self.fault(f"{method} {path}")
        with self.lock:
            for rule, does in ROUTES:
                found = re.fullmatch(rule, f"{method} {path}")
                if found:
                    if does in self.denied:
                        said = f"Caller is not authorized. Action: 'Microsoft.KeyVault/vaults/secrets/{does}'"
                        refuse(403, "Forbidden", "ForbiddenByRbac", said)
                    return getattr(self, does)(body, **found.groupdict())
        refuse(400, "BadParameter")

    def set(self, body: dict[str, Any], name: str) -> Any:
        kept = self.kept.setdefault(name.lower(), Kept())
        self.settled(kept, name)
        if kept.deleted:
            refuse(409, "Conflict", "ObjectIsDeletedButRecoverable", f"Secret {name} is currently deleted.")
        if len(body["value"].encode()) > LARGEST:
            refuse(400, "BadParameter", None, "The secret is larger than 25600 bytes.")
        check_tags(body.get("tags") or {})
        kept.versions.append(
            {
                "version": secrets.token_hex(16),
                "value": body["value"],
                "contentType": body.get("contentType"),
                "tags": body.get("tags") or {},
                "enabled": True,
                "created": int(time.time()),
            }
        )
        return self.bundle(name, kept.versions[-1])

    def get(self, body: dict[str, Any], name: str, version: str | None = None) -> Any:
        found = self.version(name, version or "")
        if not found["enabled"]:
            refuse(403, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
        return self.bundle(name, found)

    def update(self, body: dict[str, Any], name: str, version: str | None = None) -> Any:
        found = self.version(name, version or "")
        if "tags" in body:
            check_tags(body["tags"])
            found["tags"] = body["tags"]
        found["enabled"] = body.get("attributes", {}).get("enabled", found["enabled"])
        return {k: v for k, v in self.bundle(name, found).items() if k != "value"}

    def list_versions(self, body: dict[str, Any], name: str) -> Any:
        kept = self.kept.get(name.lower())
        versions = kept.versions if kept and not kept.deleted else []
        shown = [self.bundle(name, one) for one in versions]
        return {"value": [{k: v for k, v in one.items() if k != "value"} for one in shown], "nextLink": None}

    def delete(self, body: dict[str, Any], name: str) -> Any:
        self.version(name, "")
        kept = self.kept[name.lower()]
        kept.deleted, kept.busy = True, self.settling
        bundle = self.bundle(name, kept.versions[-1])
        return {**bundle, "value": None, "recoveryId": f"{self.url}/deletedsecrets/{name}"}

    def recover(self, body: dict[str, Any], name: str) -> Any:
        kept = self.deleted(name)
        self.settled(kept, name)
        kept.deleted, kept.busy = False, self.settling
        return self.bundle(name, kept.versions[-1])

    def purge(self, body: dict[str, Any], name: str) -> Any:
        self.settled(self.deleted(name), name)
        del self.kept[name.lower()]

    # What the tests reach in for

    def deleted(self, name: str) -> Kept:
        kept = self.kept.get(name.lower())
        if kept is None or not kept.deleted:
            refuse(404, "SecretNotFound", None, f"A deleted secret with name {name} was not found.")
        return kept

    def version(self, name: str, version: str) -> dict[str, Any]:
        kept = self.kept.get(name.lower())
        found = [one for one in kept.versions if version in ("", one["version"])] if kept else []
        if kept is None or kept.deleted or not found:
            refuse(404, "SecretNotFound", None, f"A secret with (name/id) {name} was not found.")
        return found[-1]

    def settled(self, kept: Kept, name: str) -> None:
        if kept.busy:
            kept.busy -= 1
            what = "ObjectIsBeingDeleted" if kept.deleted else "ObjectIsBeingRecovered"
            refuse(409, "Conflict", what, f"Secret {name} is in the middle of something.")

    def bundle(self, name: str, version: dict[str, Any]) -> dict[str, Any]:
        times = {"created": version["created"], "updated": version["created"]}
        return {
            "id": f"{self.url}/secrets/{name}/{version['version']}",
            "value": version["value"],
            "contentType": version["contentType"],
            "tags": version["tags"],
            "attributes": {"enabled": version["enabled"], **times, "recoverableDays": 90},
        }

    def readable(self) -> dict[str, str]:
        """What anybody who may read the vault sees."""
        kept = {name: one.versions[-1] for name, one in self.kept.items() if not one.deleted}
        return {name: version["value"] for name, version in kept.items() if version["enabled"]}


NAME, VERSION = r"(?P<name>[A-Za-z0-9-]{1,127})", r"(?P<version>[0-9a-f]{32})?"
ROUTES = (
    (f"PUT /secrets/{NAME}", "set"),
    (f"GET /secrets/{NAME}/versions", "list_versions"),
    (f"GET /secrets/{NAME}(?:/{VERSION})?", "get"),
    (f"PATCH /secrets/{NAME}(?:/{VERSION})?", "update"),
    (f"DELETE /secrets/{NAME}", "delete"),
    (f"POST /deletedsecrets/{NAME}/recover", "recover"),
    (f"DELETE /deletedsecrets/{NAME}", "purge"),
)


def check_tags(tags: dict[str, str]) -> None:
    if len(tags) > 15 or any(len(k) > 256 or len(v) > 256 for k, v in tags.items()):
        refuse(400, "BadParameter", None, "Too many or too long tags.")


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece
    vault: Vault

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if bearer not in self.vault.tokens:
            # The SDK wants the vault below the domain of the resource that tokens are for.
            resource = f"https://{urlsplit(self.vault.url).netloc.partition('.')[2]}"
            challenge = f'Bearer authorization="https://127.0.0.1/tenant", resource="{resource}"'
            refused = {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a token."}}
            return self.send(401, refused, {"WWW-Authenticate": challenge})
        path = urlsplit(self.path).path.rstrip("/")
        try:
            answered = self.vault.answer(self.command, path, json.loads(body or b"{}"))
        except Refusal as refusal:
            return self.send(refusal.status, refusal.body, {})
        return self.send(200 if answered is not None else 204, answered, {})

    def do_GET(self) -> None:
        self.respond()

    def do_PUT(self) -> None:
        self.respond()

    def do_PATCH(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def do_DELETE(self) -> None:
        self.respond()

    def send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def key_vault(vault: Vault, key_file: Path, certificate_file: Path) -> Iterator[str]:
    """Serve a vault on a free port of this machine; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (_Answering,), {"vault": vault}))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    vault.url = f"https://127.0.0.1:{server.server_address[1]}"
    with _served(server):
        yield vault.url


@contextmanager
def managed_identity(token: Callable[[], str | None]) -> Iterator[dict[str, str]]:
    """What App Service offers to the programs that it runs: tokens at a local address; the environment that
    tells of it. ``token`` None: it refuses."""

    class Identity(BaseHTTPRequestHandler):
        wbufsize = -1  # an answer in one piece

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

        def do_GET(self) -> None:
            given = token()
            body: dict[str, Any] = {"error": {"code": "invalid_grant", "message": "The identity is gone."}}
            if given is not None:
                body = {"access_token": given, "token_type": "Bearer", "resource": "vault"}
                body["expires_on"] = str(int(time.time()) + 3600)
            data = json.dumps(body).encode()
            self.send_response(200 if given is not None else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    with _served(server):
        port = server.server_address[1]
        yield {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{port}/token", "IDENTITY_HEADER": "header"}


@contextmanager
def _served(server: ThreadingHTTPServer) -> Iterator[None]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
