"""State surgery and adoption: what ``keyform state`` and ``keyform import`` do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keyform.apply import Wrapping, states
from keyform.apply.adopt import adopt
from keyform.errors import Locked, PlanError, StateError
from keyform.model import KeySpec
from keyform.state import State, dump_state, load_state
from tests.apply.outside import crash, declare, die, nth, stores
from tests.world import World, inspect

WEB = 'projects: {web: {service: sandbox, allowed_origins: ["https://a.example"]}}'


@pytest.fixture
def applied(world: World) -> World:
    world.write(declare("a", "b", rest=WEB)).apply()
    return world


def test_reading(world: World) -> None:
    world.write(declare("a"))
    with world.open() as ws:
        assert states.read_state(ws) is None
        with pytest.raises(StateError, match="no state"):
            states.pull(ws)
    world.apply()
    with world.open() as ws:
        found = states.read_state(ws)
        assert found is not None
        assert load_state(states.pull(ws), "x") == found


def test_moving_is_recorded_and_touches_nothing(applied: World) -> None:
    before = applied.state()
    with applied.open() as ws:
        states.move(ws, "keys.a", "keys.z")
    after = applied.state()
    assert (after.serial, after.lineage) == (before.serial + 1, before.lineage)
    assert after.keys["keys.z"] == replace(before.keys["keys.a"], address="keys.z")
    assert len(applied.live()) == 2
    applied.write(declare("b", z="secret: a", rest=WEB))
    assert [c.action for c in applied.plan().changes] == ["update"]


def test_moving_a_project(applied: World) -> None:
    with applied.open() as ws:
        states.move(ws, "projects.web", "projects.site")
    assert applied.state().projects["projects.site"].id == "web"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("keys.unknown", "keys.z", "does not know"),
        ("keys.a", "keys.b", "already"),
        ("keys.a", "keys.a", "already"),
        ("keys.a", "projects.a", "cannot become"),
        ("projects.web", "keys.web", "cannot become"),
    ],
)
def test_moves_that_are_refused(applied: World, before: str, after: str, what: str) -> None:
    state = applied.state()
    with applied.open() as ws, pytest.raises(StateError, match=what):
        states.move(ws, before, after)
    assert applied.state() == state


def test_removing_forgets_and_lets_live(applied: World) -> None:
    with applied.open() as ws:
        states.remove(ws, ("keys.a", "projects.web"))
    assert set(applied.state().keys) == {"keys.b"}
    assert applied.state().projects == {}
    assert len(applied.live()) == 2


def test_removing_is_all_or_nothing(applied: World) -> None:
    state = applied.state()
    with applied.open() as ws, pytest.raises(StateError, match=r"does not know keys\.zzz"):
        states.remove(ws, ("keys.a", "keys.zzz"))
    assert applied.state() == state


def test_pushing_what_was_pulled_and_edited(applied: World) -> None:
    with applied.open() as ws:
        pulled = load_state(states.pull(ws), "x")
    edited = replace(pulled, keys={"keys.a": pulled.keys["keys.a"]})
    with applied.open() as ws:
        states.push(ws, dump_state(edited), force=False)
    assert set(applied.state().keys) == {"keys.a"}
    assert applied.state().serial == pulled.serial + 1


def test_pushing_an_older_or_another_state_needs_force(applied: World) -> None:
    now = applied.state()
    older, other = replace(now, serial=now.serial - 1), replace(now, lineage="other")
    for data, what in ((older, "older"), (other, "another lineage")):
        with applied.open() as ws, pytest.raises(StateError, match=what):
            states.push(ws, dump_state(data), force=False)
        assert applied.state() == now
        with applied.open() as ws:
            states.push(ws, dump_state(data), force=True)
        now = applied.state()
    assert now.lineage == "other"


def test_pushing_where_there_is_none_yet(applied: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = World(tmp_path_factory.mktemp("elsewhere")).write(declare("a", "b", rest=WEB))
    with applied.open() as ws, elsewhere.open() as other:
        states.push(other, states.pull(ws), force=False)
    assert elsewhere.state().keys == applied.state().keys


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": "keyform-state", "version": 9}'])
def test_pushing_garbage_is_refused(applied: World, data: bytes) -> None:
    state = applied.state()
    with applied.open() as ws, pytest.raises(StateError):
        states.push(ws, data, force=True)
    assert applied.state() == state


@pytest.mark.parametrize("first", [True, False], ids=["no state yet", "a state"])
def test_nothing_is_edited_while_a_crash_waits_for_recovery(world: World, first: bool) -> None:
    if not first:
        world.write(declare("a")).apply()
    world.write(declare("a", "b", "c"))
    assert crash(world, stores(put=nth(2, die))) == 77
    pushed = dump_state(replace(world.state(), serial=7))
    with world.open() as ws:
        for edit in (
            lambda: states.move(ws, "keys.a", "keys.z"),
            lambda: states.remove(ws, ("keys.a",)),
            lambda: states.push(ws, pushed, force=False),
        ):
            with pytest.raises(StateError, match=r"interrupted|no state"):
                edit()
    assert not world.apply().failed
    assert not inspect(world)


def test_nothing_is_edited_under_somebody_elses_lock(applied: World) -> None:
    with applied.open() as other, other.locked(), applied.open() as ws:
        for edit in (
            lambda: states.move(ws, "keys.a", "keys.z"),
            lambda: states.remove(ws, ("keys.a",)),
            lambda: states.push(ws, dump_state(State.fresh()), force=True),
        ):
            with pytest.raises(Locked):
                edit()


def test_unlocking(applied: World) -> None:
    with applied.open(Wrapping()) as ws:
        with pytest.raises(StateError, match="not locked"):
            states.unlock(ws, "x")
        with applied.open() as other, pytest.raises(StateError, match="not locked"), other.locked():
            holder = ws.backend.holder()
            assert holder is not None
            with pytest.raises(StateError, match=holder.id):
                states.unlock(ws, "another id")
            states.unlock(ws, holder.id)
            assert ws.backend.holder() is None


# keyform import


def foreign(world: World, name: str = "a", **fields: object) -> str:
    spec = KeySpec(kind="secret", environment="live", name=name, scopes=("events:write",))
    return world.service().create(replace(spec, **fields), "other/1").key.id  # type: ignore[arg-type]


def test_adopting(world: World) -> None:
    world.write(declare("a", "b"))
    key_id = foreign(world)
    with world.open() as ws:
        outcome = adopt(ws, "keys.a", key_id, world.told.append)
    assert (outcome.done, [c.action for c in outcome.plan.changes]) == (1, ["import"])
    assert set(world.state().keys) == {"keys.a"}
    assert [c.address for c in world.plan().changes] == ["keys.b"]


def test_an_adopted_key_becomes_what_is_declared_and_rotates_like_any_other(world: World) -> None:
    world.write(declare(a="secret: a, description: new, rotation: {every: 30d, overlap: 1h}"))
    key_id = foreign(world)
    with world.open() as ws:
        outcome = adopt(ws, "keys.a", key_id, world.told.append)
    assert [[step.op for step in change.steps] for change in outcome.plan.changes] == [["adopt"]]
    assert world.live()[key_id].spec.description == ""
    assert [c.action for c in world.apply().plan.changes] == ["update"]
    assert world.live()[key_id].spec.description == "new"
    assert world.plan().empty
    world.clock.move(days=31)
    assert [c.action for c in world.apply().plan.changes] == ["rotate"]
    world.clock.move(hours=1)
    assert [c.action for c in world.apply().plan.changes] == ["revoke"]
    assert key_id not in world.live()
    assert not inspect(world)


@pytest.mark.parametrize(
    ("address", "key_id", "what"),
    [
        ("keys.zzz", None, "not declared"),
        ("keys.a", "key_unknown", "not there"),
        ("keys.owned", None, "in the state already"),
    ],
)
def test_adoptions_that_are_refused(world: World, address: str, key_id: str | None, what: str) -> None:
    world.write(declare("owned")).apply()
    world.write(declare("owned", "a"))
    key_id = key_id or foreign(world)
    state = world.state()
    with world.open() as ws, pytest.raises(PlanError, match=what):
        adopt(ws, address, key_id, world.told.append)
    assert world.state() == state


def test_a_key_is_not_adopted_twice(world: World) -> None:
    world.write(declare("owned")).apply()
    world.write(declare("owned", "a"))
    (key_id,) = world.live()
    with world.open() as ws, pytest.raises(PlanError, match=r"keys\.owned already"):
        adopt(ws, "keys.a", key_id, world.told.append)


def test_what_is_wrong_elsewhere_does_not_stop_an_adoption(world: World) -> None:
    world.write(declare(p="secret: p, protect: true")).apply()
    world.write(declare("a"))
    key_id = foreign(world)
    with world.open() as ws:
        assert not adopt(ws, "keys.a", key_id, world.told.append).failed
