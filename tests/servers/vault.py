"""HashiCorp Vault, built from the Go module proxy, in dev mode: it keeps all in memory.

OpenBao speaks the same API; its module cannot be had from the proxy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port, running
from tests.servers.go import go_programs

ROOT = "root-0123456789abcdef"
KUBERNETES = "vault-plugin-auth-kubernetes"


def vault_programs() -> Path:
    """Without the plugins that talk to clouds and databases, and with the one for Kubernetes beside it."""
    module = "github.com/hashicorp/vault"
    plugin = f"github.com/hashicorp/{KUBERNETES}"
    # This sdk is the one that this Vault is made with, as its sources have it.
    modules = {module: "v1.21.0", f"{module}/sdk": "v0.20.0", plugin: "v0.23.1"}
    programs = {"vault": module, f"plugins/{KUBERNETES}": f"{plugin}/cmd/{KUBERNETES}"}
    return go_programs("vault", modules, programs, "-tags=minimal")


@dataclass(frozen=True)
class Vault:
    """A running server and what its owner does there."""

    url: str
    log: Path
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=30))

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The owner's own request."""
        headers = {"X-Vault-Token": ROOT}
        answer = self.http.request(method, f"{self.url}/v1/{path}", json=body, headers=headers)
        if answer.is_error and answer.status_code != 404:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told

    def policy(self, name: str, text: str) -> None:
        """Make a policy."""
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": text})

    def token(self, *policies: str, **options: Any) -> str:
        """A new token with these policies."""
        made = self.ask("POST", "auth/token/create", {"policies": policies, **options})
        text: str = made["auth"]["client_token"]
        return text

    @property
    def unseal_key(self) -> str:
        """The key that opens the server again, which it prints soon after it answers."""
        for _ in range(100):
            found = re.search(r"Unseal Key: (\S+)", self.log.read_text())
            if found:
                return found[1]
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())


@contextmanager
def vault(folder: Path) -> Iterator[Vault]:
    """A server with KV version 2 at ``secret`` and version 1 at ``old``."""
    programs = vault_programs()
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        str(programs / "vault"), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT}",
        f"-dev-listen-address={url.removeprefix('http://')}", f"-dev-plugin-dir={programs / 'plugins'}",
    ]  # fmt: skip
    with running(command, folder, f"{url}/v1/sys/health", {"HOME": str(folder)}):
        server = Vault(url, folder / "server.log")
        with server.http:
            server.ask("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
            yield server
