"""One vendor: its rules as keyform tells them, and its stand-in as it refuses what breaks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.diagnostics import Diagnostic
from keyform.engine.plan import Plan
from keyform.errors import ConfigError
from keyform.model import ACTIVE, LiveKey
from keyform.registry import load_config
from keyform.services.embedded import InProcess
from tests.reference.conftest import ROOT
from tests.reference.vendors import Vendor
from tests.world import MovedClock, World

DECLARED = {
    "revenium": "{type: revenium, %s}",
    "revkeen": "{type: revkeen, %s}",
    "revkeen-cart": "{type: revkeen-cart, %s}",
    "millimetric": "{type: millimetric, %s}",
    "climeter": '{type: climeter, endpoint: "http://localhost:1", email: keyform@example.com, '
    'password: "${env:ROOT}", %s}',
    "devtune": "{type: devtune, %s}",
    "unkey": "{type: unkey, api_id: api_keyform, %s}",
}
AT = 'endpoint: "http://localhost:1", credential: "${env:ROOT}"'


@dataclass(frozen=True)
class Rule:
    """Something wrong: as it is declared, and as it is sent. ``says`` are words of the refusal, ``source``
    where the rule is from (empty for keyform's own); ``sent`` are the fields of a create, None where the
    service itself allows it; ``service`` is what the service is declared with."""

    declared: str
    code: str
    says: tuple[str, ...]
    source: str
    sent: dict[str, Any] | None = None
    answer: tuple[int, str] = (422, "")
    service: str = ""


class StaysOpen(InProcess):
    """The application in this process; it outlives the runs that use it."""

    def close(self) -> None:
        pass


class Rules:
    """A folder, a stand-in of the vendor in this process, and a clock that both go by."""

    def __init__(self, name: str, folder: Path, **options: Any) -> None:
        self.name = name
        self.clock = MovedClock()
        self.hosts: list[str] = []
        moment: Any = lambda: self.clock.now().timestamp()  # noqa: E731
        self.vendor = Vendor(name.removesuffix("-cart"), folder / "data", moment, **options)
        wrap = Wrapping(transport=lambda _: StaysOpen(self.vendor.application))
        (folder / "work").mkdir(exist_ok=True)
        self.world = World(folder / "work", self.clock, wrap)

    def declare(self, body: str, more: str = "") -> World:
        at = "" if self.name == "climeter" else AT
        service = DECLARED[self.name] % ", ".join(filter(None, (at, more)))
        return self.world.write(f"version: 1\nservices:\n  it: {service}\n{body}")

    def validate(self, body: str, more: str = "") -> tuple[Diagnostic, ...]:
        """What is said of a configuration, offline."""
        self.declare(body, more)
        try:
            return load_config(self.world.folder, self.clock, variables={}, offline=True).diagnostics
        except ConfigError as refused:
            return refused.diagnostics

    def live(self) -> dict[str, LiveKey]:
        """The active keys of the service by id."""
        with self.world.open() as ws:
            return {key.id: key for key in ws.service("it").list().keys if key.status == ACTIVE}

    def plan(self, body: str, more: str = "") -> Plan:
        return self.declare(body, more).plan()

    def apply(self, body: str, more: str = "") -> Any:
        outcome = self.declare(body, more).apply()
        assert not outcome.failed, outcome.failed
        return outcome

    def check(self, rule: Rule) -> None:
        """keyform refuses what is declared, naming rule and source; the service refuses what is sent."""
        found = self.validate(rule.declared, rule.service)
        assert [d.code for d in found if d.severity == "error"] == [rule.code], found
        (told,) = (d for d in found if d.severity == "error")
        words = f"{told.summary} {told.detail}"
        for text in rule.says:
            assert text in words
        assert rule.source in told.detail, told.detail
        assert told.location is not None
        if rule.sent is not None:
            answer = self.create(rule.sent)
            assert (answer.status_code, code_of(answer)) == rule.answer, answer.text

    def create(self, fields: dict[str, Any]) -> httpx.Response:
        """A create sent to the stand-in directly, by whatever its call is."""
        if self.name == "climeter":
            return self.vendor.call("POST", "/v1/keys", {"name": "k", **fields}, key=self.token())
        if self.name == "unkey":
            return self.vendor.call("POST", "/v2/keys.createKey", {"apiId": "api_keyform", **fields})
        return self.vendor.create(**fields)

    def token(self) -> str:
        """What CLIMeter's login gives."""
        told = {"email": "keyform@example.com", "password": ROOT}
        answer = self.vendor.call("POST", "/v1/auth/login", told, key=None)
        return str(answer.json()["access_token"])


def code_of(answer: httpx.Response) -> str:
    """The vendor's own error code, whichever of the envelopes it came in."""
    body = answer.json()
    error = body.get("error", "")
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type", "")).rpartition("/")[2]
    return str(error)


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rules]]:
    monkeypatch.setenv("ROOT", ROOT)
    opened: list[Rules] = []

    def open_one(name: str, **options: Any) -> Rules:
        opened.append(Rules(name, tmp_path, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.vendor.application.close()
