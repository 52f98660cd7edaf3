"""A server that answers the AWS SDK as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CREDENTIAL = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-canary-" + "0" * 22,
    "AWS_SESSION_TOKEN": "aws-session-canary-" + "0" * 22,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}


@dataclass(frozen=True)
class Failure:
    """An error of AWS."""

    code: str
    message: str = ""
    status: int = 400


Answer = dict[str, Any] | Failure | bytes | None
"""What is answered; bytes: just that; None: nothing at all, ever."""

STS_REFUSAL = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to "
    b"perform: sts:AssumeRole</Message></Error></ErrorResponse>"
)


@contextmanager
def answering(answer: Callable[[str, dict[str, Any]], Answer]) -> Iterator[str]:
    """The URL of a server that is asked with an operation (``GetSecretValue``) and its request."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1  # an answer in one piece

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "AssumeRole").rpartition(".")[2]
            request = json.loads(sent) if sent.startswith(b"{") else {}
            told = answer(operation, request)
            if told is None:
                over.wait(30)
                return
            status = 200
            if isinstance(told, Failure):
                status, told = told.status, {"__type": told.code, "message": told.message}
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
            if body == STS_REFUSAL:
                status = 403
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
