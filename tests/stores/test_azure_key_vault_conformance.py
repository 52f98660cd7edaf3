"""The Key Vault store passes the suite that every store passes, over the stand-in of the tests."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from keyform.conformance.store import StoreConformance
from keyform.model import Place
from keyform.ports import Store
from keyform.stores.azure_key_vault import open_store as opened
from tests.stores.standins.azure import ROUTES, Vault, key_vault, managed_identity, refuse
from tests.stores.standins.certificates import certificate


def unreachable() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{listener.getsockname()[1]}"


def open_at(url: str, **options: Any) -> Store:
    return opened("azure", {"vault_url": url, **options}, Path(), os.environ)


class TestAzureKeyVault(StoreConformance):
    labels = True
    versions = True
    largest = 25_000
    paths = ("a", "a/b", "a/b/c", "ab", "b", "a-b", "a-b/c", "a/b-c", "1")
    refused = (
        Place("azure", "prod/web", "publishable"),
        *(
            Place("azure", path)
            for path in (
                "", "/", "/a", "a/", "a//b", ".", "..", "a.b", "a b", "a_b", "A", "a/B", "a--b", "-a", "a-",
                "a/-b", "é", "nul\0byte", "new\nline", "a\n", "x" * 128, "/".join(["x" * 40] * 4),
            )
        ),
    )  # fmt: skip

    @pytest.fixture
    def open_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
        def expired(call: str) -> None:
            refuse(401, "Unauthorized", None, "AKV10046: The token is expired.")

        def throttled(call: str) -> None:
            refuse(429, "Throttled", None, "Too many requests.")

        everything = frozenset(does for _, does in ROUTES)
        over = threading.Event()
        vaults = {
            "expired": Vault(fault=expired),
            "throttled": Vault(fault=throttled),
            "refused": Vault(denied=everything),
            "slow": Vault(fault=lambda call: over.wait()),
        }
        files = certificate(tmp_path)
        with ExitStack() as servers:
            url = servers.enter_context(key_vault(Vault(), *files))
            servers.callback(over.set)
            self.bad = lambda what: servers.enter_context(key_vault(vaults[what], *files))
            for name, value in servers.enter_context(managed_identity(lambda: "token-of-today")).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files[1]))
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
            yield lambda: open_at(url)

    @pytest.fixture(autouse=True)
    def served(self, open_store: Callable[[], Store]) -> None:
        """What the bad days need as well is up."""

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        return {
            "unreachable": lambda: open_at(unreachable(), timeout=0.1),
            "expired": lambda: open_at(self.bad("expired"), timeout=0.1),
            "throttled": lambda: open_at(self.bad("throttled"), timeout=0.1),
            "refused": lambda: open_at(self.bad("refused")),
            "slow": lambda: open_at(self.bad("slow"), timeout=0.1),
        }
