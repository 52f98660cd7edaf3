"""A stand-in for Google Secret Manager: the published gRPC interface, by Google's own generated messages,
with the rules of its documentation in memory. Written beside keyform, it is no emulator of Google's."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn
from urllib.parse import parse_qs

import grpc
from google.cloud import secretmanager_v1 as sm
from google.protobuf import empty_pb2

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
STATE = sm.SecretVersion.State
LARGEST = 65_536


class Refusal(Exception):
    def __init__(self, code: grpc.StatusCode, said: str) -> None:
        super().__init__(said)
        self.code = code


def refuse(code: str, said: str) -> NoReturn:
    raise Refusal(grpc.StatusCode[code], said)


@dataclass
class Kept:
    """A secret with its versions."""

    secret: sm.Secret
    versions: list[tuple[sm.SecretVersion, bytes]] = field(default_factory=list)


@dataclass
class SecretManager:
    """The service. ``fault`` is asked before each call, by the method's name, and may raise ``Refusal`` or
    wait; ``after`` once its effect is there. ``calls`` counts."""

    fault: Callable[[str], None] = lambda method: None
    after: Callable[[str], None] = lambda method: None
    denied: frozenset[str] = frozenset()
    calls: list[str] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)

    def answer(self, method: str, request: Any) -> Any:
        self.calls.append(method)
        self.fault(method)
        name = getattr(request, "name", "") or getattr(request, "parent", "") or request.secret.name
        if method in self.denied:
            refuse("PERMISSION_DENIED", f"Permission '{PERMISSIONS[method]}' denied on resource '{name}'")
        with self.lock:
            answered = getattr(self, snake(method))(request)
        self.after(method)
        return answered

    def create_secret(self, request: sm.CreateSecretRequest) -> sm.Secret:
        if not re.fullmatch("[A-Za-z0-9_-]{1,255}", request.secret_id):
            refuse("INVALID_ARGUMENT", "Secret id is not valid")
        regional = "/locations/" in request.parent
        policy = sm.Secret.pb(request.secret).replication.WhichOneof("replication")
        if regional == bool(policy):
            refuse("INVALID_ARGUMENT", "Global secrets need a replication policy, regional ones take none")
        name = f"{request.parent}/secrets/{request.secret_id}"
        if name in self.kept:
            refuse("ALREADY_EXISTS", f"Secret [{name}] already exists.")
        made = sm.Secret(request.secret, name=name, etag=etag())
        check(made)
        self.kept[name] = Kept(made)
        return made

    def get_secret(self, request: sm.GetSecretRequest) -> sm.Secret:
        return self.one(request.name).secret

    def update_secret(self, request: sm.UpdateSecretRequest) -> sm.Secret:
        kept = self.one(request.secret.name)
        same_etag(request.secret.etag, kept.secret.etag)
        assert list(request.update_mask.paths) == ["annotations"]
        changed = sm.Secret(kept.secret, etag=etag())
        changed.annotations = dict(request.secret.annotations)
        check(changed)
        kept.secret = changed
        return changed

    def delete_secret(self, request: sm.DeleteSecretRequest) -> empty_pb2.Empty:
        same_etag(request.etag, self.one(request.name).secret.etag)
        del self.kept[request.name]
        return empty_pb2.Empty()

    def add_secret_version(self, request: sm.AddSecretVersionRequest) -> sm.SecretVersion:
        kept = self.one(request.parent)
        if not 0 < len(request.payload.data) <= LARGEST:
            refuse("INVALID_ARGUMENT", "The secret payload's size is not allowed")
        name = f"{request.parent}/versions/{len(kept.versions) + 1}"
        version = sm.SecretVersion(name=name, state=STATE.ENABLED, etag=etag())
        kept.versions.append((version, request.payload.data))
        return version

    def get_secret_version(self, request: sm.GetSecretVersionRequest) -> sm.SecretVersion:
        return self.version(request.name)[0]

    def list_secret_versions(self, request: sm.ListSecretVersionsRequest) -> sm.ListSecretVersionsResponse:
        versions = [version for version, _ in reversed(self.one(request.parent).versions)]
        return sm.ListSecretVersionsResponse(versions=versions, total_size=len(versions))

    def access_secret_version(self, request: sm.AccessSecretVersionRequest) -> sm.AccessSecretVersionResponse:
        version, data = self.version(request.name)
        if version.state != STATE.ENABLED:
            refuse(
                "FAILED_PRECONDITION", f"Secret Version [{version.name}] is in {version.state.name} state."
            )
        return sm.AccessSecretVersionResponse(name=version.name, payload=sm.SecretPayload(data=data))

    def destroy_secret_version(self, request: sm.DestroySecretVersionRequest) -> sm.SecretVersion:
        version, _ = self.version(request.name)
        if version.state == STATE.DESTROYED:
            refuse("FAILED_PRECONDITION", f"Secret Version [{version.name}] is in DESTROYED state.")
        return self.set_state(request.name, STATE.DESTROYED)

    # What the tests reach in for

    def set_state(self, name: str, state: STATE) -> sm.SecretVersion:
        version, data = self.version(name)
        changed = sm.SecretVersion(version, state=state, etag=etag())
        kept = self.one(name.partition("/versions/")[0])
        kept.versions[int(version.name.rpartition("/")[2]) - 1] = (
            changed,
            b"" if state == STATE.DESTROYED else data,
        )
        return changed

    def somebody_writes(self, name: str, text: str) -> None:
        """As a person with gcloud does."""
        with self.lock:
            kept = self.kept.setdefault(name, Kept(sm.Secret(name=name, etag=etag())))
            version = f"{name}/versions/{len(kept.versions) + 1}"
            kept.versions.append((sm.SecretVersion(name=version, state=STATE.ENABLED), text.encode()))

    def one(self, name: str) -> Kept:
        if name not in self.kept:
            refuse("NOT_FOUND", f"Secret [{name}] not found.")
        return self.kept[name]

    def version(self, name: str) -> tuple[sm.SecretVersion, bytes]:
        secret, _, number = name.partition("/versions/")
        kept = self.one(secret)
        index = len(kept.versions) if number == "latest" else int(number)
        if not 0 < index <= len(kept.versions):
            refuse("NOT_FOUND", f"Secret Version [{name}] not found.")
        return kept.versions[index - 1]


def etag() -> str:
    return f'"{secrets.token_hex(7)}"'


def same_etag(given: str, present: str) -> None:
    if given and given != present:
        refuse("ABORTED", "The etag of the resource does not match the one in the request.")


def check(secret: sm.Secret) -> None:
    """The limits of labels and annotations, by Google's pages on them."""
    for key, value in secret.labels.items():
        if not re.fullmatch("[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch("[a-z0-9_-]{0,63}", value):
            refuse("INVALID_ARGUMENT", f"Label {key} is not valid")
    for key in secret.annotations:
        if not re.fullmatch("[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", key):
            refuse("INVALID_ARGUMENT", f"Annotation {key} is not valid")
    if sum(len(k.encode()) + len(v.encode()) for k, v in secret.annotations.items()) > 16_384:
        refuse("INVALID_ARGUMENT", "Annotations are larger than 16 KiB")


def snake(method: str) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "_", method).lower()


PERMISSIONS = {
    "CreateSecret": "secretmanager.secrets.create",
    "GetSecret": "secretmanager.secrets.get",
    "UpdateSecret": "secretmanager.secrets.update",
    "DeleteSecret": "secretmanager.secrets.delete",
    "AddSecretVersion": "secretmanager.versions.add",
    "GetSecretVersion": "secretmanager.versions.get",
    "ListSecretVersions": "secretmanager.versions.list",
    "AccessSecretVersion": "secretmanager.versions.access",
    "DestroySecretVersion": "secretmanager.versions.destroy",
}

REQUESTS: dict[str, Any] = {
    "CreateSecret": sm.CreateSecretRequest,
    "GetSecret": sm.GetSecretRequest,
    "UpdateSecret": sm.UpdateSecretRequest,
    "DeleteSecret": sm.DeleteSecretRequest,
    "AddSecretVersion": sm.AddSecretVersionRequest,
    "GetSecretVersion": sm.GetSecretVersionRequest,
    "ListSecretVersions": sm.ListSecretVersionsRequest,
    "AccessSecretVersion": sm.AccessSecretVersionRequest,
    "DestroySecretVersion": sm.DestroySecretVersionRequest,
}


@contextmanager
def secret_manager(
    served: SecretManager, certificate: tuple[bytes, bytes] | None = None, token: str | None = None
) -> Iterator[str]:
    """Serve on a free port of this machine, by TLS with a private key and a certificate; ``HOST:PORT``. With
    ``token``, nobody else is let in."""

    def handler(method: str) -> grpc.RpcMethodHandler:
        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                sent = dict(context.invocation_metadata()).get("authorization")
                if token is not None and sent != f"Bearer {token}":
                    refuse("UNAUTHENTICATED", "Request had invalid authentication credentials.")
                return served.answer(method, request)
            except Refusal as refused:
                context.abort(refused.code, str(refused))

        return grpc.unary_unary_rpc_method_handler(
            respond,
            request_deserializer=REQUESTS[method].deserialize,
            response_serializer=lambda m: (
                m.SerializeToString() if isinstance(m, empty_pb2.Empty) else type(m).serialize(m)
            ),
        )

    server = grpc.server(ThreadPoolExecutor(16))
    handlers = {method: handler(method) for method in REQUESTS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextmanager
def token_exchange(subject: str, token: str) -> Iterator[str]:
    """The URL of a token service that gives ``token`` for the token ``subject`` of somebody else, as in
    identity federation."""

    class Exchange(BaseHTTPRequestHandler):
        wbufsize = -1  # an answer in one piece

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            good = sent["subject_token"] == [subject]
            body = {"error": "invalid_grant", "error_description": "The token has expired."}
            if good:
                kind = "urn:ietf:params:oauth:token-type:access_token"
                body = {"access_token": token, "issued_token_type": kind, "token_type": "Bearer"}
            data = json.dumps({**body, "expires_in": 3600}).encode()
            self.send_response(200 if good else 400)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
