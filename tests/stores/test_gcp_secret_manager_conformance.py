"""The Secret Manager store passes the suite that every store passes, over the stand-in of the tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import TEXTS
from keyform.model import Place
from keyform.ports import Store
from keyform.stores.gcp_secret_manager import open_store as opened
from tests.stores.standins.google import REQUESTS, SecretManager, refuse, secret_manager


def unreachable() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def open_at(address: str, **options: Any) -> Store:
    given = {"project": "shop", "endpoint": f"http://{address}", **options}
    return opened("google", given, Path(), {})


class TestGoogleSecretManager(StoreConformance):
    labels = True
    versions = True
    largest = 65_536
    texts = {what: text for what, text in TEXTS.items() if what != "empty"}  # noqa: RUF012
    paths = ("a", "a/b", "a/b/c", "ab", "b", "a-b", "a_b", "A", "a/B", "-", "a-/b")
    refused = (
        Place("google", "prod/web", "publishable"),
        *(
            Place("google", path)
            for path in (
                "", "/", "/a", "a/", "a//b", ".", "..", "a.b", "a b", "a__b", "_a", "a_", "a/_b", "a_/b", "é",
                "nul\0byte", "new\nline", "a\n", "x" * 256, "/".join(["x" * 50] * 6),
            )
        ),
    )  # fmt: skip

    @pytest.fixture
    def open_store(self) -> Iterator[Callable[[], Store]]:
        with ExitStack() as self.servers:
            address = self.servers.enter_context(secret_manager(SecretManager()))
            yield lambda: open_at(address)

    @pytest.fixture(autouse=True)
    def served(self, open_store: Callable[[], Store]) -> None:
        """What the bad days need as well is up."""

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        def expired(method: str) -> None:
            refuse("UNAUTHENTICATED", "Request had invalid authentication credentials.")

        def throttled(method: str) -> None:
            refuse("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Access requests'.")

        def bad(**options: Any) -> str:
            return self.servers.enter_context(secret_manager(SecretManager(**options)))

        over = threading.Event()
        self.servers.callback(over.set)
        return {
            "unreachable": lambda: open_at(unreachable(), timeout=0.1),
            "expired": lambda: open_at(bad(fault=expired)),
            "refused": lambda: open_at(bad(denied=frozenset(REQUESTS))),
            "throttled": lambda: open_at(bad(fault=throttled), timeout=0.1),
            "slow": lambda: open_at(bad(fault=lambda method: over.wait()), timeout=0.1),
        }
