"""JupyterHub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_port, python_programs, running

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


@contextmanager
def jupyterhub(folder: Path) -> Iterator[str]:
    """A hub without a proxy, users alice and bob, and a service that manages alice's tokens."""
    programs = python_programs("hub", "jupyterhub")
    port = free_port()
    config = folder / "jupyterhub_config.py"
    config.write_text(HUB_CONFIG.replace("PORT", str(port)))
    url = f"http://127.0.0.1:{port}"
    with running([str(programs / "jupyterhub"), "-f", str(config)], folder, f"{url}/hub/api/"):
        yield url
