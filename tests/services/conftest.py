"""A clock that tests move, and clients of a reference service with faults, limits and a record of calls."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.model import Secret
from keyform.reference.app import create_app, root_token
from keyform.reference.faults import FaultRule, Faults
from keyform.reference.limiter import RateLimit
from keyform.services import open_service
from keyform.services.embedded import InProcess
from keyform.services.profiles import load_profile

ROOT = "root_CANARY-credential-of-the-tests"
START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time passes only when somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self._passed += seconds


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps method, path, headers and the status of each answer."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.requests: list[httpx.Request] = []
        self.statuses: list[int | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        status = None
        try:
            response = self._inner.handle_request(request)
            status = response.status_code
            return response
        finally:
            with self._lock:
                self.requests.append(request)
                self.statuses.append(status)

    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def close(self) -> None:
        self._inner.close()


class World:
    """One reference service in process, a client of it, and the record of what passed between them."""

    def __init__(self, data: Path, clock: ManualClock, limit: RateLimit | None = None) -> None:
        self.clock = clock
        self.faults = Faults(sleep=clock.sleep)
        app = create_app(
            data, root_token=ROOT, limit=limit, clock=lambda: clock.now().timestamp(), faults=self.faults
        )
        self.record = Recorder(InProcess(app))
        self.service = client(clock, lambda _: self.record)

    def strike(self, *rules: FaultRule) -> None:
        self.faults.install(rules)

    def live(self) -> list[str]:
        """The names of the keys that work, in the service's own words."""
        self.faults.clear()
        return [key.spec.name for key in self.service.list().keys if key.status == "active"]


def client(
    clock: Any,
    wrap: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
    endpoint: str = "http://localhost:1",
    credential: str = ROOT,
) -> Any:
    profile = load_profile("embedded", Path())
    assert profile is not None
    return open_service(
        "sandbox",
        "embedded",
        profile=profile,
        endpoint=endpoint,
        credential=Secret(credential),
        options={},
        folder=Path(),
        clock=clock,
        wrap_transport=wrap,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_world(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(limit: tuple[int, int] | None = None) -> World:
        made.append(World(tmp_path / "service", clock, RateLimit(*limit) if limit else None))
        return made[-1]

    yield make
    for world in made:
        world.service.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def answering(clock: ManualClock) -> Callable[..., Any]:
    """A client whose service is a function from request to response."""

    def make(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> Any:
        return client(clock, lambda _: httpx.MockTransport(answer), **options)

    return make


@pytest.fixture
def connect(clock: ManualClock) -> Callable[..., Any]:
    """A client of any endpoint."""

    def make(endpoint: str, **options: Any) -> Any:
        return client(options.pop("clock", clock), options.pop("wrap", None), endpoint, **options)

    return make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Base URL and root token of a reference service in a process of its own, faults allowed."""
    data = tmp_path_factory.mktemp("served")
    code = (
        "import sys, pathlib\n"
        "from keyform.reference.server import serve\n"
        "serve(pathlib.Path(sys.argv[1]), faults=True, on_ready=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), root_token(data)
        finally:
            server.terminate()
