"""The embedded service, held against the conformance suite of the port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.clock import SystemClock
from keyform.conformance.service import ServiceConformance
from keyform.errors import ServiceError
from keyform.model import KeySpec, RateLimit
from keyform.reference.faults import FaultRule
from keyform.services import open_service
from keyform.services.profiles import load_profile


def opened(folder: Path, **options: Any) -> Any:
    profile = load_profile("embedded", folder)
    assert profile is not None
    wrap: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = options.pop("wrap_transport", None)
    return open_service(
        "sandbox",
        "embedded",
        profile=profile,
        endpoint=None,
        credential=None,
        options=options,
        folder=folder,
        clock=SystemClock(),
        wrap_transport=wrap,
    )


class ContractConformance(ServiceConformance):
    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: KeySpec(
            kind="secret",
            environment="test",
            name=name,
            description="from the conformance suite",
            scopes=("events:read",),
            metadata=(("team", "payments"),),
        )

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(
            spec,
            name="Ключ ✓",
            description="",
            scopes=("events:read", "events:write"),
            expires_at=SystemClock().now().replace(microsecond=0) + timedelta(days=9),
            rate_limit=RateLimit(5, 60),
            metadata=(("tier", "1"),),
        )


class Unreliable(httpx.BaseTransport):
    """Loses the answer to the next create, and every listing of keys but the first page, on demand."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.lose_create = False
        self.lose_pages = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if self.lose_create and request.method == "POST":
            self.lose_create = False
            raise httpx.ReadError("lost")
        if self.lose_pages and "cursor" in request.url.params:
            return httpx.Response(404, json={"error": {"code": "not_found", "message": "Gone."}})
        return response

    def close(self) -> None:
        self._inner.close()


class TestEmbedded(ContractConformance):
    @pytest.fixture
    def transports(self) -> list[Unreliable]:
        return []

    @pytest.fixture
    def service(self, tmp_path: Path, transports: list[Unreliable]) -> Iterator[Any]:
        def wrap(inner: httpx.BaseTransport) -> httpx.BaseTransport:
            transports.append(Unreliable(inner))
            return transports[-1]

        service = opened(tmp_path, wrap_transport=wrap)
        yield service
        service.close()

    @pytest.fixture
    def lose_next_answer(self, service: Any, transports: list[Unreliable]) -> Callable[[], None]:
        return lambda: setattr(transports[0], "lose_create", True)

    @pytest.fixture
    def break_listing(
        self,
        service: Any,
        spec: Callable[[str], KeySpec],
        transports: list[Unreliable],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Callable[[], None]:
        def arrange() -> None:
            monkeypatch.setattr("keyform.services.paging.LARGEST_PAGE", 2)
            for number in range(3):
                service.create(spec(f"paged-{number}"), f"lineage/{number}")
            transports[0].lose_pages = True

        return arrange


class TestContract(ContractConformance):
    @pytest.fixture
    def service(self, world: Any) -> Any:
        return world.service

    @pytest.fixture
    def changed(self, world: Any) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(
            spec,
            name="new",
            scopes=("events:write",),
            expires_at=world.clock.now() + timedelta(days=9),
            metadata=(),
        )

    @pytest.fixture
    def lose_next_answer(self, world: Any) -> Callable[[], None]:
        return lambda: world.strike(FaultRule("drop_answer", method="POST"))

    @pytest.fixture
    def break_listing(
        self, world: Any, spec: Callable[[str], KeySpec], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], None]:
        def arrange() -> None:
            monkeypatch.setattr("keyform.services.paging.LARGEST_PAGE", 2)
            for number in range(3):
                world.service.create(spec(f"paged-{number}"), f"lineage/{number}")
            world.strike(FaultRule("status", path="/v1/keys", after=1, times=None))

        return arrange


def test_its_data_lie_under_the_project_and_are_private(tmp_path: Path) -> None:
    service = opened(tmp_path)
    service.create(KeySpec(kind="read", environment="live", name="r", scopes=("events:read",)), "l/m")
    service.close()
    data = tmp_path / ".keyform" / "service"
    assert data.stat().st_mode & 0o77 == 0
    assert [file.name for file in data.iterdir() if file.stat().st_mode & 0o77] == []
    assert not (data / "root-token").exists(), "its credential ends with the process"


def test_what_one_run_minted_the_next_one_sees(tmp_path: Path) -> None:
    first = opened(tmp_path, path="elsewhere")
    minted = first.create(KeySpec(kind="read", environment="live", name="r", scopes=("events:read",)), "l/m")
    first.close()
    assert (tmp_path / "elsewhere").is_dir()
    second = opened(tmp_path, path="elsewhere")
    assert [key.id for key in second.list().keys] == [minted.key.id]
    assert second.prove(minted.secret, minted.key) == minted.key.id
    second.close()


@pytest.mark.parametrize("broken", ["data", "data/keys.sqlite3"])
def test_a_folder_that_cannot_be_used_is_an_error_with_a_next_step(tmp_path: Path, broken: str) -> None:
    (tmp_path / broken).parent.mkdir(exist_ok=True)
    (tmp_path / broken).write_text("no database " * 100)
    with pytest.raises(ServiceError, match="cannot use the folder") as caught:
        opened(tmp_path, path="data")
    assert "path" in caught.value.diagnostics[0].detail


def test_nothing_heavy_is_imported_before_a_service_is_opened() -> None:
    code = (
        "import sys, pathlib, keyform.services, keyform.services.profiles as p\n"
        "p.load_profile('embedded', pathlib.Path())\n"
        "heavy = {'httpx', 'falcon', 'tenacity', 'keyform.reference', 'jsonschema_rs'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
