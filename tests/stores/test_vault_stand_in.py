"""The store ``vault`` before a stand-in: options, namespaces, TLS, redirects, and servers in a bad way."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.vault import VaultStore, open_store

TEXT = "sk_live_canary_5d41402abc4b2a76"
TOKEN = "hvs.token-5d41402abc4b2a76"
PLACE = Place("vault", "prod/checkout")

Answer = tuple[int, Any]
HEALTHY = {"initialized": True, "sealed": False, "standby": False}


@dataclass
class StandIn:
    """A server that answers by ``answers``, from paths to answers or functions, and else with 404. A text
    is sent as HTML, a text behind 3xx as the place to go to. ``seen`` is what it was asked."""

    answers: dict[str, Answer | Callable[[], Answer]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    def start(self, context: ssl.SSLContext | None = None) -> Callable[[], None]:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                path = self.path.partition("?")[0].removeprefix("/v1/")
                outer.seen.append((self.command, path, dict(self.headers), body))
                found = outer.answers.get(path, (404, {"errors": []}))
                status, told = found() if callable(found) else found
                page = isinstance(told, str)
                sent = told.encode() if page else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if page else "application/json")
                self.send_header("Content-Length", str(len(sent)))
                if 300 <= status < 400:
                    self.send_header("Location", told)
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.answer)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        return stop


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client would have made."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def start() -> Iterator[Callable[..., StandIn]]:
    """``start(answers, context)``: a stand-in that is there until the test ends."""
    stops: list[Callable[[], None]] = []

    def call(answers: dict[str, Any] | None = None, context: ssl.SSLContext | None = None) -> StandIn:
        server = StandIn({"sys/health": (200, HEALTHY), **(answers or {})})
        stops.append(server.start(context))
        return server

    yield call
    for stop in stops:
        stop()


def opened(server: StandIn, tmp_path: Path, **options: Any) -> VaultStore:
    env = {"VAULT_TOKEN": TOKEN, "HOME": str(tmp_path)}
    return open_store("vault", {"address": server.url, "kv_version": 2, **options}, tmp_path, env)


def told(act: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as raised:
        act()
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    message = f"{diagnostic.summary}\n{diagnostic.detail}"
    assert TEXT not in message
    assert TOKEN not in message
    return message


def put(store: VaultStore) -> Callable[[], object]:
    return lambda: store.put(PLACE, Secret(TEXT), {}, None)


# Options


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ({}, {}, "has no address"),
        ({"address": "vault.example:8200"}, {}, "is not the address of a server"),
        ({"address": "https://v/x y"}, {}, "is not the address of a server"),
        ({"address": "http://v:8200"}, {}, "v is reached by plain http"),
        ({}, {"VAULT_ADDR": "http://v:8200"}, "v is reached by plain http"),
        ({"address": "https://me:secret@v"}, {}, "its address is not that of a server"),
        ({"address": "https://v", "client_cert": "c.pem"}, {}, "half a client certificate"),
        (
            {"address": "https://v", "token": Secret("t"), "auth": {"method": "kubernetes", "role": "r"}},
            {},
            "both `token` and `auth`",
        ),
        (
            {
                "address": "https://v",
                "auth": {"method": "jwt", "role": "r", "token": Secret("t"), "jwt_file": "f"},
            },
            {},
            "both `token` and `jwt_file`",
        ),
    ],
)
def test_options_that_cannot_work_are_told(
    options: dict[str, Any], env: dict[str, str], said: str, tmp_path: Path
) -> None:
    assert said in told(lambda: open_store("vault", options, tmp_path, env))


def test_plain_http_can_be_allowed(tmp_path: Path) -> None:
    open_store("vault", {"address": "http://v:8200", "insecure": True, "token": Secret("t")}, tmp_path, {})


def test_the_environment_names_server_namespace_and_token(
    start: Callable[..., StandIn], tmp_path: Path
) -> None:
    server = start()
    vault = {"VAULT_ADDR": server.url, "VAULT_NAMESPACE": "payments", "VAULT_TOKEN": "vaults"}
    bao = {"BAO_ADDR": server.url, "BAO_NAMESPACE": "ours", "BAO_TOKEN": "baos", "VAULT_TOKEN": "vaults"}
    for env, namespace, token in ((vault, "payments", "vaults"), (bao, "ours", "baos")):
        server.seen.clear()
        store = open_store("vault", {"kv_version": 2}, tmp_path, env)
        assert store.get(PLACE) is None
        assert {headers["X-Vault-Namespace"] for _, _, headers, _ in server.seen} == {namespace}
        assert {headers["X-Vault-Token"] for _, _, headers, _ in server.seen} == {token}


def test_logins_happen_in_the_namespace_too(start: Callable[..., StandIn], tmp_path: Path) -> None:
    login = (200, {"auth": {"client_token": "given", "lease_duration": 3600}})
    server = start({"auth/approle/login": login})
    auth = {"method": "approle", "role_id": "r", "secret_id": Secret("s")}
    store = opened(server, tmp_path, namespace="team/a", auth=auth)
    store.get(PLACE)
    store.close()
    assert [path for _, path, _, _ in server.seen] == [
        "auth/approle/login",
        "secret/data/prod/checkout",
        "auth/token/revoke-self",
    ]
    assert all(headers["X-Vault-Namespace"] == "team/a" for _, _, headers, _ in server.seen)
    assert server.seen[0][3] == {"role_id": "r", "secret_id": "s"}
    assert "X-Vault-Token" not in server.seen[0][2]


def test_the_token_of_vault_login_is_used(start: Callable[..., StandIn], tmp_path: Path) -> None:
    server = start()
    options = {"address": server.url, "kv_version": 2}
    file = tmp_path / ".vault-token"
    env = {"HOME": str(tmp_path)}
    message = told(lambda: open_store("vault", options, tmp_path, env).get(PLACE))
    assert f"takes its token from {file}, and it is not there" in message
    assert "vault login" in message
    file.write_text("\n")
    assert "empty" in told(lambda: open_store("vault", options, tmp_path, env).get(PLACE))
    file.write_text("from-the-file\n")
    open_store("vault", options, tmp_path, env).get(PLACE)
    assert server.seen[-1][2]["X-Vault-Token"] == "from-the-file"


def test_what_cannot_be_sent_is_told(start: Callable[..., StandIn], tmp_path: Path) -> None:
    server = start()
    env = {"VAULT_ADDR": server.url, "VAULT_TOKEN": f"{TOKEN}\n"}
    message = told(lambda: open_store("vault", {"kv_version": 2}, tmp_path, env).get(PLACE))
    assert "VAULT_TOKEN holds a character that no credential has" in message
    message = told(put(opened(server, tmp_path, namespace="a\nb")))
    assert "cannot be sent" in message
    assert server.seen == []


def test_opening_asks_nothing_of_anybody(start: Callable[..., StandIn], tmp_path: Path) -> None:
    server = start()
    store = opened(server, tmp_path)
    store.check(PLACE)
    store.close()
    assert server.seen == []


# Servers in a bad way

NO_LEADER = {"errors": ["local node not active but active cluster node not found"]}


@pytest.mark.parametrize(
    ("answer", "health", "said"),
    [
        ((503, {"errors": ["Vault is sealed"]}), {**HEALTHY, "sealed": True}, "it is sealed"),
        ((503, {"errors": []}), {**HEALTHY, "initialized": False, "sealed": True}, "it is not initialized"),
        ((500, NO_LEADER), {**HEALTHY, "standby": True}, "on standby and does not reach an active one"),
        ((500, {"errors": ["disk on fire"]}), HEALTHY, "it answered with an error (disk on fire)"),
        (
            (400, {"errors": [f"odd {TOKEN}"]}),
            HEALTHY,
            "it answered with an error (odd [hidden])",
        ),
        ((429, {"errors": ["quota"]}), HEALTHY, "rate limit quota"),
        ((413, {"errors": ["http: request body too large"]}), HEALTHY, "too large"),
        ((200, "<html>Welcome</html>"), HEALTHY, "does not speak as Vault or OpenBao do"),
        ((200, {"data": {}}), HEALTHY, "does not speak as Vault or OpenBao do"),
        ((302, "/login"), HEALTHY, "does not speak as Vault or OpenBao do"),
        ((200, []), HEALTHY, "does not speak as Vault or OpenBao do"),
    ],
    ids=lambda value: "" if isinstance(value, dict | tuple) else value,
)
def test_each_trouble_is_told_apart(
    start: Callable[..., StandIn],
    no_waiting: list[float],
    tmp_path: Path,
    answer: Answer,
    health: dict[str, Any],
    said: str,
) -> None:
    server = start({"secret/data/prod/checkout": answer, "sys/health": (200, health)})
    store = opened(server, tmp_path)
    message = told(put(store))
    assert f"Store 'vault' could not write vault:prod/checkout at {server.url}: " in message
    assert said in message


def test_a_moment_of_trouble_is_waited_out(
    start: Callable[..., StandIn], no_waiting: list[float], tmp_path: Path
) -> None:
    troubles = [(429, {"errors": []}), (502, "<html>"), (412, {"errors": []})]
    written = (200, {"data": {"version": 1}})
    server = start({"secret/data/prod/checkout": lambda: troubles.pop() if troubles else written})
    assert put(opened(server, tmp_path))() == "1"
    assert not troubles
    assert sum(no_waiting) > 1, "each time a little longer"


def test_nothing_waits_for_ever(start: Callable[..., StandIn], tmp_path: Path) -> None:
    over = threading.Event()
    server = start({"secret/data/prod/checkout": lambda: (over.wait(60), (404, {"errors": []}))[1]})
    store = opened(server, tmp_path, timeout_seconds=0.3)
    try:
        message = told(put(store))
    finally:
        over.set()
    assert "no answer came within 0.3 seconds" in message
    assert "timeout_seconds" in message


def test_a_server_that_is_not_there_is_told(start: Callable[..., StandIn], tmp_path: Path) -> None:
    server = StandIn()
    server.start()()
    message = told(put(opened(server, tmp_path)))
    assert f"at {server.url}: it cannot be reached" in message


def test_a_standby_node_sends_on_to_the_active_one(start: Callable[..., StandIn], tmp_path: Path) -> None:
    active = start({"secret/data/prod/checkout": (200, {"data": {"version": 1}})})
    to = f"{active.url}/v1/secret/data/prod/checkout"
    standby = start({"secret/data/prod/checkout": (307, to)})
    assert put(opened(standby, tmp_path))() == "1"
    method, _, headers, body = active.seen[-1]
    assert (method, headers["X-Vault-Token"]) == ("POST", TOKEN)
    assert body == {"data": {"value": TEXT}, "options": {"cas": 0}}


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vault")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_a_certificate_is_trusted_by_the_file_that_says_so(
    start: Callable[..., StandIn], tmp_path: Path, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = start(context=context)
    message = told(put(opened(server, tmp_path)))
    assert "its certificate is not trusted" in message
    assert "ca_file" in message
    assert opened(server, tmp_path, ca_file=str(certificate)).get(PLACE) is None
    missing = told(put(opened(server, tmp_path, ca_file="missing.pem")))
    assert "a file of certificates cannot be read" in missing


def test_a_client_certificate_is_shown(
    start: Callable[..., StandIn], tmp_path: Path, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = start(context=context)
    given = {"ca_file": str(certificate), "client_cert": str(certificate), "client_key": str(certificate)}
    assert opened(server, tmp_path, **given).get(PLACE) is None
    with pytest.raises(StoreError):
        opened(server, tmp_path, ca_file=str(certificate)).get(PLACE)


def test_nobody_leads_away_from_encryption(
    start: Callable[..., StandIn], tmp_path: Path, certificate: Path
) -> None:
    plain = start({"secret/data/prod/checkout": (200, {"data": {"version": 1}})})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    to = f"{plain.url}/v1/secret/data/prod/checkout"
    server = start({"secret/data/prod/checkout": (307, to)}, context)
    assert "does not speak as Vault" in told(put(opened(server, tmp_path, ca_file=str(certificate))))
    assert plain.seen == []
