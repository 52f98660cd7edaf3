"""Creates of which nobody can know what came: each plan and apply tells of them until a person has looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from keyform.apply import Outcome, Workspace, Wrapping
from keyform.apply.states import move, pull, push, remove
from keyform.engine.plan import Plan
from keyform.errors import Pending
from keyform.ports import Task
from keyform.services.desk import Nobody
from tests.apply.outside import backend, crash, declare, die, journal_is_empty, requests
from tests.apply.test_late_creates import InFlight, OtherProfile
from tests.world import START, World


class Person(Nobody):
    """Says `done` to the doubts of these addresses, each as often as it stands here."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.asked: list[Task] = []
        self._left = list(addresses)
        self.takes: Any = lambda: None

    @contextmanager
    def turn(self, task: Task) -> Iterator[None]:
        self.asked.append(task)
        with super().turn(task):
            yield

    def confirm(self) -> None:
        self.takes()
        if self.task.address not in self._left:
            raise Pending("later")
        self._left.remove(self.task.address)


class Unseen(OtherProfile):
    """The embedded service as if it listed nothing and knew no create again; ``person`` is asked."""

    parts: Mapping[str, Any] = MappingProxyType({"lists": False, "idempotent": False})
    person = Person()

    def open(self, wrap: Wrapping | None = None, variables: Any = None) -> Workspace:
        if "sandbox:" not in (self.folder / "keyform.yaml").read_text():
            ws = World.open(self, wrap, variables)
        else:
            ws = super().open(wrap, variables)
        ws.desk = self.person
        return ws


@pytest.fixture
def unseen(tmp_path: Path) -> Unseen:
    world = Unseen(tmp_path)
    world.person = Person()
    world.write(declare("a"))
    return world


def run_once_lost(world: World) -> Outcome:
    """An apply whose create is never answered."""
    outcome = world.apply(wrap=InFlight(world, die_after=False).wrap())
    assert outcome.failed
    return outcome


def told(plan: Plan) -> list[str]:
    return [d.code for d in plan.diagnostics if d.severity == "warning"]


def doubted(world: World) -> list[str]:
    return [doubt.address for doubt in world.state().doubts]


def test_a_crash_before_the_answer_leaves_a_doubt_that_holds_nothing_back(unseen: Unseen) -> None:
    assert crash(unseen, InFlight(unseen, die_after=True).wrap()) == 77
    assert told(unseen.plan()) == ["recovery-pending"]
    assert not unseen.apply().failed
    assert unseen.clock.slept == 0
    assert journal_is_empty(unseen)
    assert set(unseen.state().keys) == {"keys.a"}
    for _ in range(2):
        plan = unseen.plan()
        assert plan.empty
        assert told(plan) == ["perhaps-stray"]
        assert told(unseen.apply().plan) == ["perhaps-stray"]
        unseen.clock.move(days=30)


def test_the_warning_says_what_to_look_for_and_what_to_do_then(unseen: Unseen) -> None:
    unseen.parts = {**unseen.parts, "marks": True}
    run_once_lost(unseen)
    (doubt,) = unseen.state().doubts
    (warning,) = (d for d in unseen.plan().diagnostics if d.code == "perhaps-stray")
    assert warning.address == "keys.a"
    assert warning.summary == (
        "keys.a: a key named 'a' may have been minted at sandbox on 2026-11-20T12:00:00Z, whose secret is "
        "stored nowhere"
    )
    assert "sandbox (embedded at .keyform/service)" in warning.detail
    assert f"label {unseen.state().lineage}/{doubt.marker}" in warning.detail
    assert "revoke it there" in warning.detail
    assert "type 'done' when `keyform apply` asks for it on a terminal" in warning.detail
    assert "`keys.a<TAB>done` by `--secrets-from`" in warning.detail


def test_a_lost_answer_in_a_run_is_a_doubt_and_nothing_is_unsettled(unseen: Unseen) -> None:
    outcome = run_once_lost(unseen)
    assert [d.code for d in outcome.failed] == ["answer-lost"]
    assert [e["diagnostic"]["code"] for e in unseen.told if e["type"] == "warning"] == ["perhaps-stray"]
    assert doubted(unseen) == ["keys.a"]
    assert journal_is_empty(unseen)
    assert told(unseen.plan()) == ["perhaps-stray"]
    assert not unseen.apply().failed
    (warning,) = (d for d in unseen.plan().diagnostics if d.code == "perhaps-stray")
    assert f"Leave {unseen.state().keys['keys.a'].current.id} alone" in warning.detail


def test_a_second_lost_answer_keeps_both_doubts_and_each_is_closed_by_itself(unseen: Unseen) -> None:
    run_once_lost(unseen)
    unseen.clock.move(days=1)
    run_once_lost(unseen)
    assert [doubt.at for doubt in unseen.state().doubts] == [START, START + timedelta(days=1)]
    assert told(unseen.plan()) == ["perhaps-stray", "perhaps-stray"]
    unseen.person = Person("keys.a")
    assert not unseen.apply().failed
    assert [doubt.at for doubt in unseen.state().doubts] == [START + timedelta(days=1)]


def test_done_closes_the_doubt_with_changes_and_without(unseen: Unseen) -> None:
    run_once_lost(unseen)
    unseen.person = Person("keys.a")
    outcome = unseen.apply()
    assert outcome.done == 1
    assert doubted(unseen) == []
    (task,) = unseen.person.asked
    assert task.op == "look for a stray key"
    assert any("revoke it" in line for line in task.lines)
    assert told(unseen.plan()) == []
    unseen.write(declare("a", "b"))
    run_once_lost(unseen)
    assert not unseen.apply().failed
    assert doubted(unseen) == ["keys.b"]
    unseen.person = Person("keys.b")
    outcome = unseen.apply()
    assert outcome.plan.empty
    assert told(outcome.plan) == []
    assert doubted(unseen) == []


def test_whoever_does_not_approve_is_not_asked(unseen: Unseen) -> None:
    run_once_lost(unseen)
    unseen.person = Person("keys.a")
    assert unseen.apply(approve=lambda plan: False).declined
    assert unseen.person.asked == []
    assert doubted(unseen) == ["keys.a"]


def test_whoever_takes_long_to_look_gets_no_stale_plan_carried_out(unseen: Unseen) -> None:
    run_once_lost(unseen)
    asked: list[str] = []

    def note(request: Any, send: Any) -> Any:
        asked.append(request.method)
        return send(request)

    unseen.parts = {**unseen.parts, "lists": True}
    assert not unseen.apply(wrap=requests(note)).failed
    once = asked.count("GET")
    unseen.write(declare("a", "b"))
    unseen.person = Person("keys.a")
    unseen.person.takes = lambda: unseen.clock.move(minutes=5)
    asked.clear()
    assert not unseen.apply(wrap=requests(note)).failed
    assert asked.count("GET") == 2 * once > 0


def test_a_saved_plan_tolerates_a_doubt_and_repeats_the_warning(unseen: Unseen) -> None:
    run_once_lost(unseen)
    plan = unseen.plan()
    unseen.told.clear()
    assert not unseen.apply(plan=plan).failed
    assert [e["diagnostic"]["code"] for e in unseen.told if e["type"] == "warning"] == ["perhaps-stray"]
    assert doubted(unseen) == ["keys.a"]
    unseen.write(declare("a", "b"))
    plan = unseen.plan()
    unseen.person = Person("keys.a")
    unseen.told.clear()
    assert not unseen.apply(plan=plan).failed
    assert [e["type"] for e in unseen.told if e["type"] in ("warning", "recovered")] == ["recovered"]
    assert doubted(unseen) == []


def test_the_state_may_be_mended_while_there_is_a_doubt(unseen: Unseen) -> None:
    run_once_lost(unseen)
    assert not unseen.apply().failed
    with unseen.open() as ws:
        move(ws, "keys.a", "keys.b")
        push(ws, pull(ws), force=False)
        remove(ws, ("keys.b",))
    assert unseen.state().keys == {}
    assert doubted(unseen) == ["keys.a"]


def test_a_service_that_is_no_longer_declared_keeps_its_doubts_and_blocks_nothing(unseen: Unseen) -> None:
    run_once_lost(unseen)
    unseen.write("version: 1\nservices: {other: {type: embedded, path: other}}\n")
    plan = unseen.plan()
    assert told(plan) == ["perhaps-stray"]
    assert "sandbox (embedded at .keyform/service)" in plan.diagnostics[-1].detail
    assert not unseen.apply().failed
    unseen.person = Person("keys.a")
    assert not unseen.apply().failed
    assert doubted(unseen) == []


def test_a_service_that_went_before_the_recovery_leaves_a_doubt_too(unseen: Unseen) -> None:
    assert crash(unseen, InFlight(unseen, die_after=True).wrap()) == 77
    unseen.write("version: 1\nservices: {other: {type: embedded, path: other}}\n")
    assert not unseen.apply().failed
    assert doubted(unseen) == ["keys.a"]
    assert unseen.state().doubts[0].where == "embedded at .keyform/service"
    assert journal_is_empty(unseen)


@pytest.mark.parametrize("point", ["before the doubt", "after the doubt", "before the state", "after it"])
def test_a_kill_in_between_keeps_the_doubt_and_makes_no_second_one(unseen: Unseen, point: str) -> None:
    def append(real: Any, lines: bytes) -> None:
        mine = b'"record":"doubt"' in lines
        if mine and point == "before the doubt":
            die()
        real(lines)
        if mine and point == "after the doubt":
            die()

    def write(real: Any, data: bytes, expect: Any) -> Any:
        if b'"doubts"' not in data:
            return real(data, expect)
        if point == "after it":
            real(data, expect)
        return die()

    flight = InFlight(unseen, die_after=False).wrap()
    dying = replace(flight, backend=backend(append=append, write=write).backend)
    assert crash(unseen, dying) == 77
    assert not unseen.apply().failed
    assert doubted(unseen) == ["keys.a"]
    assert set(unseen.state().keys) == {"keys.a"}
    assert journal_is_empty(unseen)


def test_a_kill_after_the_answer_asks_again_and_loses_nothing(unseen: Unseen) -> None:
    run_once_lost(unseen)
    unseen.person = Person("keys.a")
    assert crash(unseen, InFlight(unseen, die_after=True).wrap()) == 77
    unseen.person = Person("keys.a", "keys.a")
    assert not unseen.apply().failed
    assert doubted(unseen) == []
    assert len(unseen.person.asked) == 2
