"""Two stores that lead to one place, and give no value back: the only copy is never erased."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over, Store
from keyform.registry import open_store
from tests.apply.outside import Hooked, codes, declare, failing, journal_is_empty, summaries, warned
from tests.world import World, inspect
from tests.write_only import WriteOnly

TWO = "stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}"


class Labelled:
    """A store that keeps labels, and tells no versions if ``numbered`` is False."""

    def __init__(self, inner: Any, labels: dict[str, Mapping[str, str]], *, numbered: bool = True) -> None:
        self._inner, self._labels, self._numbered = inner, labels, numbered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def look(self, place: Place) -> Held | None:
        held = self._inner.look(place)
        version = held and held.version
        return held and Held(version if self._numbered else None, self._labels.get(version, {}))

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        version: str = self._inner.put(place, secret, labels, over)
        self._labels[version] = dict(labels)
        return version if self._numbered else None


def wrapping(*unread: str, labels: bool = True, numbered: bool = True, one: Path | None = None) -> Wrapping:
    """Stores of which those named ``unread`` cannot be read. With ``one``, the folder of the project, what is
    written to ``second`` gets to ``local``."""
    kept: dict[str, Mapping[str, str]] = {}

    def wrap(inner: Any) -> Store:
        if one is not None and inner.name == "second":
            inner = open_store("second", "age", {}, one)
        store = Labelled(inner, kept, numbered=numbered) if labels else inner
        return WriteOnly(store) if inner.name in unread else store

    return Wrapping(store=wrap)


def held(world: World, path: str = "a", store: str = "local") -> Secret | None:
    with world.open(Wrapping()) as ws:
        return ws.store(store).get(Place(store, path))


@pytest.mark.parametrize("labels", [True, False], ids=["with labels", "without"])
def test_a_move_to_a_store_that_gives_nothing_back_keeps_the_value(world: World, labels: bool) -> None:
    """Without labels nothing tells beforehand whose the value there is, so it takes --overwrite-secrets."""
    world.wrap = wrapping("second", labels=labels, one=world.folder)
    world.write(declare(a="secret: a", rest=TWO)).apply()
    before = held(world)
    world.write(declare(a="secret: {store: second, path: a}", rest=TWO))
    told = {diagnostic.code for diagnostic in world.plan().diagnostics}
    assert ("place-taken" in told) is not labels, "the plan says what apply will do"
    assert not world.apply(overwrite=not labels).failed
    assert held(world) == before is not None
    assert warned(world) == ["one-place"]
    assert world.plan().empty


def test_what_was_emptied_with_another_place_is_written_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.wrap = wrapping("second", labels=False)
    world.write(declare(a="secret: [a, {store: second, path: b}]", rest=TWO)).apply()
    before = held(world)

    def delete(real: Any, place: Place, *args: Any) -> None:
        real(place, *args)
        with world.open(Wrapping()) as ws:  # as if the two were one
            ws.store("second").delete(Place("second", "b"))

    world.write(declare(a="secret: {store: second, path: b}", rest=TWO))
    first = Wrapping(
        store=lambda inner: Hooked(inner, {"delete": delete}) if inner.name == "local" else WriteOnly(inner)
    )
    assert not world.apply(wrap=first).failed
    assert held(world, "b", "second") == before is not None
    assert "one-place" in warned(world)
    assert world.plan().empty


@pytest.mark.parametrize("labels", [True, False], ids=["with labels", "without"])
@pytest.mark.parametrize("unread", [("local", "second"), ("second",)], ids=["both", "one"])
def test_a_new_key_is_not_stored_in_one_place_by_two_stores(
    world: World, unread: tuple[str, ...], labels: bool
) -> None:
    world.wrap = wrapping(*unread, labels=labels, one=world.folder)
    world.write(declare(a="secret: [a, {store: second, path: a}]", rest=TWO))
    outcome = world.apply()
    assert codes(outcome) == ["store", "mint-undone"]
    assert "are one place" in summaries(outcome)
    assert world.live() == {}
    assert held(world) is None


def test_a_value_that_nothing_gives_back_is_replaced_when_it_went_with_another(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.wrap = wrapping("local", "second", numbered=False)
    world.write(declare(a="secret: [a, {store: second, path: b}]", rest=TWO)).apply()
    first = world.state().keys["keys.a"].current.id
    world.write(declare(a="secret: a", rest=TWO))

    def delete(real: Any, place: Place, *args: Any) -> None:
        real(place, *args)
        with world.open(Wrapping()) as ws:
            ws.store("local").delete(Place("local", "a"))

    kept = world.wrap.store
    world.wrap = Wrapping(
        store=lambda inner: kept(Hooked(inner, {"delete": delete})) if inner.name == "second" else kept(inner)
    )
    outcome = world.apply()
    assert "no store gives the secret back" in summaries(outcome)
    world.wrap = Wrapping(store=kept)
    assert not world.apply().failed
    assert world.state().keys["keys.a"].current.id != first
    assert held(world) is not None


def test_a_failed_move_leaves_the_value_in_the_place_that_both_stores_lead_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    rest = TWO.replace("second: {", "third: {type: age, path: .keyform/third}, second: {")
    world.wrap = wrapping("second", "third", one=tmp_path)
    world.write(declare(a="secret: a", rest=rest)).apply()
    before = held(world)
    world.write(declare(a="secret: [{store: second, path: a}, {store: third, path: full}]", rest=rest))
    kept = world.wrap.store
    full = Wrapping(store=lambda inner: kept(Hooked(inner, {"put": failing("full")})))
    assert codes(world.apply(wrap=full)) == ["store"]
    assert held(world) == before is not None
    assert journal_is_empty(world)
    world.write(declare(a="secret: a", rest=rest))
    assert not world.apply().failed
    assert not inspect(world)
