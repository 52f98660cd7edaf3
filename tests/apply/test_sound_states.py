"""A state that somebody has edited so that the wrong key would be revoked is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyform.apply import states
from keyform.engine.options import Options
from keyform.errors import StateError
from tests.apply.outside import declare
from tests.world import World

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def rotated(world: World) -> World:
    """`a` has two generations, `b` one."""
    world.write(declare("b", a="secret: a, rotation: {every: 10d, overlap: 2d}")).apply()
    world.apply(Options(rotate=("keys.a",)))
    return world


def as_b(keys: dict[str, Any]) -> None:
    keys["keys.a"]["deposed"][0]["id"] = keys["keys.b"]["current"]["id"]


def as_current(keys: dict[str, Any]) -> None:
    keys["keys.a"]["deposed"][0]["id"] = keys["keys.a"]["current"]["id"]


def whole_twice(keys: dict[str, Any]) -> None:
    keys["keys.c"] = keys["keys.b"]


def same_number(keys: dict[str, Any]) -> None:
    keys["keys.a"]["deposed"][0]["number"] = 2


def swapped(keys: dict[str, Any]) -> None:
    a = keys["keys.a"]
    a["current"], a["deposed"] = a["deposed"][0], [a["current"]]


def nought(keys: dict[str, Any]) -> None:
    keys["keys.b"]["current"]["number"] = 0


def edited(world: World, edit: Edit) -> bytes:
    path = world.folder / ".keyform" / "state.json"
    raw = json.loads(path.read_bytes())
    edit(raw["keys"])
    return json.dumps(raw).encode()


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (as_b, "twice: as keys.a generation 1 and as keys.b generation 1"),
        (as_current, "twice: as keys.a generation 1 and as keys.a generation 2"),
        (whole_twice, "twice: as keys.b generation 1 and as keys.c generation 1"),
        (same_number, "has generation 2 of keys.a more than once"),
        (swapped, "has generation 1 of keys.a as the current one and 2 as an old one, and no rollback"),
        (nought, "has a generation 0 of keys.b; they begin with 1"),
    ],
)
def test_it_is_refused_by_plan_apply_and_push(rotated: World, edit: Edit, what: str) -> None:
    path = rotated.folder / ".keyform" / "state.json"
    good, bad = path.read_bytes(), edited(rotated, edit)
    live = rotated.live()
    path.write_bytes(bad)
    rotated.clock.move(days=3)
    for verb in (rotated.plan, rotated.apply):
        with pytest.raises(StateError) as raised:
            verb()
        assert what in raised.value.diagnostics[0].summary
        assert str(path) in raised.value.diagnostics[0].summary
        assert "restore it from a backup" in raised.value.diagnostics[0].detail
    assert rotated.live() == live
    with rotated.open() as ws:
        with pytest.raises(StateError, match="the file to push"):
            states.push(ws, bad, force=True)
        states.push(ws, good, force=True)
    assert rotated.apply().done == 1


def test_what_a_rollback_has_made_so_is_sound(rotated: World) -> None:
    rotated.apply(Options(rollback=("keys.a",)))
    assert [g.number for g in rotated.state().keys["keys.a"].generations()] == [2, 1]
    rotated.apply(Options(rotate=("keys.a",)))
    assert [g.number for g in rotated.state().keys["keys.a"].generations()] == [2, 1, 3]
