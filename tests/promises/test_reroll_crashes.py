"""Promises 3 and 4 where a rotation goes by the service's own call and makes a copy: Unkey's reroll.

The copy has the label and the expiry of the old key, and the old key gets an end. Wherever a run dies, the
value in the store works, and the next apply alone brings everything to what is declared.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.engine.options import Options
from keyform.errors import KeyformError
from keyform.model import LABEL, Place
from keyform.services.embedded import InProcess
from tests.conftest import Figures
from tests.promises.matrix import (
    SHARE,
    BrokenFor,
    SteppedTransport,
    Steps,
    die,
    in_child,
    wrapping,
)
from tests.reference.conftest import ROOT
from tests.reference.vendors import Vendor
from tests.world import START, MovedClock, World

HEAD = """
version: 1
services: {it: {type: unkey, api_id: api_keyform, endpoint: "http://localhost:1", credential: "${env:ROOT}"}}
"""
ENDING = (
    HEAD
    + """
keys:
  k:
    service: it
    name: a
    scopes: [documents.read]
    metadata: {team: web}
    secret: k
    expires_in: 60d
    rotation: {every: 30d, overlap: 2d}
"""
)
LASTING = (
    HEAD
    + """
keys:
  k:
    service: it
    name: a
    credits: {remaining: 10}
    secret: k
    rotation: {every: 30d}
"""
)
TWO_OVERLAPS = ENDING.replace("every: 30d, overlap: 2d", "every: 30d, overlap: 25d")
DUE = Options()
ASKED = Options(rotate=("keys.k",))
NOW = Options(rotate=("keys.k",), rotate_reason="a leak", rotate_now=True)


@dataclass(frozen=True)
class Scene:
    """What is declared, after how many days each further run came, and the run that dies."""

    text: str
    days: tuple[int, ...] = ()
    at: int = 31
    options: Options = DUE
    generations: int = 2


SCENES = {
    "with an expiry and an overlap": Scene(ENDING),
    "without either": Scene(LASTING, generations=1),
    "in the overlap of an earlier one": Scene(TWO_OVERLAPS, (31,), 40, ASKED, 3),
    "now": Scene(TWO_OVERLAPS, (31,), 35, NOW, 1),
}


class Site:
    """A folder with a configuration and the stand-in's data. Every run opens both afresh, as it would."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.clock = MovedClock(now)
        self.folder = folder
        self.world = World(folder / "work", self.clock, self.wrap(lambda inner: inner))

    def vendor(self) -> Vendor:
        return Vendor("unkey", self.folder / "data", lambda: self.clock.now().timestamp())

    def ask(self, call: str, **body: Any) -> Any:
        vendor = self.vendor()
        answer = vendor.call("POST", f"/v2/{call}", body)
        vendor.application.close()
        return answer.json()["data"] if answer.status_code == 200 else None

    def wrap(
        self, around: Callable[[httpx.BaseTransport], httpx.BaseTransport], wrapping: Wrapping | None = None
    ) -> Wrapping:
        def transport(inner: httpx.BaseTransport) -> httpx.BaseTransport:
            return around(InProcess(self.vendor().application))

        return replace(wrapping or Wrapping(), transport=transport)

    def stepped(self, steps: Steps) -> Wrapping:
        return self.wrap(lambda inner: SteppedTransport(inner, steps), wrapping(steps))

    def keys(self) -> dict[str, dict[str, Any]]:
        """What the service lists, by id."""
        return {key["keyId"]: key for key in self.ask("apis.listKeys", apiId="api_keyform")}

    def stored_id(self) -> str | None:
        """The id of the key whose secret is stored, if that key works."""
        with self.world.open(Wrapping()) as ws:
            value = ws.store("local").get(Place("local", "k"))
        shown = self.ask("keys.whoami", key=value.reveal()) if value else None
        now = self.clock.now().timestamp() * 1000
        return str(shown["keyId"]) if shown and shown.get("expires", now + 1) > now else None

    def wrong(self, strangers: frozenset[str] = frozenset()) -> list[str]:
        """What is not as it is declared: state, service and store against each other."""
        out = []
        shown = self.keys()
        with self.world.open() as ws:
            state, _ = ws.read_state()
            if ws.backend.journal.read():
                out.append("journal not empty")
            if ws.backend.holder() is not None:
                out.append("still locked")
        record = state.keys["keys.k"]
        known = {generation.id: generation for generation in record.generations()}
        out += [f"live and unknown: {key_id}" for key_id in shown.keys() - known.keys() - strangers]
        out += [f"a stranger's key is gone: {key_id}" for key_id in strangers - shown.keys()]
        out += [f"known and gone: {key_id}" for key_id in known.keys() - shown.keys()]
        for key_id in known.keys() & shown.keys():
            generation, ends = known[key_id], known[key_id].spec.expires_at
            if shown[key_id]["meta"][LABEL] != f"{state.lineage}/{generation.marker}":
                out.append(f"the label of {key_id} is not its own")
            if shown[key_id].get("expires") != (ends and int(ends.timestamp() * 1000)):
                out.append(f"{key_id} ends at {shown[key_id].get('expires')}, not at {ends}")
        if self.stored_id() != record.current.id:
            out.append("what is stored is not the current key, or does not work")
        if (credits := shown[record.current.id].get("credits")) not in (None, {"remaining": 10}):
            out.append(f"the new key has {credits}")
        return out

    def after_the_next_apply(self, when: str, strangers: frozenset[str] = frozenset()) -> list[str]:
        outcome = self.world.apply()
        problems = [d.summary for d in outcome.failed] + self.wrong(strangers)
        problems += [f"not at rest: {c.address} {c.action} {c.reason}" for c in self.world.plan().changes]
        return [f"{when}: {problem}" for problem in problems]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", ROOT)


def prepared(folder: Path, scene: Scene) -> Path:
    """The key was minted, and rotated as often as the scene says; some of its credits are used."""
    (folder / "work").mkdir(parents=True)
    site = Site(folder, START)
    site.world.write(scene.text)
    for days in (0, *scene.days):
        site.clock.move(days=days)
        assert not site.world.apply().failed
    with site.world.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", "k"))
    assert value is not None
    assert site.ask("keys.verifyKey", key=value.reveal())["valid"]
    assert site.stored_id() is not None
    return folder


def copy_of(source: Path, folder: Path, scene: Scene) -> Site:
    shutil.copytree(source, folder, symlinks=True)
    return Site(folder, START + timedelta(days=scene.at))


def effects_of_a_run(source: Path, folder: Path, scene: Scene) -> int:
    steps = Steps()
    site = copy_of(source, folder, scene)
    outcome = site.world.apply(scene.options, wrap=site.stepped(steps))
    assert not outcome.failed
    assert [change.action for change in outcome.plan.changes] == ["rotate"]
    assert "Unkey's own reroll" in outcome.plan.changes[0].reason
    assert site.wrong() == []
    assert len(site.keys()) == scene.generations
    return steps.count


@pytest.mark.parametrize("name", SCENES)
def test_a_crash_before_or_after_any_effect_costs_nothing(
    name: str, tmp_path: Path, figures: Figures
) -> None:
    scene = SCENES[name]
    source = prepared(tmp_path / "source", scene)
    effects = effects_of_a_run(source, tmp_path / "counted", scene)
    failures = []
    points = [(at, after) for at in range(1, effects + 1) for after in (False, True)][::SHARE]
    for at, after in points:
        site = copy_of(source, tmp_path / f"{at}-{after}", scene)
        wrap = site.stepped(Steps(at, after, die))
        code = in_child(lambda: site.world.apply(scene.options, wrap=wrap))  # noqa: B023
        assert code == 77, f"the run did not reach effect {at}"
        when = f"effect {at}, {'after' if after else 'before'}"
        if site.stored_id() is None:
            failures.append(f"{when}: what is stored does not work")
        site.clock.move(days=20)
        if site.stored_id() is None:
            failures.append(f"{when}: what is stored does not work 20 days later")
        failures += site.after_the_next_apply(when)
        shutil.rmtree(site.folder)
    figures(f"rerolled, {name}", f"{len(points)} crashes, {len(failures)} failures")
    assert failures == []


@pytest.mark.parametrize("name", SCENES)
def test_a_second_crash_while_recovering_costs_nothing(name: str, tmp_path: Path, figures: Figures) -> None:
    scene = SCENES[name]
    source = prepared(tmp_path / "source", scene)
    effects = effects_of_a_run(source, tmp_path / "counted", scene)
    chance = random.Random(20261120)
    failures = []
    runs = 40 // SHARE
    for number in range(runs):
        site = copy_of(source, tmp_path / f"{number}", scene)
        points = [(chance.randint(1, effects), chance.random() < 0.5) for _ in range(2)]
        for at, after in points:
            wrap = site.stepped(Steps(at, after, die))
            in_child(lambda: site.world.apply(scene.options, wrap=wrap))  # noqa: B023
            if site.stored_id() is None:
                failures.append(f"{points}: what is stored does not work")
        failures += site.after_the_next_apply(f"effects {points}")
        shutil.rmtree(site.folder)
    figures(f"rerolled, {name}, double crashes", f"{runs} runs, {len(failures)} failures")
    assert failures == []


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("name", SCENES)
def test_a_connection_that_breaks_at_any_request_costs_nothing(
    name: str, after: bool, tmp_path: Path, figures: Figures
) -> None:
    scene = SCENES[name]
    source = prepared(tmp_path / "source", scene)
    effects = effects_of_a_run(source, tmp_path / "counted", scene)
    failures = []
    points = [(at, length) for at in range(1, effects + 1) for length in (1, 20)][::SHARE]
    for at, length in points:
        site = copy_of(source, tmp_path / f"{at}-{length}", scene)
        broken = BrokenFor(at, length, after)
        with suppress(KeyformError):
            site.world.apply(scene.options, wrap=site.wrap(broken.wrap))
        if site.stored_id() is None:
            failures.append(f"{at}: what is stored does not work")
        failures += site.after_the_next_apply(f"request {at}, {length} long")
        shutil.rmtree(site.folder)
    what = "answers" if after else "requests"
    figures(f"rerolled, {name}, lost {what}", f"{len(points)} runs, {len(failures)} failures")
    assert failures == []
