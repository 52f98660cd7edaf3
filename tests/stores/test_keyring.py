"""The operating system's keyring: a real Secret Service, and keyring's own file backend."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from keyform.conformance.store import StoreConformance
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.keyring_store import KeyringStore, open_store
from tests.servers.secret_service import secret_service
from tests.stores.whole_run import check_whole_run

PLAIN = "keyrings.alt.file.PlaintextKeyring"
REAL = "keyring.backends.SecretService.Keyring"
CANARY = "sk_live_must-not-appear-anywhere"
KEY = Place("os", "prod/checkout")
REFUSED = (Place("os", ""), Place("os", "a\nb"), Place("os", "a\0b"), Place("os", "a", "field"))


def store_of(backend: str | None, **options: object) -> KeyringStore:
    named = {} if backend is None else {"backend": backend}
    return open_store("os", named | options, Path("/nowhere"), os.environ)


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No desktop, and nothing of the keyrings of whoever runs the tests."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)


@pytest.mark.usefixtures("no_session")
class TestFileBackend(StoreConformance):
    refused = REFUSED

    @pytest.fixture
    def open_store(self) -> Callable[[], KeyringStore]:
        return lambda: store_of(PLAIN, allow_plaintext=True)

    def bad_days(self) -> Mapping[str, Callable[[], KeyringStore]]:
        return {
            "unreachable": lambda: store_of(REAL),
            "slow": lambda: store_of("tests.stores.keyrings.Hanging", timeout=0.05),
            "refused": lambda: store_of(PLAIN),
            "no such backend": lambda: store_of("keyring.backends.nowhere.Keyring"),
            "keeps nothing": lambda: store_of("keyring.backends.null.Keyring"),
            "fails": lambda: store_of("keyring.backends.fail.Keyring"),
        }


@pytest.fixture(scope="module")
def bus() -> Iterator[str]:
    with secret_service() as address:
        yield address


@pytest.mark.integration
class TestSecretService(StoreConformance):
    refused = REFUSED

    @pytest.fixture
    def open_store(
        self, bus: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Callable[[], KeyringStore]:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
        return lambda: store_of(REAL, service=str(tmp_path))

    def test_keys_arrive_and_go(
        self, open_store: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def read(path: str) -> str | None:
            asked = [sys.executable, "-m", "keyring", "-b", REAL, "get", "whole-run", path]
            return subprocess.run(asked, capture_output=True, text=True).stdout.rstrip("\n") or None

        declared = f"{{type: keyring, service: whole-run, backend: {REAL}}}"
        check_whole_run(tmp_path, declared, "team/one", "team/two", read, capfd)

    def test_what_keyring_chooses_is_the_sessions_own(self, open_store: object) -> None:
        store = store_of(None, service="chosen")
        assert "keyring.backends" in store.access()
        store.probe()

    def test_nothing_secret_is_logged(
        self, open_store: Callable[[], KeyringStore], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        store = open_store()
        store.put(KEY, Secret(CANARY), {})
        assert store.get(KEY) == Secret(CANARY)
        assert CANARY not in caplog.text


@pytest.mark.usefixtures("no_session")
def test_a_place_in_clear_text_must_be_allowed() -> None:
    with pytest.raises(StoreError, match="no safe place") as refused:
        store_of(PLAIN).put(KEY, Secret(CANARY), {})
    assert "allow_plaintext" in refused.value.diagnostics[0].detail
    assert PLAIN in store_of(PLAIN, allow_plaintext=True).access()


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize("backend", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring"])
def test_a_backend_that_keeps_nothing_is_refused_whatever_is_allowed(backend: str) -> None:
    with pytest.raises(StoreError, match="there is no keyring here") as refused:
        store_of(backend, allow_plaintext=True).access()
    assert "age" in refused.value.diagnostics[0].detail


def test_a_backend_that_forgets_is_found_out() -> None:
    with pytest.raises(StoreError, match="did not keep"):
        store_of("tests.stores.keyrings.Forgetting").probe()


def test_a_backend_that_repeats_the_secret_does_not_get_it_into_messages() -> None:
    with pytest.raises(StoreError, match="cannot keep") as told:
        store_of("tests.stores.keyrings.Telling").put(KEY, Secret(CANARY), {})
    assert CANARY not in f"{told.value.diagnostics}"
    assert told.value.__context__ is None
