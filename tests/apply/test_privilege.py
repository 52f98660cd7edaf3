"""What a plan says of what keys gain, in whole runs: what somebody did outside, and forged plan files."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from keyform.engine.options import REFRESH_ONLY, Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import digest
from tests.apply.outside import declare
from tests.world import World

READ = "secret: a, scopes: [events:read]"
BOTH = "secret: a, scopes: [events:read, projects:write], expires_in: 30d"


@pytest.fixture
def widened(world: World) -> tuple[World, Plan]:
    """A world where ``a`` is applied, and the plan by which it can do more."""
    world.write(declare(a=READ)).apply()
    plan = world.write(declare(a=BOTH)).plan()
    (change,) = plan.changes
    assert (change.privilege, change.privilege_words[0][:9]) == ("moves", "powerful:")
    return world, plan


def test_what_somebody_widened_outside_is_told_and_narrowed_again(world: World) -> None:
    world.write(declare(a=READ)).apply()
    (live,) = world.live().values()
    wide = replace(live.spec, scopes=("events:read", "projects:write"))
    with closing(world.service()) as service:
        service.update(live, wide, frozenset({"scopes"}))
    (noted,) = world.plan(Options(mode=REFRESH_ONLY)).changes
    assert (noted.privilege, len(noted.privilege_words)) == ("widens", 1)
    assert noted.privilege_words[0].startswith("powerful: can now create projects")
    (undone,) = world.plan().changes
    assert (undone.drift, undone.privilege) == (True, "narrows")


def test_the_events_of_an_apply_say_what_a_key_gains(widened: tuple[World, Plan]) -> None:
    world, plan = widened
    world.told.clear()
    world.apply(plan=plan)
    (start,) = (event for event in world.told if event["type"] == "start")
    assert (start["privilege"], len(start["privilege_words"])) == ("moves", 2)


@pytest.mark.parametrize(
    "lie",
    [
        {"privilege": None, "privilege_words": ()},
        {"privilege": "narrows"},
        {"privilege_words": ("its tags change",)},
        {"privilege": "widens"},
    ],
)
def test_another_direction_than_the_steps_have_is_refused(
    widened: tuple[World, Plan], lie: dict[str, Any]
) -> None:
    world, plan = widened
    forged = replace(plan, changes=(replace(plan.changes[0], **lie),))
    live = world.live()
    with pytest.raises(PlanError) as told:
        world.apply(plan=load_plan(dump_plan(forged), "p"))
    assert [d.code for d in told.value.diagnostics] == ["plan-unfit"]
    assert "what its key can do" in str(told.value) or "its direction of privilege" in str(told.value)
    assert world.live() == live


def test_the_plan_as_it_was_made_is_applied_later_too(widened: tuple[World, Plan]) -> None:
    world, plan = widened
    world.clock.move(hours=5)
    world.apply(plan=load_plan(dump_plan(plan), "p"))
    assert world.plan().empty


@pytest.mark.parametrize(
    "forge",
    [
        lambda change: change.update(privilege="harmless"),
        lambda change: change.update(privilege_words=[]),
        lambda change: change.pop("privilege"),
    ],
)
def test_a_direction_that_is_none_is_a_damaged_file(
    widened: tuple[World, Plan], forge: Callable[[dict[str, Any]], object]
) -> None:
    raw = json.loads(dump_plan(widened[1]))
    forge(raw["changes"][0])
    raw.pop("digest")
    with pytest.raises(PlanError, match="is damaged"):
        load_plan(json.dumps({**raw, "digest": digest(raw)}).encode(), "p")
