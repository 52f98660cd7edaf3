"""The Kubernetes store passes the suite that every store passes, against a real API server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping

import pytest

from keyform.conformance.store import StoreConformance
from keyform.model import Place
from keyform.ports import Store
from keyform.stores.kubernetes import KubernetesStore
from keyform.stores.kubernetes_client import Access, Cluster
from tests.servers import free_port
from tests.servers.kubernetes import KEYFORM, NOBODY, KubernetesServer, kubernetes

pytestmark = pytest.mark.integration
RULES = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"]}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    with kubernetes(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


class TestKubernetesStore(StoreConformance):
    fields = True
    labels = True
    largest = 1_048_576
    paths = ("a", "a/b", "a/c", "ab", "b", "a-b", "a.b")
    refused = (
        *(
            Place("cluster", path, "value")
            for path in (
                "", "/", "/name", "space/", "a/b/c", "a//b", ".", "..", "../name", "Upper", "under_score",
                "-a", "a-", "a..b", "a b", "a?b", "a%2fb", "nul\0byte", "new\nline", "ümlaut", "x" * 254,
                "x" * 64 + "/name", "dotted.namespace/name",
            )
        ),
        *(Place("cluster", "name", field) for field in ("", ".", "..", "..a", "a/b", "a b", "ü", "x" * 254)),
    )  # fmt: skip

    @pytest.fixture(autouse=True)
    def namespaces(self, server: KubernetesServer, request: pytest.FixtureRequest) -> None:
        """Namespaces of this test's own; ``a`` stands for the second one in paths."""
        self.server = server
        self.first = f"t{abs(hash(request.node.name)):x}"
        for name in (self.first, f"{self.first}-a"):
            server.namespace(name, {"keyform": RULES})

    def place(self, path: str) -> Place:
        parts = path.split("/")
        if parts[0] == "a" and len(parts) == 2:
            return Place("cluster", f"{self.first}-a/{parts[1]}", "value")
        return Place("cluster", ".".join(parts), "value")

    def opener(
        self, name: str, token: str, url: str | None = None, answer: float = 30.0
    ) -> Callable[[], Store]:
        access = Access(str(self.server.kubeconfig(name, {"token": token}, url)))

        def opened() -> Store:
            cluster = Cluster("cluster", access, connect=2, answer=answer)
            return KubernetesStore("cluster", cluster, namespace=self.first)

        return opened

    @pytest.fixture
    def open_store(self, namespaces: None) -> Callable[[], Store]:
        return self.opener("conformance", KEYFORM)

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        silent = socket.create_server(("127.0.0.1", 0))
        self.silent = silent  # it listens as long as the test runs
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        return {
            "unreachable": self.opener("unreachable", KEYFORM, f"https://127.0.0.1:{free_port()}"),
            "expired": self.opener("expired", "expired-" + "0" * 32),
            "refused": self.opener("refused", NOBODY),
            "slow": self.opener("slow", KEYFORM, silent_url, answer=0.2),
        }
