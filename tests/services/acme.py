"""The service that examples/own-profile speaks to: a few dozen lines, with habits of its own."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "acme-admin-token"


class Acme:
    """Its tokens, by number, and their texts."""

    def __init__(self) -> None:
        self.tokens: dict[int, dict[str, Any]] = {}
        self.values: dict[str, int] = {}
        self.lock = threading.Lock()

    def handle(self, method: str, target: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        url = urlsplit(target)
        if url.path == "/api/me":
            number = self.values.get(key)
            if number is None or self.tokens[number]["state"] != "working":
                return 401, {"code": "bad_key", "text": "Unknown key."}
            return 200, {"token_id": str(number)}
        if key != TOKEN:
            if not url.path.startswith("/api/tokens"):
                return 404, {"code": "no_such_route", "text": "There is nothing here."}
            return 401, {"code": "bad_key", "text": "Unknown key."}
        one = re.fullmatch(r"/api/tokens/(\d+)", url.path)
        if url.path == "/api/tokens" and method == "GET":
            query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
            first = (query["page"] - 1) * query["per_page"]
            shown = list(self.tokens.values())
            return 200, {"tokens": shown[first : first + query["per_page"]], "meta": {"total": len(shown)}}
        if url.path == "/api/tokens" and method == "POST":
            number = len(self.tokens) + 1
            token = {
                "id": number,
                "state": "working",
                "created": 1767225600,
                "note": "kept",
                **self.taken(body),
            }
            value = f"acme_{secrets.token_hex(16)}"
            self.tokens[number], self.values[value] = token, number
            return 201, {"token": token, "value": value}
        if one is None or int(one[1]) not in self.tokens:
            return 404, {"code": "no_such_token", "text": "There is no such token."}
        token = self.tokens[int(one[1])]
        if method == "PUT":
            if set(body) != {"label", "permissions", "labels", "ends", "note"}:
                return 400, {"code": "not_whole", "text": "Send the whole token."}
            token.update(body)
        if method == "DELETE":
            token["state"] = "ended"
            return 204, None
        return 200, {"token": token}

    @staticmethod
    def taken(body: dict[str, Any]) -> dict[str, Any]:
        return {"ends": None, "labels": {}, **body}


@contextmanager
def acme_server() -> Iterator[tuple[str, Acme]]:
    """Its address, and the service, while the block runs."""
    acme = Acme()

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1  # an answer in one piece

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with acme.lock:
                status, answer = acme.handle(
                    self.command, self.path, self.headers.get("X-Acme-Key", ""), json.loads(content or b"{}")
                )
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    for method in ("POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_GET)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", acme
        finally:
            server.shutdown()
            thread.join()
