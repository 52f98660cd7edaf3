"""moto, which emulates AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_port, python_programs, running

# What moto_server runs, but for one request at a time: moto takes a staging label off one version and puts it
# on another in two steps, between which another thread would find no current version.
SERVE = """
import sys
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication, MotoRequestHandler, create_backend_app
)
from werkzeug.serving import run_simple

app = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), app, request_handler=MotoRequestHandler)
"""


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """The URL of moto's emulation of AWS."""
    programs = python_programs("moto", "moto[server,apigateway,secretsmanager,ssm]")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(programs / "python"), "-c", SERVE, str(port)]
    with running(command, folder, f"{url}/moto-api/data.json"):
        yield url
