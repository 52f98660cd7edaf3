"""A plan file that somebody wrote by hand, digest included, does nothing that planning could not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from keyform.engine.plan import (
    ALTER,
    DROP,
    END,
    ERASE,
    MINT,
    RECORD,
    RELOCATE,
    RENAME,
    RESTORE,
    Change,
    Plan,
    Step,
)
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import KeySpec, Place, digest
from tests.apply.outside import declare, journal_is_empty, requests
from tests.world import World

Forge = Callable[[dict[str, Any]], object]


def refused(world: World, plan: Plan) -> PlanError:
    before = (world.state(), world.live())
    with pytest.raises(PlanError) as told:
        world.apply(plan=load_plan(dump_plan(plan), "p"))
    assert (world.state(), world.live()) == before
    assert journal_is_empty(world)
    return told.value


def with_step(plan: Plan, *steps: Step) -> Plan:
    (change,) = plan.changes
    return replace(plan, changes=(replace(change, steps=(*change.steps, *steps)),))


@pytest.fixture
def renamed(world: World) -> World:
    """Keys ``a`` and ``b`` are applied; the plan is to update ``a``."""
    world.write(declare("a", "b")).apply()
    return world.write(declare("b", a="secret: a, description: new"))


@pytest.mark.parametrize("op", [END, ALTER, RELOCATE, DROP])
def test_a_key_of_somebody_else_is_out_of_reach(renamed: World, op: str) -> None:
    theirs = renamed.service().create(KeySpec("secret", "live", name="x", scopes=("events:read",)), "o/1").key
    plan = renamed.plan()
    fields = {"fields": ("name",)} if op == ALTER else {}
    places = (Place("local", "a"),) if op == RELOCATE else ()
    step = Step(op, "keys.a", "sandbox", theirs.id, spec=theirs.spec, places=places, **fields)
    for action in ("update", "revoke", "forget"):
        forged = replace(plan.changes[0], action=action, steps=(step,))
        assert "plan-unfit" in {
            d.code for d in refused(renamed, replace(plan, changes=(forged,))).diagnostics
        }


def test_another_key_of_the_state_is_out_of_reach(renamed: World) -> None:
    other = renamed.state().keys["keys.b"].current
    step = Step(END, "keys.a", "sandbox", other.id, generation=1)
    forged = Change("keys.a", "revoke", "x", "sandbox", other.id, 1, steps=(step,))
    refused(renamed, replace(renamed.plan(), changes=(forged,)))


def test_the_secret_of_another_key_is_out_of_reach(renamed: World) -> None:
    current = renamed.state().keys["keys.a"].current
    step = Step(END, "keys.a", "sandbox", current.id, generation=1, places=(Place("local", "b"),))
    forged = Change("keys.a", "revoke", "x", "sandbox", current.id, 1, steps=(step,))
    assert "no place of" in str(refused(renamed, replace(renamed.plan(), changes=(forged,))))


def test_a_revocation_does_not_hide_in_an_update(renamed: World) -> None:
    current = renamed.state().keys["keys.a"].current
    refused(renamed, with_step(renamed.plan(), Step(END, "keys.a", "sandbox", current.id)))


@pytest.mark.parametrize("action", ["revoke", "rotate", "replace"])
def test_a_protected_key_is_not_revoked(world: World, action: str) -> None:
    world.write(declare(a="secret: a, protect: true")).apply()
    current = world.state().keys["keys.a"].current
    step = Step(END, "keys.a", "sandbox", current.id, generation=1)
    forged = Change("keys.a", action, "x", "sandbox", current.id, 1, steps=(step,))
    refused(world, replace(world.plan(), changes=(forged,)))


@pytest.mark.parametrize(
    "forge",
    [
        lambda step: step["spec"].update(scopes=["events:read", "events:write"]),
        lambda step: step["secret"][0].update(path="elsewhere"),
        lambda step: step["secret"][0].update(store="nope"),
        lambda step: step.update(service="nope"),
        lambda step: step.update(generation=7),
        lambda step: step.update(address="keys.other"),
        lambda step: step.update(op="record"),
        lambda step: step.update(op="set_origins", project="p", origins=["https://evil.example"]),
        lambda step: step.pop("spec"),
        lambda step: step.update(address=5),
        lambda step: step.update(address="nonsense"),
        lambda step: step.update(op=[]),
        lambda step: step.update(change=-1),
        lambda step: step.update(change=99),
        lambda step: step.update(generation="q"),
        lambda step: step.update(overlap_s=10**15),
        lambda step: step.update(overlap_s=-1),
    ],
)
def test_a_new_key_is_the_declared_one_or_none(world: World, forge: Forge) -> None:
    raw = world.write(declare("a")).plan().as_json()
    forge(raw["steps"][0])
    refused_file(world, raw)


@pytest.mark.parametrize(
    "forge",
    [
        lambda raw: raw.update(serial="0"),
        lambda raw: raw.update(steps=[]),
        lambda raw: raw.update(changes={}),
        lambda raw: raw.update(unmanaged=[]),
        lambda raw: raw.update(version=0),
        lambda raw: raw.update(version=-1),
        lambda raw: raw.update(version=True),
        lambda raw: raw["summary"].update(create=0),
        lambda raw: raw.update(created_at="2026-13-40T00:00:00Z"),
        lambda raw: raw.update(diagnostics=[{"severity": "fatal", "code": "x", "summary": "y"}]),
        lambda raw: raw["changes"][0].update(address="projects.a"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(world: World, forge: Forge) -> None:
    raw = world.write(declare("a")).plan().as_json()
    forge(raw)
    refused_file(world, raw)


def refused_file(world: World, raw: dict[str, Any]) -> None:
    raw.pop("digest")
    data = json.dumps({**raw, "digest": digest(raw)}).encode()
    with pytest.raises(PlanError):
        world.apply(plan=load_plan(data, "p"))
    assert world.live() == {}
    assert journal_is_empty(world)


def test_a_record_of_something_else_is_refused(renamed: World) -> None:
    step = Step(RECORD, "keys.a", "sandbox", "key_x", spec=KeySpec("secret"))
    forged = Change("keys.a", "refresh", "x", "sandbox", steps=(step,))
    refused(renamed, replace(renamed.plan(), changes=(forged,)))


def test_the_guards_stand_again_when_a_saved_plan_is_applied(world: World) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("a"))
    plan = world.plan()
    own = world.state().keys["keys.b"].current.id

    def now_its_own(request: httpx.Request, send: Callable[..., httpx.Response]) -> httpx.Response:
        answer = send(request)
        if request.url.path == "/v1/whoami":
            return httpx.Response(200, json={**json.loads(answer.read()), "key_id": own})
        return answer

    def half(request: httpx.Request, send: Callable[..., httpx.Response]) -> httpx.Response:
        if request.method == "GET" and request.url.path == "/v1/keys":
            if "cursor" in request.url.params:
                return httpx.Response(422, json={"error": {"code": "no", "message": "no"}})
            return httpx.Response(200, json={**json.loads(send(request).read()), "next_cursor": "x"})
        return send(request)

    for answer, code in ((now_its_own, "own-credential"), (half, "incomplete-listing")):
        with pytest.raises(PlanError) as told:
            world.apply(plan=plan, wrap=requests(answer))
        assert [d.code for d in told.value.diagnostics] == [code]
    assert len(world.live()) == 2


@pytest.fixture
def moving(world: World) -> Plan:
    """The secret of ``a`` is at local:a and is to move to local:b."""
    world.write(declare(a="secret: a")).apply()
    plan = world.write(declare(a="secret: b")).plan()
    assert [step.op for step in plan.changes[0].steps] == [RELOCATE, ERASE]
    return plan


def of_steps(plan: Plan, *steps: Step, **more: Any) -> Plan:
    (change,) = plan.changes
    return replace(plan, changes=(replace(change, steps=steps, **more),))


def told_unfit(world: World, plan: Plan) -> None:
    assert {d.code for d in refused(world, plan).diagnostics} == {"plan-unfit"}
    secret = world.stored("keys.a")
    key = world.live()[world.state().keys["keys.a"].current.id]
    assert secret is not None and world.works(secret, key)


def test_the_only_copy_of_a_secret_is_not_erased(world: World, moving: Plan) -> None:
    told_unfit(world, of_steps(moving, moving.changes[0].steps[1]))


def test_a_secret_is_not_erased_before_it_has_moved(world: World, moving: Plan) -> None:
    relocate, erase = moving.changes[0].steps
    told_unfit(world, of_steps(moving, erase, relocate))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_erase_does_not_stand_in_a_change_of_its_own(
    world: World, moving: Plan, order: tuple[int, int]
) -> None:
    (change,) = moving.changes
    apart = [replace(change, steps=(step,)) for step in change.steps]
    told_unfit(world, replace(moving, changes=tuple(apart[index] for index in order)))


@pytest.mark.parametrize(
    "forge",
    [
        lambda step: replace(step, sources=()),
        lambda step: replace(step, places=(Place("local", "c"),)),
        lambda step: replace(step, places=(Place("local", "a"), Place("local", "b"))),
        lambda step: replace(step, places=(Place("local", "b", on_revoke="keep"),)),
        lambda step: replace(step, sources=(Place("local", "c"),)),
    ],
)
def test_a_secret_moves_as_declared_or_not_at_all(
    world: World, moving: Plan, forge: Callable[[Step], Step]
) -> None:
    relocate, erase = moving.changes[0].steps
    told_unfit(world, of_steps(moving, forge(relocate), erase))


def test_a_restore_is_no_move(world: World, moving: Plan) -> None:
    relocate, erase = moving.changes[0].steps
    told_unfit(world, of_steps(moving, replace(relocate, op=RESTORE), erase))


@pytest.fixture
def replacing(world: World) -> Plan:
    """The key ``a`` is to be replaced, with its old one revoked after the new one is stored."""
    world.write(declare(a="secret: a, scopes: [events:read]")).apply()
    plan = world.write(declare(a="secret: a, kind: secret, environment: test, scopes: [events:read]")).plan()
    assert [step.op for step in plan.changes[0].steps] == [MINT, END]
    return plan


def test_a_key_is_not_revoked_before_its_successor_is_stored(world: World, replacing: Plan) -> None:
    mint, end = replacing.changes[0].steps
    told_unfit(world, of_steps(replacing, end, mint))


@pytest.mark.parametrize("kept", [0, 1])
def test_neither_half_of_a_replacement_stands_alone(world: World, replacing: Plan, kept: int) -> None:
    told_unfit(world, of_steps(replacing, replacing.changes[0].steps[kept]))


def test_a_replacement_is_not_split(world: World, replacing: Plan) -> None:
    (change,) = replacing.changes
    mint, end = change.steps
    apart = (replace(change, action="revoke", steps=(end,)), replace(change, steps=(mint,)))
    told_unfit(world, replace(replacing, changes=apart))


@pytest.mark.parametrize(
    "forge",
    [
        lambda step: replace(step, gone=True),
        lambda step: replace(step, overlap=None),
        lambda step: replace(step, overlap=timedelta(days=900)),
    ],
)
def test_the_old_key_ends_as_declared(world: World, replacing: Plan, forge: Callable[[Step], Step]) -> None:
    mint, end = replacing.changes[0].steps
    told_unfit(world, of_steps(replacing, forge(mint), end))
    told_unfit(world, of_steps(replacing, forge(mint)))
    told_unfit(world, of_steps(replacing, forge(mint), action="create"))


def test_a_declared_overlap_is_not_cut_off(world: World) -> None:
    world.write(declare(a="secret: a, rotation: {every: 5d, overlap: 3d}")).apply()
    world.clock.move(days=6)
    plan = world.plan()
    (mint,) = plan.changes[0].steps
    current = world.state().keys["keys.a"].current
    end = Step(END, "keys.a", "sandbox", current.id, generation=1)
    told_unfit(world, of_steps(plan, replace(mint, overlap=timedelta(0)), end))


@pytest.mark.parametrize("with_places", [True, False])
def test_a_living_key_is_not_forgotten(renamed: World, with_places: bool) -> None:
    current = renamed.state().keys["keys.a"].current
    step = Step(DROP, "keys.a")
    if with_places:
        step = Step(DROP, "keys.a", "sandbox", current.id, places=current.places)
    told_unfit(renamed, of_steps(renamed.plan(), step, action="forget"))
    renamed.write(declare("b"))
    told_unfit(renamed, of_steps(renamed.plan(), step, action="forget"))


def test_a_declared_key_is_not_just_revoked(renamed: World) -> None:
    current = renamed.state().keys["keys.a"].current
    step = Step(END, "keys.a", "sandbox", current.id, generation=1, places=current.places)
    told_unfit(renamed, of_steps(renamed.plan(), step, action="revoke"))


def test_an_update_is_to_what_is_declared(renamed: World) -> None:
    plan = renamed.plan()
    (alter,) = plan.changes[0].steps
    assert alter.spec is not None
    told_unfit(renamed, of_steps(plan, replace(alter, spec=replace(alter.spec, name="other"))))
    told_unfit(renamed, of_steps(plan, replace(alter, terms=None)))
    told_unfit(renamed, of_steps(plan, alter, alter))


def test_a_rename_is_a_declared_one(world: World) -> None:
    world.write(declare("a")).apply()
    plan = world.write(declare("c")).plan()
    forged = Change("keys.c", "move", "x", "sandbox", steps=(Step(RENAME, "keys.c", before="keys.a"),))
    told_unfit(world, replace(plan, changes=(forged,)))
