"""Promise 3 where nothing can be revoked and nothing carries a label: RevKeen's cart keys.

What a crash leaves there is owned, and rotated by the next apply: no human is asked, no secret is lost, and
what the store holds works at every instant once there was something in it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import PlanError, StoreError
from keyform.model import Place
from keyform.services.embedded import InProcess
from tests.conftest import Figures
from tests.promises.matrix import (
    SHARE,
    BrokenFor,
    SteppedTransport,
    Steps,
    die,
    in_child,
    run_and_forgive,
    wrapping,
)
from tests.reference.conftest import ROOT
from tests.reference.vendors import Vendor
from tests.world import START, MovedClock, World

TOGETHER = """
version: 1
services: {cart: {type: revkeen-cart, endpoint: "http://localhost:1", credential: "${env:ROOT}"}}
keys:
  page: {service: cart, kind: publishable, secret: page, rotation: {every: 30d, overlap: 1d}}
  back: {service: cart, kind: secret, secret: back, rotation: {every: 30d, overlap: 1d}}
"""
ALONE = TOGETHER.replace("  back:", "  # back:")
DUE = START + timedelta(days=31)


class Shop:
    """A folder with a configuration and the stand-in's data. Every run opens both afresh, as it would."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.clock = MovedClock(now)
        self.folder = folder
        self.world = World(folder / "work", self.clock, self.wrap(lambda inner: inner))

    def vendor(self) -> Vendor:
        return Vendor("revkeen", self.folder / "data", lambda: self.clock.now().timestamp())

    def wrap(
        self, around: Callable[[httpx.BaseTransport], httpx.BaseTransport], wrapping: Wrapping | None = None
    ) -> Wrapping:
        def transport(inner: httpx.BaseTransport) -> httpx.BaseTransport:
            return around(InProcess(self.vendor().application))

        return replace(wrapping or Wrapping(), transport=transport)

    def stepped(self, steps: Steps) -> Wrapping:
        return self.wrap(lambda inner: SteppedTransport(inner, steps), wrapping(steps))

    def wrong(self) -> list[str]:
        """What is not as it is declared: state, service and store against each other."""
        out = []
        vendor = self.vendor()
        shown = vendor.call("GET", "/v2/cart-api-keys/status").json()
        with self.world.open() as ws:
            state, _ = ws.read_state()
            declared = {want.address: want for want in ws.desired.keys}
            out += [f"state and configuration differ: {a}" for a in declared.keys() ^ state.keys.keys()]
            for address, record in state.keys.items():
                current = record.current
                if (shown[current.spec.kind or ""] or {}).get("id") != current.id:
                    out.append(f"not the service's key: {address}")
                value = ws.store("local").get(declared[address].places[0])
                if value is None or vendor.verify(value.reveal()).status_code != 200:
                    out.append(f"stored and not working: {address}")
            if ws.backend.journal.read():
                out.append("journal not empty")
            if ws.backend.holder() is not None:
                out.append("still locked")
        vendor.application.close()
        return out

    def dead_in_store(self) -> list[str]:
        """Promise 4: places whose value does not work."""
        vendor = self.vendor()
        with self.world.open(Wrapping()) as ws:
            values = {name: ws.store("local").get(Place("local", name)) for name in ("page", "back")}
        dead = [
            name
            for name, value in values.items()
            if value is None or vendor.verify(value.reveal()).status_code != 200
        ]
        vendor.application.close()
        return dead

    def after_the_next_apply(self, when: str) -> list[str]:
        outcome = self.world.apply()
        problems = [d.summary for d in outcome.failed] + self.wrong()
        plan = self.world.plan()
        problems += [f"not at rest: {c.address} {c.action} {c.reason}" for c in plan.changes]
        problems += [d.summary for d in plan.diagnostics if d.severity == "error"]
        return [f"{when}: {problem}" for problem in problems]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOT", ROOT)


def prepared(folder: Path, text: str, *, applied: bool) -> Path:
    (folder / "work").mkdir(parents=True)
    shop = Shop(folder, START)
    shop.world.write(text)
    if applied:
        assert not shop.world.apply().failed
        assert shop.wrong() == []
    return folder


def copy_of(source: Path, folder: Path, now: datetime) -> Shop:
    shutil.copytree(source, folder, symlinks=True)
    return Shop(folder, now)


def effects_of_a_run(source: Path, folder: Path, now: datetime, action: str, count: int) -> int:
    steps = Steps()
    shop = copy_of(source, folder, now)
    outcome = shop.world.apply(wrap=shop.stepped(steps))
    assert not outcome.failed
    assert [change.action for change in outcome.plan.changes] == [action] * count
    assert shop.wrong() == []
    return steps.count


SCENES: dict[str, tuple[str, bool, datetime, str, int]] = {
    "both are ensured": (TOGETHER, False, START, "create", 2),
    "one is ensured, the other made with it": (ALONE, False, START, "create", 1),
    "both are rotated": (TOGETHER, True, DUE, "rotate", 2),
}


@pytest.mark.share
@pytest.mark.parametrize("scene", SCENES)
def test_a_crash_before_or_after_any_effect_costs_nothing(
    scene: str, tmp_path: Path, figures: Figures
) -> None:
    text, applied, now, action, count = SCENES[scene]
    source = prepared(tmp_path / "source", text, applied=applied)
    effects = effects_of_a_run(source, tmp_path / "counted", now, action, count)
    failures = []
    points = [(at, after) for at in range(1, effects + 1) for after in (False, True)][::SHARE]
    for at, after in points:
        shop = copy_of(source, tmp_path / f"{at}-{after}", now)
        wrap = shop.stepped(Steps(at, after, die))
        code = in_child(lambda: shop.world.apply(wrap=wrap))  # noqa: B023
        assert code == 77, f"the run did not reach effect {at}"
        when = f"effect {at}, {'after' if after else 'before'}"
        if applied:
            failures += [f"{when}: the value of {name} is dead" for name in shop.dead_in_store()]
        failures += shop.after_the_next_apply(when)
        if not applied and text == ALONE:
            shop.world.write(TOGETHER)
            failures += shop.after_the_next_apply(f"{when}, and the other one declared later")
        shutil.rmtree(shop.folder)
    figures(f"cart keys, {scene}", f"{len(points)} crashes, {len(failures)} failures")
    assert failures == []


@pytest.mark.share
@pytest.mark.parametrize("scene", ["both are ensured", "both are rotated"])
def test_a_second_crash_while_recovering_costs_nothing(scene: str, tmp_path: Path, figures: Figures) -> None:
    text, applied, now, action, count = SCENES[scene]
    source = prepared(tmp_path / "source", text, applied=applied)
    effects = effects_of_a_run(source, tmp_path / "counted", now, action, count)
    chance = random.Random(20261120)
    failures = []
    runs = 40 // SHARE
    for number in range(runs):
        shop = copy_of(source, tmp_path / f"{number}", now)
        points = [(chance.randint(1, effects), chance.random() < 0.5) for _ in range(2)]
        for at, after in points:
            wrap = shop.stepped(Steps(at, after, die))
            in_child(lambda: shop.world.apply(wrap=wrap))  # noqa: B023
            if applied:
                failures += [f"{points}: the value of {name} is dead" for name in shop.dead_in_store()]
        failures += shop.after_the_next_apply(f"effects {points}")
        shutil.rmtree(shop.folder)
    figures(f"cart keys, {scene}, double crashes", f"{runs} runs, {len(failures)} failures")
    assert failures == []


@pytest.mark.share
@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("scene", ["both are ensured", "both are rotated"])
def test_a_connection_that_breaks_at_any_request_costs_nothing(
    scene: str, after: bool, tmp_path: Path
) -> None:
    text, applied, now, action, count = SCENES[scene]
    source = prepared(tmp_path / "source", text, applied=applied)
    effects = effects_of_a_run(source, tmp_path / "counted", now, action, count)
    failures = []
    for at in range(1, effects + 1, SHARE):
        shop = copy_of(source, tmp_path / f"{at}", now)
        for length in (1, 20):
            broken = BrokenFor(at, length, after)
            run_and_forgive(shop.world, shop.wrap(broken.wrap))
            if applied:
                failures += [f"{at}: the value of {name} is dead" for name in shop.dead_in_store()]
        failures += shop.after_the_next_apply(f"request {at}, {after}")
        shutil.rmtree(shop.folder)
    assert failures == []


class Failing:
    """A store whose writes fail."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, place: Place, secret: object, labels: object, over: object) -> None:
        raise StoreError(f"{place} cannot be written", "Mend it.")


@pytest.mark.parametrize("scene", ["both are ensured", "both are rotated"])
def test_a_store_that_fails_costs_a_rotation_and_no_secret(scene: str, tmp_path: Path) -> None:
    text, applied, now, _, count = SCENES[scene]
    shop = Shop(prepared(tmp_path / "shop", text, applied=applied), now)
    outcome = shop.world.apply(wrap=replace(shop.world.wrap, store=Failing))
    told = [f"{d.summary} {d.detail}" for d in outcome.failed]
    assert sum("no call revokes it" in text for text in told) == count
    assert shop.dead_in_store() == [] or not applied
    plan = shop.world.plan()
    assert [change.action for change in plan.changes] == ["rotate"] * count
    assert "nobody has the secret of" in plan.changes[0].reason
    assert shop.after_the_next_apply("a failing store") == []


def test_a_key_that_somebody_made_after_the_crash_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    """The run died before it asked for the keys; an hour later somebody else did. Theirs are left alone."""
    text, applied, now, action, count = SCENES["both are ensured"]
    source = prepared(tmp_path / "source", text, applied=applied)
    effects = effects_of_a_run(source, tmp_path / "counted", now, action, count)
    tried, failures = 0, []
    for at in range(1, effects + 1):
        shop = copy_of(source, tmp_path / f"{at}", now)
        wrap = shop.stepped(Steps(at, False, die))
        in_child(lambda: shop.world.apply(wrap=wrap))  # noqa: B023
        vendor = shop.vendor()
        if vendor.call("GET", "/v2/cart-api-keys/status").json() == {"publishable": None, "secret": None}:
            tried += 1
            shop.clock.move(hours=1)
            made = vendor.call("POST", "/v2/cart-api-keys/ensure", {}).json()
            with pytest.raises(PlanError) as refused:
                shop.world.apply()
            codes = {diagnostic.code for diagnostic in refused.value.diagnostics}
            shown = vendor.call("GET", "/v2/cart-api-keys/status").json()
            if codes != {"exists-already"} or any(shown[kind]["id"] != made[kind]["id"] for kind in shown):
                failures.append(f"effect {at}: {codes}")
        vendor.application.close()
        shutil.rmtree(shop.folder)
    assert tried > 3
    assert failures == []


def test_a_key_that_is_no_longer_declared_after_the_crash_is_owned_all_the_same(tmp_path: Path) -> None:
    """It is there, nothing revokes it, and so nothing forgets it by the way."""
    text, applied, now, action, count = SCENES["both are ensured"]
    source = prepared(tmp_path / "source", text, applied=applied)
    effects = effects_of_a_run(source, tmp_path / "counted", now, action, count)
    tried = 0
    for at in range(1, effects + 1):
        shop = copy_of(source, tmp_path / f"{at}", now)
        wrap = shop.stepped(Steps(at, True, die))
        in_child(lambda: shop.world.apply(wrap=wrap))  # noqa: B023
        with shop.world.open() as ws:
            left = ws.backend.journal.read()
        if b'"sent"' in left and b'"event"' not in left:
            vendor = shop.vendor()
            made = vendor.call("GET", "/v2/cart-api-keys/status").json()
            vendor.application.close()
            shop.world.write(TOGETHER.partition("keys:")[0])
            if made["publishable"] is None:
                assert not shop.world.apply().failed
                assert shop.world.state().keys == {}
            else:
                tried += 1
                with pytest.raises(PlanError) as refused:
                    shop.world.apply()
                assert {diagnostic.code for diagnostic in refused.value.diagnostics} == {"not-revocable"}
                assert shop.world.state().keys["keys.page"].current.id == made["publishable"]["id"]
        shutil.rmtree(shop.folder)
    assert tried
