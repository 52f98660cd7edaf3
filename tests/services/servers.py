"""Key services that nobody here wrote: installed into a folder of their own, started and stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

HUB_TOKEN = "hub-admin-" + "0" * 32

HUB_CONFIG = f"""
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {{}}
    async def check_routes(self, *args, **kwargs): pass

c = get_config()
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.hub_port = PORT
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.base_url = "/"
c.Authenticator.allowed_users = {{"alice", "bob"}}
c.JupyterHub.services = [{{"name": "keyform", "api_token": "{HUB_TOKEN}"}}]
c.JupyterHub.load_roles = [
    {{"name": "user", "scopes": ["self"]}},
    {{"name": "keyform", "services": ["keyform"],
      "scopes": ["tokens!user=alice", "read:users!user=alice", "access:servers!user=alice"]}},
]
"""


def install(name: str, *packages: str, folder: Path) -> Path:
    """The programs folder of a virtual environment with these packages. ``KEYFORM_TEST_VENVS`` names a
    folder to keep them in between runs."""
    kept = os.environ.get("KEYFORM_TEST_VENVS")
    home = (Path(kept) if kept else folder) / name
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        (home / "ready").touch()
    return home / "bin"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], folder: Path, probe: str) -> Iterator[None]:
    """A server that answers at ``probe`` while the block runs."""
    log = folder / "server.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment
        ) as server,
    ):
        try:
            _await(server, probe, log)
            yield
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _await(server: subprocess.Popen[bytes], probe: str, log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            httpx.get(probe, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-4000:]}")


@contextmanager
def jupyterhub(programs: Path, folder: Path) -> Iterator[str]:
    """A hub without a proxy, users alice and bob, and a service that manages alice's tokens."""
    port = free_port()
    config = folder / "jupyterhub_config.py"
    config.write_text(HUB_CONFIG.replace("PORT", str(port)))
    url = f"http://127.0.0.1:{port}"
    with running([str(programs / "jupyterhub"), "-f", str(config)], folder, f"{url}/hub/api/"):
        yield url


@contextmanager
def moto(programs: Path, folder: Path) -> Iterator[str]:
    """moto's stand-in for AWS."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(programs / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder, f"{url}/moto-api/data.json"):
        yield url
