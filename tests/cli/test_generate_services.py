"""What ``generate`` writes for the keys of each service is valid, and adopts them without changing any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from keyform.apply import Wrapping
from keyform.apply.states import remove
from keyform.cli.main import run
from tests.apply.outside import requests
from tests.reference.conftest import ROOT
from tests.rules.conftest import Rules, StaysOpen

from .conftest import Ran

KEYS = {
    "revenium": "keys: {a: {service: it, kind: metering-only, name: Otel, secret: a}}",
    "revkeen": "keys: {a: {service: it, scopes: ['checkout:write'], name: Shop, secret: a}}",
    "revkeen-cart": "keys: {a: {service: it, kind: secret, secret: a}, "
    "b: {service: it, kind: publishable, secret: b}}",
    "millimetric": "projects: {web: {service: it, allowed_origins: ['https://a.example']}}\n"
    "keys: {a: {service: it, kind: pk, project: web, secret: a}, "
    "b: {service: it, kind: rk, project: web, name: Reader, secret: b}, "
    "c: {service: it, kind: ak, secret: c}}",
    "devtune": "projects: {acme: {service: it}}\n"
    "keys: {a: {service: it, project: acme, name: a, scopes: [visibility.read], expires_in: 30d, secret: a}, "
    "b: {service: it, project: acme, name: b, scopes: [visibility.read], expires_in: never, secret: b}}",
    "unkey": "keys: {a: {service: it, name: a, scopes: [x.y], expires_in: 90d, secret: a, "
    "rate_limit: {limit: 5, per: 60s}, metadata: {team: x}, "
    "credits: {remaining: 5, refill: {amount: 2, interval: monthly, refill_day: 3}}}}",
}
MORE = {"millimetric": "plan: business", "devtune": "plan: plus"}


class Generated(Rules):
    """Keys that a service has and the state has forgotten."""

    def __init__(self, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(name, folder)
        self._capsys = capsys

    def keyform(self, *argv: str) -> Ran:
        self._capsys.readouterr()
        code = run(["-C", str(self.world.folder), *argv], clock=self.clock, wrap=self.world.wrap)
        return Ran(code, *self._capsys.readouterr())

    def forget(self) -> None:
        with self.world.open() as ws:
            state = ws.read_state()[0]
            remove(ws, (*state.keys, *state.projects))
        self.declare("", MORE.get(self.name, ""))

    def adopt(self) -> dict[str, Any]:
        """Generate, and hold what is written against validate, plan and apply."""
        written = self.keyform("generate", "it")
        assert written.code == 0, written.err
        (self.world.folder / "generated.yaml").write_text(written.out)
        validated = self.keyform("validate")
        assert validated.code == 0, validated.err
        plan = self.world.plan()
        assert not plan.failed, plan.diagnostics
        keys = [change for change in plan.changes if change.address.startswith("keys.")]
        assert {change.action for change in keys} == {"import"}
        assert not [change for change in keys if change.diff], "nothing is changed"
        assert not self.world.apply().failed
        assert self.world.plan().empty
        document: dict[str, Any] = yaml.safe_load(written.out)
        return document


@pytest.fixture
def generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], Generated]]:
    monkeypatch.setenv("ROOT", ROOT)
    opened: list[Generated] = []

    def open_one(name: str) -> Generated:
        opened.append(Generated(name, tmp_path, capsys))
        return opened[-1]

    yield open_one
    for one in opened:
        one.vendor.application.close()


def behind(rules: Generated, spoil: Callable[[dict[str, Any]], None]) -> None:
    """The service shows its keys differently."""

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response: httpx.Response = send(request)
        body = yaml.safe_load(response.read())
        for key in body.get("data", []) if request.url.path == "/v1/keys" else []:
            spoil(key)
        return httpx.Response(response.status_code, json=body)

    inner = StaysOpen(rules.vendor.application)
    spoiled = requests(answer).transport
    rules.world.wrap = Wrapping(transport=lambda _: spoiled(inner))


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_each_service_can_be_adopted(name: str, generated: Callable[[str], Generated]) -> None:
    rules = generated(name)
    rules.apply(KEYS[name] + "\n", MORE.get(name, ""))
    live = rules.live()
    rules.forget()
    document = rules.adopt()
    assert {entry["id"] for entry in document["imports"]} == set(live)
    assert rules.live() == live


def test_a_span_is_told_from_the_end_that_the_service_gave(generated: Callable[[str], Generated]) -> None:
    rules = generated("devtune")
    rules.apply(KEYS["devtune"] + "\n", MORE["devtune"])
    rules.forget()

    def off(key: dict[str, Any]) -> None:
        if key.get("expires_at"):
            key["expires_at"] = key["expires_at"][:19] + ".656Z"

    behind(rules, off)
    document = rules.adopt()
    assert document["keys"]["a"]["expires_in"] == "30d"
    assert document["keys"]["b"]["expires_in"] == "never"


def test_an_end_that_no_span_comes_to_is_left_out_and_named(generated: Callable[[str], Generated]) -> None:
    rules = generated("devtune")
    rules.apply(KEYS["devtune"] + "\n", MORE["devtune"])
    rules.forget()

    def other(key: dict[str, Any]) -> None:
        if key.get("expires_at"):
            key["expires_at"] = "2027-03-01T00:00:00Z"

    behind(rules, other)
    assert (
        "it expires 2027-03-01T00:00:00Z, which is none of the spans" in rules.keyform("generate", "it").out
    )
    assert list(rules.adopt()["keys"]) == ["b"]


def test_an_end_that_cannot_be_declared_is_told_and_no_obstacle(
    generated: Callable[[str], Generated],
) -> None:
    rules = generated("revenium")
    rules.apply(KEYS["revenium"] + "\n")
    rules.forget()
    behind(rules, lambda key: key.update(expires_at="2027-05-19T12:04:19Z"))
    assert "# The service says that it expires 2027-05-19T12:04:19Z" in rules.keyform("generate", "it").out
    rules.adopt()


def test_what_the_type_does_not_declare_is_left_away(generated: Callable[[str], Generated]) -> None:
    rules = generated("revkeen")
    rules.apply(KEYS["revkeen"] + "\n")
    rules.forget()

    def more(key: dict[str, Any]) -> None:
        key.update(description="x", project="p", allowed_origins=["https://a.example"])
        key["metadata"] = {**key["metadata"], "team": "x"}

    behind(rules, more)
    (key,) = rules.adopt()["keys"].values()
    assert set(key) == {"service", "environment", "name", "scopes", "secret"}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ({"environment": "test"}, "environment test is unknown"),
        ({"project": None}, "need a project, and it has none"),
        ({"kind": "zz"}, "kind zz is unknown"),
    ],
)
def test_what_no_configuration_can_declare_is_named(
    spoil: dict[str, Any], why: str, generated: Callable[[str], Generated]
) -> None:
    rules = generated("millimetric")
    rules.apply(KEYS["millimetric"] + "\n", MORE["millimetric"])
    rules.forget()
    behind(rules, lambda key: key.update(spoil) if key.get("kind") == "rk" else None)
    written = rules.keyform("generate", "it").out
    assert why in written
    rules.adopt()
