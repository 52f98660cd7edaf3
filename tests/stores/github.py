"""A stand-in for GitHub's secrets, after its REST documentation, and a judge by its OpenAPI description.

It holds the private keys, opens what arrives, and so knows what a workflow would be given.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from nacl.public import PrivateKey, SealedBox

TOKEN = "github_pat_" + "0" * 30
ROOTS = re.compile(
    r"(?P<root>/repos/acme/web(?:/environments/prod%2Feu)?/(?:(?:actions|dependabot)/)?secrets"
    r"|/orgs/acme/(?:actions|dependabot)/secrets)/(?P<name>[^/]+)\Z"
)

Reply = tuple[int, Any, dict[str, str]]


@dataclass
class Kept:
    value: str
    created_at: str
    updated_at: str
    visibility: str | None = None
    repositories: list[int] = field(default_factory=list)


@dataclass
class GitHub:
    """``now`` stands still until it is moved, as two writes within one second see it."""

    now: datetime = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    secrets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    keys: dict[str, PrivateKey] = field(default_factory=dict)
    calls: list[tuple[str, str, Any, Reply]] = field(default_factory=list)
    ahead: list[Reply] = field(default_factory=list)
    """Answers to the next calls, whatever they ask."""
    headers: dict[str, str] = field(default_factory=dict)
    may_see: bool = True
    may_write: bool = True
    ticks: bool = False
    """Whether each write takes a second."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def answer(self, method: str, path: str, token: str, body: Any) -> Reply:
        with self.lock:
            reply = self.ahead.pop(0) if self.ahead else self._answer(method, path, token, body)
            self.calls.append((method, path, body, reply))
            return reply[0], reply[1], {**self.headers, **reply[2]}

    def replace_keys(self) -> None:
        self.keys.clear()

    def _answer(self, method: str, path: str, token: str, body: Any) -> Reply:
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}, {}
        absent = 404, {"message": "Not Found"}, {}
        if method == "GET" and path in ("/repos/acme/web", "/repos/acme/api"):
            return 200, {"id": 1001 if path.endswith("web") else 1002}, {}
        found = ROOTS.match(path)
        if found is None or not self.may_see:
            return absent
        root, name = found["root"], found["name"]
        key = self.keys.setdefault(root, PrivateKey.generate())
        key_id = base64.b64encode(bytes(key.public_key))[:12].decode()
        if (method, name) == ("GET", "public-key"):
            return 200, {"key_id": key_id, "key": base64.b64encode(bytes(key.public_key)).decode()}, {}
        kept = self.secrets.setdefault(root, {})
        if method == "GET":
            return (200, self._shown(root, name), {}) if name in kept else absent
        if not self.may_write:
            refusal = {"message": "Resource not accessible by personal access token"}
            return 403, refusal, {"X-Accepted-GitHub-Permissions": "secrets=write"}
        if method == "DELETE":
            return absent if kept.pop(name, None) is None else (204, None, {})
        if name.startswith("GITHUB_") or not re.match(r"[A-Z_][A-Z0-9_]*\Z", name):
            return 422, {"message": "Secret names are wrong"}, {}
        if body["key_id"] != key_id:
            return 422, {"message": "Bad request - public key is out of date"}, {}
        value = SealedBox(key).decrypt(base64.b64decode(body["encrypted_value"])).decode()
        if self.ticks:
            self.wait(1)
        moment = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        old = kept.get(name)
        created = old.created_at if old else moment
        reach = body.get("visibility"), body.get("selected_repository_ids", [])
        kept[name] = Kept(value, created, moment, *reach)
        return (204, None, {}) if old else (201, {}, {})

    def _shown(self, root: str, name: str) -> dict[str, str]:
        kept = self.secrets[root][name]
        shown = {"name": name, "created_at": kept.created_at, "updated_at": kept.updated_at}
        return {**shown, "visibility": kept.visibility} if kept.visibility else shown


@contextmanager
def served(github: GitHub) -> Iterator[str]:
    """The URL of ``github`` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece

        def handle_one(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, body, headers = github.answer(
                self.command, self.path, token, json.loads(data) if data else None
            )
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_DELETE = handle_one  # noqa: N815 -- http.server looks for these names

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def check_calls(github: GitHub, description: dict[str, Any]) -> int:
    """Hold every call and successful answer against GitHub's OpenAPI description; how many there were."""
    from jsonschema import Draft202012Validator

    shapes = {re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + r"\Z"): path for path in description["paths"]}
    for method, path, body, (status, answered, _) in github.calls:
        # The template with the fewest variables is the one that is meant.
        found = min((p for shape, p in shapes.items() if shape.match(path)), key=lambda p: p.count("{"))
        operation = description["paths"][found][method.lower()]
        if body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema).validate(body)
            assert body.keys() <= schema["properties"].keys()
        if status < 300:
            content = operation["responses"][str(status)].get("content")
            if content and not found.endswith("{repo}"):  # of a repository, only the id is asked for
                Draft202012Validator(content["application/json"]["schema"]).validate(answered)
    return len(github.calls)
