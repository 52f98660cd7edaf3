"""A plan promises to delete only what apply deletes."""

from __future__ import annotations

from keyform.apply import Wrapping
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.model import Place, Secret
from keyform.report.markdown import plan_markdown
from keyform.report.style import Style
from keyform.report.text import plan_text
from tests.apply.outside import declare
from tests.world import World, inspect

TWO = "stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}"


def told(world: World) -> list[str]:
    return [d.code for d in world.plan().diagnostics]


def text_of(world: World) -> str:
    plan = world.plan()
    assert load_plan(dump_plan(plan), "p") == plan
    text = plan_text(plan, Style())
    for change in plan.changes:
        for one in change.left:
            assert f"leaves {one.place} as it is: {one.why}" in text
            assert str(one.place) in plan_markdown(plan, "sha256:0")
    return text


def put(world: World, place: Place) -> None:
    with world.open(Wrapping()) as ws:
        ws.store(place.store).put(place, Secret("somebody else's"), {})


def value(world: World, place: Place) -> str | None:
    with world.open(Wrapping()) as ws:
        found = ws.store(place.store).get(place)
        return found.reveal() if found else None


def test_a_store_that_goes_with_its_key_keeps_the_value(world: World) -> None:
    both = declare("a", b="secret: {store: second, path: b}", rest=TWO)
    world.write(both).apply()
    world.write(declare("a"))
    text = text_of(world)
    assert "leaves second:b as it is: the store 'second' is no longer declared" in text
    assert "deletes" not in text
    assert told(world) == ["value-left"]
    assert not world.apply().failed
    assert len(world.live()) == 1
    world.write(declare("a", rest=TWO))
    assert value(world, Place("second", "b")) is not None


def test_a_foreign_value_is_left_where_its_key_moves_away(world: World) -> None:
    world.write(declare(a="secret: a")).apply()
    put(world, Place("local", "a"))
    world.write(declare(a="secret: b"))
    text = text_of(world)
    assert "leaves local:a as it is: keyform did not write what is there now" in text
    assert "deletes" not in text
    assert not world.apply().failed
    assert value(world, Place("local", "a")) == "somebody else's"
    assert world.plan().empty


def test_a_foreign_value_is_left_where_one_of_two_places_is_given_up(world: World) -> None:
    world.write(declare(a="secret: [a, {store: second, path: b}]", rest=TWO)).apply()
    put(world, Place("local", "a"))
    world.write(declare(a="secret: {store: second, path: b}", rest=TWO))
    assert "leaves local:a as it is" in text_of(world)
    assert not world.apply().failed
    assert value(world, Place("local", "a")) == "somebody else's"


def test_nothing_is_deleted_where_another_secret_comes(world: World) -> None:
    world.write(declare("keep", old="secret: shared")).apply()
    world.write(declare("keep", new="secret: shared"))
    assert "leaves local:shared as it is: the secret of keys.new takes its place" in text_of(world)
    assert not world.apply().failed
    assert value(world, Place("local", "shared")) is not None
    assert not inspect(world)


def test_what_is_deleted_is_said_to_be(world: World) -> None:
    world.write(declare("x", a="secret: a")).apply()
    world.write(declare("x"))
    assert "- deletes the secret at local:a" in text_of(world)
    assert not world.apply().failed
    assert value(world, Place("local", "a")) is None
