"""The store ``vault`` against a real server: KV versions 1 and 2."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keyform.conformance.store import StoreConformance
from keyform.model import Place
from keyform.ports import Store
from keyform.stores.vault import open_store
from tests.servers import free_port
from tests.servers.vault import ROOT, Vault, vault

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with vault(tmp_path_factory.mktemp("vault")) as running:
        yield running


class Conformance(StoreConformance):
    mount = ""
    fields = True
    refused = (
        Place("conformance", "a//b"),
        Place("conformance", "/a"),
        Place("conformance", "a/"),
        Place("conformance", "a/../b"),
        Place("conformance", "a..b"),
        Place("conformance", " a/b"),
        Place("conformance", "a/b "),
        Place("conformance", "a\x07b"),
        Place("conformance", "a\\b"),
    )
    paths = (*StoreConformance.paths, "a b", "a%2Fb", "ü/ключ 🔑", "a#b?c=d", "a+b*", "A")

    @pytest.fixture(autouse=True)
    def _here(self, server: Vault, tmp_path: Path) -> None:
        self.server = server
        self.folder = tmp_path
        self.prefix = f"test/{uuid.uuid4().hex}"

    def opened(self, token: str, **options: Any) -> Store:
        env = {"VAULT_ADDR": self.server.url, "VAULT_TOKEN": token, "HOME": str(self.folder)}
        wanted = {"mount": self.mount, "prefix": self.prefix, **options}
        return open_store("conformance", wanted, self.folder, env)

    @pytest.fixture
    def open_store(self) -> Callable[[], Store]:
        return lambda: self.opened(ROOT)

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        expired = self.server.token("default")
        self.server.ask("POST", "auth/token/revoke", {"token": expired})
        return {
            "unreachable": lambda: self.opened(ROOT, address=f"http://127.0.0.1:{free_port()}"),
            "expired": lambda: self.opened(expired),
            "refused": lambda: self.opened(self.server.token("default")),
            "no such mount": lambda: self.opened(ROOT, mount="nowhere"),
        }


class TestKvTwo(Conformance):
    mount = "secret"
    labels = True
    versions = True


class TestKvOne(Conformance):
    mount = "old"


del Conformance
