"""What a plan says of the places of a secret is what an apply does with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError, StoreError
from keyform.model import Place, Secret
from tests.apply.outside import declare, stores
from tests.world import World

AT = Place("local", "a")


def overwritten(world: World) -> None:
    with world.open() as ws:
        ws.store("local").put(AT, Secret("somebody else's"), {})


def emptied(world: World) -> None:
    with world.open() as ws:
        store = ws.store("local")
        store.delete(AT, store.get(AT))


def held(world: World) -> str | None:
    with world.open() as ws:
        found = ws.store("local").get(AT)
    return found.reveal() if isinstance(found, Secret) else None


@pytest.mark.parametrize(
    ("meddle", "why", "after"),
    [
        (overwritten, "keyform did not write what is there now", "somebody else's"),
        (emptied, "nothing is there", None),
    ],
)
def test_a_removed_key_leaves_what_keyform_did_not_write(
    world: World, meddle: Callable[[World], None], why: str, after: str | None
) -> None:
    world.write(declare("a", "b")).apply()
    meddle(world)
    (change,) = world.write(declare("b")).plan().changes
    assert [(one.place, one.why) for one in change.left] == [(AT, why)]
    assert not world.apply().failed
    assert held(world) == after


def test_a_saved_removal_goes_by_what_the_stores_held(world: World) -> None:
    world.write(declare("a", "b")).apply()
    plan = load_plan(dump_plan(world.write(declare("b")).plan()), "p")
    assert plan.changes[0].left == ()
    overwritten(world)
    with pytest.raises(PlanError) as told:
        world.apply(plan=plan)
    assert [d.code for d in told.value.diagnostics] == ["plan-stale"]
    assert held(world) == "somebody else's"


def test_why_a_value_cannot_be_read_is_told_by_the_plan(world: World) -> None:
    world.write(declare("a")).apply()
    overwritten(world)

    def fail(real: Callable[..., Secret | None], *args: object) -> Secret | None:
        raise StoreError("the identity does not open it", "Use the right one.")

    world.wrap = stores(get=fail)
    (told,) = (d for d in world.plan().diagnostics if d.code == "foreign-value")
    assert "cannot be read (the identity does not open it)" in told.summary
    assert "did not write" not in told.summary


COMMANDS = """put: [sh, -c, 'base64 > "$KEYFORM_PATH.txt"'],
    get: [sh, -c, 'test -e "$KEYFORM_PATH.txt" || exit 44; base64 -d "$KEYFORM_PATH.txt"'],
    delete: [sh, -c, 'rm -f "$KEYFORM_PATH.txt"']"""
ONE_FOLDER = f"""stores:
  one: {{type: exec, {COMMANDS}}}
  two: {{type: exec, timeout: 29, {COMMANDS}}}"""


def test_whose_secret_is_in_a_place_under_another_name_is_told(world: World) -> None:
    world.write(declare(a="secret: {store: one, path: x}", rest=ONE_FOLDER)).apply()
    before = world.stored("keys.a")
    world.write(declare(b="secret: {store: two, path: x}", rest=ONE_FOLDER))
    with pytest.raises(PlanError) as told:
        world.apply()
    (problem,) = told.value.diagnostics
    assert problem.summary == (
        "two:x holds the secret of keys.a, which keyform wrote to one:x, and keys.b would overwrite it"
    )
    assert before is not None and world.stored("keys.a") == before


@pytest.mark.parametrize(
    "places", ["{store: two, path: x}", "[{store: one, path: x}, {store: two, path: x}]"]
)
def test_another_name_of_a_place_is_told_before_the_move(world: World, places: str) -> None:
    world.write(declare(a="secret: {store: one, path: x}", rest=ONE_FOLDER)).apply()
    before = world.stored("keys.a")
    plan = world.write(declare(a=f"secret: {places}", rest=ONE_FOLDER)).plan()
    (told,) = (d for d in plan.diagnostics if d.code == "one-place")
    assert told.summary.startswith("keys.a: two:x holds a secret of this key already")
    assert not world.apply(plan=load_plan(dump_plan(plan), "p")).failed
    with world.open() as ws:
        assert ws.store("two").get(Place("two", "x")) == before
