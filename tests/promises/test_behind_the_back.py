"""Keys that somebody revoked, or that expired, behind keyform's back, in all six services: each is planned
once as what it is, and the plan after the apply is empty. Some services keep listing such keys; others drop
them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import PlanError
from tests.promises.fleet import SERVICES, Fleet
from tests.reference.conftest import ROOT
from tests.world import MovedClock, World

WHAT = {
    "revenium": "kind: write",
    "revkeen": "scopes: [customers:read]",
    "millimetric": "kind: sk, project: web",
    "devtune": "project: acme, scopes: [visibility.read]",
    "unkey": "scopes: [documents.read]",
    "climeter": 'scopes: ["tools:read"]',
}
LISTED = [service for service in WHAT if service != "climeter"]


class Dropping(httpx.BaseTransport):
    """A service whose listing has no place for keys that work no more, as JupyterHub's."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        if request.method != "GET" or not request.url.path.endswith("/v1/keys"):
            return answer
        page = json.loads(answer.read())
        page["data"] = [key for key in page["data"] if key["status"] == "active"]
        return httpx.Response(answer.status_code, json=page)


@pytest.fixture(params=[False, True], ids=["stay listed", "are dropped"])
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[Fleet, World]]:
    monkeypatch.setenv("ROOT", ROOT)
    clock = MovedClock()
    fleet = Fleet(tmp_path / "data", clock.now)
    way = Dropping(fleet.way) if request.param else fleet.way
    (tmp_path / "work").mkdir()
    yield fleet, World(tmp_path / "work", clock, Wrapping(transport=lambda inner: way))
    fleet.close()


def test_a_revoked_key_is_made_again_once(fleet: tuple[Fleet, World]) -> None:
    services, world = fleet
    _declare(world, WHAT)
    assert not world.apply().failed
    first = _current(world)
    for service in LISTED:
        services.revoke(service, first[service])
    plan = world.plan()
    told = {c.address.removeprefix("keys."): (c.action, c.drift) for c in plan.changes}
    assert told == dict.fromkeys(LISTED, ("create", True))
    assert all("outside keyform" in change.reason for change in plan.changes)
    assert not world.apply().failed
    assert world.plan().changes == ()
    second = _current(world)
    assert {service for service in WHAT if first[service] != second[service]} == set(LISTED)
    assert all(set(services.live(service)) == {second[service]} for service in WHAT)


def test_a_key_that_nothing_lists_is_not_missed(fleet: tuple[Fleet, World]) -> None:
    services, world = fleet
    _declare(world, ["climeter"])
    assert not world.apply().failed
    services.revoke("climeter", _current(world)["climeter"])
    plan = world.plan()
    assert plan.changes == ()
    assert any("sees no listing" in diagnostic.summary for diagnostic in plan.diagnostics)


@pytest.mark.parametrize("gate", ["", ", revoke_when_unused_for: 2d"], ids=["time", "gate"])
def test_an_old_generation_that_somebody_revoked_is_let_go_at_its_time(
    fleet: tuple[Fleet, World], gate: str
) -> None:
    services, world = fleet
    gated = [service for service in LISTED if not gate or service in ("millimetric", "devtune", "unkey")]
    _declare(world, gated, f", rotation: {{every: 30d, overlap: 3d{gate}}}")
    assert not world.apply().failed
    first = _current(world)
    secrets = {service: world.stored(f"keys.{service}") for service in gated}
    world.clock.move(days=30)
    assert not world.apply().failed
    world.clock.move(days=2)
    for service, secret in secrets.items():
        assert secret is not None and services.use(service, secret.reveal()).works
        services.revoke(service, first[service])
    assert world.plan().changes == ()
    world.clock.move(days=1)  # the gate would hold a key that works still
    assert {change.key_id for change in world.plan().changes} == {first[service] for service in gated}
    assert not world.apply().failed
    plan = world.plan()
    assert plan.changes == ()
    assert all(not record.deposed for record in world.state().keys.values())
    assert "held" not in {diagnostic.code for diagnostic in plan.diagnostics}


@pytest.mark.parametrize("rotation", ["", ", rotation: {overlap: 3d}"], ids=["alone", "overlap"])
def test_an_expired_key_is_made_again_once(fleet: tuple[Fleet, World], rotation: str) -> None:
    services, world = fleet
    expiring = ["devtune", "unkey"]
    _declare(world, expiring, f", expires_in: 30d{rotation}")
    assert not world.apply().failed
    first = _current(world)
    world.clock.move(days=30, seconds=1)
    plan = world.plan()
    assert len(plan.changes) == len(expiring)
    assert not world.apply().failed
    assert world.plan().changes == ()
    second = _current(world)
    assert all(set(services.live(service)) == {second[service]} for service in expiring)
    assert all(first[service] != second[service] for service in expiring)
    assert all(not record.deposed for record in world.state().keys.values())


def test_a_cart_key_that_was_rotated_elsewhere_is_told_and_left_alone(fleet: tuple[Fleet, World]) -> None:
    services, world = fleet
    world.write(SERVICES + "keys: {page: {service: cart, kind: publishable, secret: page}}\n")
    assert not world.apply().failed
    answer = services.ask("POST", "/revkeen/v2/cart-api-keys/publishable/rotate", {"grace_hours": 1})
    world.clock.move(hours=2)
    for _ in range(2):
        with pytest.raises(PlanError) as refused:
            world.apply()
        assert [d.code for d in refused.value.diagnostics] == ["rotated-elsewhere"]
    assert answer.json()["id"] in services.live("cart")


def test_keys_of_a_fleet_that_are_all_gone_are_a_mass_change_and_not_made_by_themselves(
    fleet: tuple[Fleet, World],
) -> None:
    services, world = fleet
    many = "".join(
        f"  k{n}: {{service: devtune, name: k{n}, {WHAT['devtune']}, secret: k{n}}}\n" for n in range(10)
    )
    world.write(SERVICES + "keys:\n" + many)
    assert not world.apply().failed
    for key_id in services.live("devtune"):
        services.revoke("devtune", key_id)
    with pytest.raises(PlanError, match="mints again 10 of the 10 keys"):
        world.apply()


def _declare(world: World, services: list[str] | dict[str, str], more: str = "") -> None:
    lines = (f"  {s}: {{service: {s}, name: {s}, {WHAT[s]}, secret: {s}{more}}}\n" for s in services)
    world.write(SERVICES + "keys:\n" + "".join(lines))


def _current(world: World) -> dict[str, str]:
    """The id of each key by its service."""
    return {record.current.service: record.current.id for record in world.state().keys.values()}
