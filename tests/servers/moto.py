"""moto, which stands in for AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_port, python_programs, running


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """moto's stand-in for AWS."""
    programs = python_programs("moto", "moto[server,apigateway,secretsmanager,ssm]")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(programs / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder, f"{url}/moto-api/data.json"):
        yield url
