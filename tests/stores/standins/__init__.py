"""Stand-ins of hosted secrets managers: they do what the vendor's document says, and refuse what it does not
say. They are no evidence of what the vendor's own servers do beyond it."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl, unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx

Handler = Callable[..., Any]


@dataclass
class Refusal(Exception):
    """An answer other than 200. ``body`` None: none."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any

    def only(self, *, query: tuple[str, ...] = (), body: tuple[str, ...] | None = None) -> None:
        """Refuse parameters and members that the document does not have."""
        unknown = sorted(self.query.keys() - set(query))
        if body is not None:
            if not isinstance(self.body, dict):
                raise AssertionError(f"{self.method} {self.path}: the body is no object")
            unknown += sorted(self.body.keys() - set(body))
        elif self.body is not None:
            unknown.append("a body")
        if unknown:
            raise AssertionError(f"{self.method} {self.path} has no {', '.join(unknown)}")


class StandIn:
    """A WSGI application. What a client gets wrong about the document is kept in ``wrongs`` and answered with
    status 400, so that a test that asks for :meth:`blame` fails.

    ``troubles`` are answered instead of carrying a request out, in turn; ``lose`` answers are dropped after
    their request was carried out.
    """

    def __init__(self) -> None:
        self.troubles: deque[Refusal] = deque()
        self.lose = 0
        self.wrongs: list[str] = []
        self.seen: list[str] = []
        self.echo = False
        self._lock = threading.Lock()
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def route(self, method: str, path: str, handler: Handler) -> None:
        self._routes.append(
            (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"\Z"), handler)
        )

    def error(self, status: int, message: str) -> Any:
        """The body of a refusal, in the vendor's envelope."""
        raise NotImplementedError

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers: Mapping[str, str] = {}
        try:
            status, body = 200, self._answer(environ)
        except Refusal as refusal:
            status, body, headers = refusal.status, refusal.body, refusal.headers
        content = b"" if body is None else json.dumps(body).encode()
        told = [("Content-Length", str(len(content))), *headers.items()]
        if content:
            told.append(("Content-Type", "application/json; charset=utf-8"))
        start_response(f"{status} Said", told)
        return [content]

    def _answer(self, environ: dict[str, Any]) -> Any:
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].encode("latin-1").decode()
        method = environ["REQUEST_METHOD"]
        headers = {
            name[5:].replace("_", "-").title(): value
            for name, value in environ.items()
            if name[:5] == "HTTP_"
        }
        with self._lock:
            self.seen.append(f"{method} {path}")
            if self.troubles:
                raise self.troubles.popleft()
            if self.echo:
                raise Refusal(400, self.error(400, f"bad: {raw.decode()} {headers.get('Authorization')}"))
            try:
                if raw and environ.get("CONTENT_TYPE") != "application/json":
                    raise AssertionError(f"{method} {path}: the body is not said to be JSON")
                query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
                request = Request(method, path, query, headers, json.loads(raw) if raw else None)
                for verb, pattern, handler in self._routes:
                    if verb == method and (match := pattern.match(path)):
                        return handler(request, **{k: unquote(v) for k, v in match.groupdict().items()})
                raise AssertionError(f"there is no {method} {path}")
            except AssertionError as wrong:
                self.wrongs.append(str(wrong))
                raise Refusal(400, self.error(400, str(wrong))) from None

    def blame(self) -> None:
        assert not self.wrongs, "; ".join(self.wrongs)


class Wire(httpx.BaseTransport):
    """To a stand-in in this process, by a line on which answers can be lost."""

    def __init__(self, app: StandIn) -> None:
        self._app = app
        self._inner = httpx.WSGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if self._app.lose and request.method != "GET":
            self._app.lose -= 1
            raise httpx.ReadError("the line went dead", request=request)
        return response


@contextmanager
def served(app: StandIn) -> Iterator[str]:
    """The stand-in at an address of this machine, while the block runs."""
    server = make_server("127.0.0.1", 0, app, _Threaded, _Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test shows what the client says."""


@contextmanager
def silent() -> Iterator[str]:
    """An address where somebody listens and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
