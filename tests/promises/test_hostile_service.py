"""A service that repeats keyform's credential, or a new secret, wherever an answer has room for it.

It answers over a real socket, since some of those places exist only there. Then both are searched for in
all that keyform printed at ``-vv``, in the JSON events, the saved plan, the state and the journal.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from keyform.cli.console import Console
from keyform.cli.logs import log_to
from keyform.cli.main import run
from tests.world import MovedClock

CREDENTIAL = "root_CANARY-" + "Qx7+/=" * 6
SECRET = "sk_live_abcdefgh_" + "Zk3-" * 10 + "end"
KEY = {
    "id": "key_1", "kind": "secret", "environment": "live", "project": None, "name": "a", "description": "",
    "scopes": ["events:write"], "allowed_origins": [], "expires_at": None, "metadata": {}, "rate_limit": None,
    "status": "active", "start": "sk_live_abcdefgh", "created_at": "2026-11-20T00:00:00.000Z",
    "last_used_at": None, "revoked_at": None,
}  # fmt: skip
ENCODED = base64.b64encode(f"Bearer {CREDENTIAL}".encode()).decode()


@dataclass(frozen=True)
class Said:
    """One answer, as bytes on the wire where a header or a body does not say it all."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""


def refusal(message: str, status: int = 401, code: str = "invalid_api_key") -> Said:
    return Said(status, {"error": {"code": code, "message": message}})


def page(*keys: Any, following: str | None = None) -> Said:
    return Said(200, {"data": list(keys), "next_cursor": following})


LISTING: dict[str, Said] = {
    "message": refusal(f"bad header Bearer {CREDENTIAL}"),
    "message with zero width": refusal(f"bad header {CREDENTIAL[:9]}\u200b{CREDENTIAL[9:]}"),
    "message with NUL": refusal(f"bad header {CREDENTIAL[:9]}\x00{CREDENTIAL[9:]}"),
    "message in capitals": refusal(f"bad header {CREDENTIAL.upper()}"),
    "message in base64": refusal(f"bad header {ENCODED}"),
    "message for URLs": refusal(f"bad header {quote(CREDENTIAL, safe='')}"),
    "message behind a lot of nothing": refusal("\u200b" * 15_970 + CREDENTIAL),
    "code": refusal("no", code=f"{CREDENTIAL[:9]}\x01{CREDENTIAL[9:]}"),
    "code of a failure": refusal("no", status=500, code=CREDENTIAL),
    "content type": Said(raw=f"HTTP/1.1 200 OK\r\nContent-Type: {CREDENTIAL}\r\n\r\n<html>".encode()),
    "location": Said(302, {}, {"Location": f"http://127.0.0.1:1/{CREDENTIAL}"}),
    "retry-after": Said(429, {}, {"Retry-After": CREDENTIAL}),
    "date": Said(200, {"data": [], "next_cursor": None}, {"Date": CREDENTIAL}),
    "reason phrase": Said(raw=f"HTTP/1.1 403 {CREDENTIAL}\r\nContent-Length: 2\r\n\r\n{{}}".encode()),
    "no HTTP": Said(raw=f"{CREDENTIAL}\r\n\r\n".encode()),
    "header line": Said(raw=f"HTTP/1.1 200 OK\r\n{CREDENTIAL}\r\n\r\n".encode()),
    "chunk": Said(raw=f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{CREDENTIAL}\r\n".encode()),
    "cursor": page(following=CREDENTIAL),
    "name": page({**KEY, "name": CREDENTIAL}),
    "id": page({**KEY, "id": CREDENTIAL}),
    "scope": page({**KEY, "scopes": [CREDENTIAL.upper()]}),
    "ownership label": page({**KEY, "metadata": {"keyform": CREDENTIAL}}),
    "project": page({**KEY, "project": CREDENTIAL}),
}
CREATE: dict[str, Said] = {
    "refusal of a create": refusal(f"audit failed for {SECRET}", 422),
    "failure of a create": refusal(f"audit failed for {SECRET[:20]}\u2060{SECRET[20:]}", 500),
    "code of a refusal": refusal("no", 422, code=SECRET),
    "credential in the key": Said(201, {"key": {**KEY, "name": CREDENTIAL}, "secret": SECRET}),
    **{
        f"secret in the {name}": Said(201, {"key": {**KEY, name: value}, "secret": SECRET})
        for name, value in {
            "id": SECRET, "name": SECRET, "description": f"x {SECRET.upper()}", "metadata": {"x": SECRET},
            "start": SECRET, "scopes": [SECRET], "project": SECRET,
        }.items()
    },
}  # fmt: skip
VERIFY: dict[str, Said] = {
    "refused proof": refusal(f"no such key {SECRET}"),
    "refused proof, disguised": refusal(f"no such key {SECRET[:9]}\u2060{SECRET[9:].upper()}", 403),
    "failed proof": refusal(SECRET, 500),
    "proof of another": Said(200, {"valid": False, "key_id": SECRET}),
    "proof in no JSON": Said(raw=f"HTTP/1.1 200 {SECRET}\r\nContent-Type: {SECRET}\r\n\r\nx".encode()),
}


class Hostile(ThreadingHTTPServer):
    """A key service with one key, whose answers to some requests are replaced."""

    def __init__(self, replaced: dict[tuple[str, str], Said]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.replaced = replaced

    def said(self, method: str, path: str, sent: Any) -> Said:
        if (method, path) in self.replaced:
            said = self.replaced[method, path]
            if said.status == 201:  # whatever it holds, it is the answer to this create
                key = said.body["key"]
                labelled = {**key, "metadata": {**key["metadata"], **sent["metadata"]}}
                return replace(said, body={**said.body, "key": labelled})
            return said
        if (method, path) == ("GET", "/v1/whoami"):
            return Said(200, {"key_id": None, "now": "2026-11-20T00:00:00Z"})
        if method == "GET":
            return page()
        if (method, path) == ("POST", "/v1/verify"):
            return Said(200, {"valid": True, "key_id": "key_1"})
        if method == "POST":
            return Said(201, {"key": {**KEY, "metadata": sent["metadata"]}, "secret": SECRET})
        return Said(200, {**KEY, "status": "revoked"} if method == "DELETE" else KEY)


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece
    server: Hostile

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(size)) if size else None
        said = self.server.said(self.command, self.path.partition("?")[0], sent)
        self.close_connection = True
        if said.raw:
            self.wfile.write(said.raw)
            return
        body = json.dumps(said.body).encode()
        self.send_response_only(said.status)
        for name, value in {"Content-Length": str(len(body)), **said.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  (names that the library calls)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hostile() -> Iterator[Callable[[dict[tuple[str, str], Said]], str]]:
    """Starts a hostile service; gives its address."""
    servers: list[Hostile] = []

    def start(replaced: dict[tuple[str, str], Said]) -> str:
        servers.append(Hostile(replaced))
        threading.Thread(target=servers[-1].serve_forever, args=(0.005,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _log_no_more() -> Iterator[None]:
    yield
    log_to(Console(no_color=True), 0)


CASES = [
    *(pytest.param({("GET", "/v1/keys"): said}, id=f"listing: {name}") for name, said in LISTING.items()),
    *(pytest.param({("POST", "/v1/keys"): said}, id=name) for name, said in CREATE.items()),
    *(pytest.param({("POST", "/v1/verify"): said}, id=name) for name, said in VERIFY.items()),
    pytest.param(
        {("POST", "/v1/verify"): VERIFY["refused proof"], ("DELETE", "/v1/keys/key_1"): refusal(SECRET, 422)},
        id="refused proof, refused revoke",
    ),
    pytest.param(
        {
            ("POST", "/v1/keys"): CREATE["secret in the id"],
            ("DELETE", f"/v1/keys/{SECRET}"): refusal("no", 403),
        },
        id="secret in the id, refused revoke",
    ),
]


@pytest.mark.parametrize("replaced", CASES)
def test_nothing_of_it_is_printed_or_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    hostile: Callable[[dict[tuple[str, str], Said]], str],
    replaced: dict[tuple[str, str], Said],
) -> None:
    monkeypatch.setenv("HOSTILE_TOKEN", CREDENTIAL)
    monkeypatch.setenv("KEYFORM_TRACEBACK", "1")
    endpoint = hostile(replaced)
    (tmp_path / "keyform.yaml").write_text(
        f'version: 1\nservices: {{s: {{type: embedded, endpoint: "{endpoint}", '
        'credential: "${env:HOSTILE_TOKEN}"}}\nkeys:\n  a: {service: s, name: a, secret: a}\n'
    )
    texts = {}
    for verb in (
        ["plan", "--out", "plan.json"],
        ["apply", "--auto-approve"],
        ["apply", "--auto-approve", "--format", "json"],
        ["doctor"],
        ["generate", "s"],
    ):
        code = run(["-vv", "-C", str(tmp_path), *verb], clock=MovedClock())
        assert code != 3
        texts[" ".join(verb)] = "\n".join(capfd.readouterr())
    assert "keyform.services.http: GET http://127.0.0.1:" in "".join(texts.values()) or any(
        said.raw for said in replaced.values()
    )
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix != ".age" and file.name != "keyform.yaml":
            texts[file.name] = file.read_text(errors="replace")
    shown = {name: "".join(text.split()).lower() for name, text in texts.items()}
    canaries = [CREDENTIAL, CREDENTIAL[12:30], SECRET, SECRET[17:], ENCODED[8:40], quote(CREDENTIAL, safe="")]
    assert [(name, c) for name, text in shown.items() for c in canaries if c.lower() in text] == []
