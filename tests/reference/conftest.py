"""A reference service in this process, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.reference.app import ReferenceApp, create_app

ROOT = "root_of_the_tests"


class Clock:
    """Unix time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Service:
    """A client of one application, with shorthands for what most tests need."""

    def __init__(self, application: ReferenceApp, data: Path) -> None:
        self.application = application
        self.data = data
        self.http = self.client(ROOT)

    def client(self, credential: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        transport = httpx.WSGITransport(self.application)
        return httpx.Client(transport=transport, base_url="http://service", headers=headers)

    def create(self, idempotency_key: str | None = None, **fields: Any) -> httpx.Response:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self.http.post("/v1/keys", json=body(**fields), headers=headers)

    def minted(self, **fields: Any) -> tuple[dict[str, Any], str]:
        answer = self.create(**fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"], answer.json()["secret"]

    def verify(self, secret: str, **asked: str) -> httpx.Response:
        return self.client(None).post("/v1/verify", json={"key": secret, **asked})


def body(**fields: Any) -> dict[str, Any]:
    """A create that is fine, but for `fields`."""
    return {"kind": "secret", "environment": "live", "name": "Backend", "scopes": ["events:read"], **fields}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, whose envelope is checked on the way."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["message"]
    return answer.status_code, error["code"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Service]]:
    """Start a service on the test's data folder; more than one may be open at once."""
    started = []

    def start_one(**options: Any) -> Service:
        data = tmp_path / "data"
        application = create_app(data, **{"root_token": ROOT, "clock": clock, **options})
        started.append(application)
        return Service(application, data)

    yield start_one
    for application in started:
        application.close()


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    return start()


@pytest.fixture
def vendor(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Any]]:
    """Open a vendor's dialect by its name, with the options of its account."""
    from .vendors import Vendor

    opened = []

    def open_one(name: str, **options: Any) -> Vendor:
        opened.append(Vendor(name, tmp_path / "data", clock, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.application.close()
