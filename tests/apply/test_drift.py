"""Three-way drift: what the stores hold, beside what is recorded and what is live."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping, plan_now
from keyform.engine.holding import MISSING, Found, Holdings
from keyform.engine.options import Options
from keyform.engine.plan import Change
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.engine.planner import make_plan
from keyform.errors import PlanError, StoreError
from keyform.model import ACTIVE, DISABLED, Place, Secret
from keyform.ports import Store
from keyform.report.markdown import plan_markdown
from keyform.report.style import Style
from keyform.report.text import plan_text
from keyform.state import dump_state, load_state
from tests.apply.outside import declare, stores
from tests.engine.scene import Scene, generation, live_of, place, record, wanted
from tests.world import World, inspect
from tests.write_only import write_only

TWO = "stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}"
ONE, OTHER = Place("local", "a"), Place("second", "b")
BOTH = declare(a="secret: [a, {store: second, path: b}]", rest=TWO)


def write(world: World, place: Place, text: str) -> None:
    with world.open(Wrapping()) as ws:
        ws.store(place.store).put(place, Secret(text), {})


def delete(world: World, *places: Place) -> None:
    with world.open(Wrapping()) as ws:
        for place in places:
            ws.store(place.store).delete(place)


def held(world: World, place: Place) -> str | None:
    with world.open(Wrapping()) as ws:
        value = ws.store(place.store).get(place)
        return value.reveal() if value else None


def only(world: World) -> Change:
    (change,) = world.plan().changes
    return change


def codes(world: World, **how: Any) -> list[str]:
    return [d.code for d in world.plan(Options(**how)).diagnostics]


class Versioned:
    """An age store that keeps every version that was put through it, as Vault does."""

    def __init__(self, inner: Store, kept: dict[tuple[str, str], Secret]) -> None:
        self._inner, self._kept = inner, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, place: Place, secret: Secret, labels: Any, *over: Any) -> str | None:
        version = self._inner.put(place, secret, labels, *over)
        self._kept[str(place), version or ""] = secret
        return version

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        if version is None:
            return self._inner.get(place)
        return self._kept.get((str(place), version))


# what is found, and what is done about it


def test_nothing_is_read_where_every_version_is_as_recorded(world: World) -> None:
    world.write(declare("a", "b")).apply()
    read = []

    def get(real: Any, *args: Any) -> Any:
        read.append(args)
        return real(*args)

    with world.open(stores(get=get)) as ws:
        assert plan_now(ws, Options()).empty
    assert read == []


def test_a_plan_makes_no_identity_and_no_folder(world: World, tmp_path: Path) -> None:
    world.write(declare("a")).apply()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "service" not in path.name}
    (tmp_path / ".keyform" / "secrets" / "a.age").rename(tmp_path / "kept")
    (tmp_path / ".keyform" / "secrets").rmdir()
    only(world)
    assert not (tmp_path / ".keyform" / "secrets").exists()
    assert {path for path in before if not path.exists()} <= {
        tmp_path / ".keyform" / "secrets",
        tmp_path / ".keyform" / "secrets" / "a.age",
    }


def test_the_same_secret_written_anew_is_no_drift(world: World) -> None:
    world.write(declare("a")).apply()
    write(world, ONE, held(world, ONE) or "")
    assert world.plan().empty


def test_missing_in_one_place_is_copied_from_another(world: World) -> None:
    world.write(BOTH).apply()
    before = held(world, ONE)
    delete(world, OTHER)
    change = only(world)
    assert (change.action, change.drift) == ("update", True)
    assert change.reason == "second:b no longer holds its secret, so it is copied there from local:a"
    assert not world.apply(plan=load_plan(dump_plan(world.plan()), "plan")).failed
    assert held(world, OTHER) == before
    assert not inspect(world)
    assert world.plan().empty


def test_missing_everywhere_is_rotated(world: World) -> None:
    text = declare(a="secret: [a, {store: second, path: b}], rotation: {overlap: 1d}", rest=TWO)
    world.write(text).apply()
    (old,) = world.live()
    delete(world, ONE, OTHER)
    change = only(world)
    assert change.action == "rotate"
    assert change.reason.startswith(
        "local:a no longer holds its secret; second:b no longer holds its secret; "
    )
    assert not world.apply().failed
    assert old in world.live()
    assert len(world.live()) == 2
    assert held(world, ONE) == held(world, OTHER) is not None
    assert world.plan().empty


def test_another_value_is_replaced_by_a_new_key_only_when_that_is_asked_for(world: World) -> None:
    world.write(declare("a")).apply()
    write(world, ONE, "somebody else's")
    change = only(world)
    assert change.action == "rotate"
    assert change.reason == "local:a holds another value than keyform wrote"
    assert codes(world) == ["foreign-value"]
    with pytest.raises(PlanError, match="did not write"):
        world.apply()
    assert held(world, ONE) == "somebody else's"
    assert not world.apply(overwrite=True).failed
    assert not inspect(world)
    assert world.plan().empty


def test_another_value_in_one_of_two_places_is_replaced_from_the_other(world: World) -> None:
    world.write(BOTH).apply()
    before = held(world, ONE)
    write(world, OTHER, "somebody else's")
    assert only(world).action == "update"
    with pytest.raises(PlanError, match="did not write"):
        world.apply()
    assert not world.apply(overwrite=True).failed
    assert held(world, OTHER) == before
    assert not inspect(world)


def test_a_store_that_keeps_what_keyform_wrote_gets_it_back(world: World) -> None:
    kept: dict[tuple[str, str], Secret] = {}
    world.wrap = Wrapping(store=lambda store: Versioned(store, kept))
    world.write(declare("a")).apply()
    before = held(world, ONE)
    write(world, ONE, "somebody else's")
    change = only(world)
    assert change.action == "update"
    assert change.reason == (
        "local:a holds another value than keyform wrote, so the version that keyform wrote is written there "
        "again"
    )
    assert not world.apply(overwrite=True).failed
    assert held(world, ONE) == before
    assert not inspect(world)
    assert world.plan().empty


def test_the_secret_of_an_earlier_generation_is_told_and_needs_no_flag(world: World) -> None:
    fields = "secret: a, rotation: {overlap: 1d}"
    world.write(declare(a=f"environment: live, {fields}")).apply()
    first = held(world, ONE) or ""
    world.write(declare(a=f"environment: test, {fields}")).apply()
    write(world, ONE, first)
    change = only(world)
    assert change.action == "rotate"
    assert change.reason.startswith("local:a holds the secret of generation 1 again")
    assert codes(world) == []
    assert not world.apply().failed
    assert held(world, ONE) not in (first, None)
    assert world.plan().empty


def test_the_secret_of_a_revoked_generation_is_told_and_needs_no_flag(world: World) -> None:
    world.write(declare(a="environment: live, secret: a")).apply()
    first = held(world, ONE) or ""
    world.write(declare(a="environment: test, secret: a")).apply()
    assert [g.number for g in world.state().keys["keys.a"].generations()] == [2]
    write(world, ONE, first)
    change = only(world)
    assert change.action == "rotate"
    assert change.reason.startswith("local:a holds the secret of generation 1 again, which is revoked")
    assert codes(world) == []
    (line,) = [row for row in plan_text(world.plan(), Style()).splitlines() if "~ secret at local:a" in row]
    assert "the secret of generation 1, which is revoked" in line
    assert load_plan(dump_plan(world.plan()), "p").changes == (change,)
    assert not world.apply().failed
    assert held(world, ONE) not in (first, None)
    assert world.plan().empty


def test_a_store_rolled_back_to_a_revoked_secret_is_rolled_forward(world: World) -> None:
    kept: dict[tuple[str, str], Secret] = {}
    world.wrap = Wrapping(store=lambda inner: Versioned(inner, kept))
    world.write(declare(a="environment: live, secret: a")).apply()
    first = held(world, ONE) or ""
    world.write(declare(a="environment: test, secret: a")).apply()
    second = held(world, ONE)
    write(world, ONE, first)
    change = only(world)
    assert [step.op for step in change.steps] == ["restore"]
    assert codes(world) == []
    assert not world.apply().failed
    assert held(world, ONE) == second
    assert world.plan().empty


def test_the_state_keeps_a_few_past_fingerprints_and_loads_without(world: World) -> None:
    for number in range(8):
        world.write(declare(a=f"environment: {('live', 'test')[number % 2]}, secret: a")).apply()
    found = world.state().keys["keys.a"]
    assert found.current.number == 8
    assert [one.number for one in found.past] == [3, 4, 5, 6, 7]
    raw = json.loads(dump_state(world.state()))
    del raw["keys"]["keys.a"]["past"]
    assert load_state(json.dumps(raw).encode(), "s").keys["keys.a"] == replace(found, past=())


def test_a_change_in_a_store_that_cannot_be_read_is_told_by_its_version(world: World) -> None:
    world.wrap = Wrapping(store=write_only("local"))
    world.write(declare("a")).apply()
    assert codes(world) == ["store-write-only"]
    assert world.plan().empty
    write(world, ONE, "somebody else's")
    change = only(world)
    assert change.action == "rotate"
    assert change.reason == "local:a was changed since keyform wrote it, and its value cannot be read"
    with pytest.raises(PlanError, match="changed since keyform wrote it"):
        world.apply()
    assert not world.apply(overwrite=True).failed
    assert world.plan().empty
    assert not inspect(world)


def test_a_disabled_key_is_not_rotated_for_its_store() -> None:
    found = Holdings({place("a"): Found(MISSING)})
    for status, action in ((DISABLED, []), (ACTIVE, ["rotate"])):
        scene = Scene((wanted(),), (record(),), {"toy": (live_of(generation(), status=status),)})
        plan = make_plan(replace(scene.sight(), stores=found), Options())
        assert [change.action for change in plan.changes] == action


# what cannot be looked at


def broken(*_: Any) -> Any:
    raise StoreError("the store cannot be reached", "Look at the network.")


def test_a_store_that_cannot_be_reached_is_one_warning(world: World) -> None:
    world.write(declare("a", "b", "c", "d", "e")).apply()
    world.write(declare("a", "b", "c", "d", "e", "f"))
    asked = []

    def look(real: Any, *args: Any) -> Any:
        asked.append(args)
        broken()

    world.wrap = stores(look=look)
    plan = world.plan()
    assert [c.address for c in plan.changes] == ["keys.f"]
    (told,) = plan.diagnostics
    assert (told.severity, told.code) == ("warning", "store-unseen")
    assert "the store cannot be reached" in told.summary
    assert "Look at the network." in told.detail
    assert len(asked) == 3


def test_a_store_that_cannot_be_opened_is_one_warning_too(world: World, monkeypatch: Any) -> None:
    world.write(declare("a", "b")).apply()
    monkeypatch.setattr("keyform.apply.workspace.open_store", broken)
    plan = world.plan()
    assert plan.empty
    assert [d.code for d in plan.diagnostics] == ["store-unseen"]
    assert "No changes in what could be read." in plan_text(plan, Style())


def test_without_the_identity_what_was_changed_is_still_told(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pull request's plan has no credential to read with."""
    world.write(declare("a", "b")).apply()
    monkeypatch.setenv("KEYFORM_AGE_IDENTITY", str(tmp_path / "nowhere"))
    assert world.plan().empty
    assert codes(world) == []


def test_a_slow_store_is_asked_by_many_at_once(world: World) -> None:
    names = [f"k{number}" for number in range(40)]
    world.write(declare(*names)).apply(parallelism=8)
    seen = set()

    def look(real: Any, *args: Any) -> Any:
        seen.add(threading.current_thread().name)
        world.clock.move(seconds=1)
        return real(*args)

    with world.open(Wrapping()) as ws:
        ws.store("local").delete(Place("local", "k39"))
    world.wrap = stores(look=look)
    assert only(world).address == "keys.k39"
    assert len(seen) > 1


# plans as files, limits and modes


def test_each_finding_is_in_the_text_the_json_and_the_markdown(world: World) -> None:
    world.write(BOTH).apply()
    delete(world, OTHER)
    plan = world.plan()
    row = "secret at second:b: missing"
    assert row in plan_text(plan, Style(width=200))
    assert "it is copied there from local:a" in plan_text(plan, Style(width=200))
    assert row in plan_markdown(plan, "sha256:0")
    (change,) = json.loads(dump_plan(plan))["changes"]
    assert change["stored"] == [
        {
            "store": "second",
            "path": "b",
            "found": "missing",
            "remedy": "it is copied there from local:a",
        }
    ]
    assert "Changed outside keyform" in plan_text(plan, Style(width=200))
    assert plan.summary["drift"] == 1


def test_a_saved_plan_is_refused_when_the_store_has_moved(world: World) -> None:
    world.write(BOTH).apply()
    delete(world, OTHER)
    plan = world.plan()
    write(world, OTHER, "somebody else's")
    with pytest.raises(PlanError, match="what the stores hold of"):
        world.apply(plan=plan, overwrite=True)
    assert held(world, OTHER) == "somebody else's"


def test_a_plan_that_restores_elsewhere_is_refused(world: World) -> None:
    world.write(BOTH).apply()
    delete(world, OTHER)
    plan = world.plan()
    (change,) = plan.changes
    (step,) = change.steps
    for forged in (
        replace(step, places=(Place("local", "elsewhere"),)),
        replace(step, sources=(Place("local", "elsewhere"),)),
        replace(step, key_id="key_of_another"),
    ):
        with pytest.raises(PlanError, match="what planning would not have put there"):
            world.apply(plan=replace(plan, changes=(replace(change, steps=(forged,)),)))


def test_a_refresh_tells_and_changes_nothing(world: World) -> None:
    world.write(BOTH).apply()
    delete(world, OTHER)
    plan = world.plan(Options(mode="refresh-only"))
    assert plan.empty
    (told,) = plan.diagnostics
    assert (told.code, told.summary) == ("store-drift", "keys.a: second:b no longer holds its secret")


@pytest.mark.parametrize("new", ["secret: taken", "secret: [a, taken]"])
@pytest.mark.parametrize("first", [(), ("secret: a",)])
def test_a_value_at_a_new_place_is_told_by_the_plan(world: World, first: tuple[str, ...], new: str) -> None:
    world.write(declare(a=new))
    for fields in first:
        world.write(declare(a=fields)).apply()
    write(world, Place("local", "taken"), "somebody else's")
    world.write(declare(a=new))
    (told,) = world.plan().diagnostics
    assert (told.severity, told.code, told.address) == ("warning", "place-taken", "keys.a")
    assert "local:taken" in told.summary
    assert "--overwrite-secrets" in told.summary
    with pytest.raises(PlanError):
        world.apply()
    assert not world.apply(overwrite=True).failed
    assert codes(world) == []


def test_only_the_targets_are_looked_at(world: World) -> None:
    world.write(declare("a", "b")).apply()
    delete(world, ONE, Place("local", "b"))
    plan = world.plan(Options(targets=("keys.b",)))
    assert [change.address for change in plan.changes] == ["keys.b"]


def test_a_store_that_lost_everything_is_not_taken_at_its_word(world: World) -> None:
    names = [f"k{number}" for number in range(12)]
    world.write(declare(*names)).apply()
    delete(world, *(Place("local", name) for name in names))
    assert codes(world) == ["mass-change"]
    (told,) = world.plan().diagnostics
    assert "the secrets of 12 are no longer in their stores" in told.summary
    assert not world.apply(Options(allow_mass_change=True)).failed
    assert not inspect(world)


# moving out of what cannot be read


def test_out_of_a_store_that_cannot_be_read_a_secret_is_rotated(world: World) -> None:
    world.wrap = Wrapping(store=write_only("local"))
    world.write(declare("a", rest=TWO)).apply()
    world.write(declare(a="secret: {store: second, path: b}", rest=TWO))
    change = only(world)
    assert change.action == "rotate"
    assert change.reason == (
        "its secret is to be at second:b, and nothing can be read back from local:a, so it cannot be copied"
    )
    assert not world.apply(plan=world.plan()).failed
    assert held(world, ONE) is None
    assert not inspect(world)
    assert world.plan().empty


def test_into_a_store_that_cannot_be_read_a_secret_is_copied(world: World) -> None:
    world.wrap = Wrapping(store=write_only("second"))
    world.write(declare("a", rest=TWO)).apply()
    before = held(world, ONE)
    world.write(declare(a="secret: {store: second, path: b}", rest=TWO))
    assert only(world).action == "update"
    assert not world.apply().failed
    assert (held(world, ONE), held(world, OTHER)) == (None, before)
    assert world.plan().empty
