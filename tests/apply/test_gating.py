"""The gate of an old generation is asked once more, right before that generation is revoked."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx
import pytest

from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.model import Secret
from tests.apply.outside import Send, declare, requests, warned
from tests.world import NORMALLY, World, inspect

GATE = "rotation: {every: 60d, overlap: 1d, revoke_when_unused_for: 2d}"
GATED = declare("b", a=f"secret: a, {GATE}")
LIMITED = GATED.replace("_for: 2d", "_for: 2d, revoke_within: 4d")
GATE_ALONE = GATED.replace("overlap: 1d, ", "")
ROTATE = Options(rotate=("keys.a",))


def secret_of(world: World, address: str = "keys.a") -> Secret:
    secret = world.stored(address)
    assert secret is not None
    return secret


def use(world: World, secret: Secret, key_id: str) -> None:
    with closing(world.service()) as service:
        assert service.prove(secret, world.live()[key_id]) == key_id


def due(world: World, text: str = GATED, *, rotate: bool = True) -> tuple[Secret, str]:
    """A world where generation 1 of `a` is due to be revoked; its secret and id."""
    world.write(text).apply()
    old, key_id = secret_of(world), world.state().keys["keys.a"].current.id
    if rotate:
        world.apply(ROTATE)
    world.clock.move(days=3)
    world.told.clear()
    return old, key_id


def saved(world: World, options: Options = NORMALLY) -> Plan:
    return load_plan(dump_plan(world.plan(options)), "p")


def test_a_saved_plan_holds_what_was_used_since_and_does_the_rest(world: World) -> None:
    old, key_id = due(world)
    world.write(GATED.replace("name: b", "name: c"))
    plan = saved(world)
    assert [(change.address, change.action) for change in plan.changes] == [
        ("keys.b", "update"),
        ("keys.a", "revoke"),
    ]
    use(world, old, key_id)
    world.clock.move(minutes=3)
    outcome = world.apply(plan=plan)
    assert (outcome.done, outcome.held, outcome.failed) == (1, 1, ())
    assert world.works(old, world.live()[key_id])
    (note,) = (e["diagnostic"] for e in world.told if e["type"] == "warning")
    assert (note["severity"], note["code"]) == ("note", "held")
    assert "keys.a generation 1 is held: used 3 minutes ago" in note["summary"]
    assert [e["address"] for e in world.told if e["type"] == "held"] == ["keys.a"]
    assert world.told[-1]["summary"] == {"done": 1, "failed": 0, "skipped": 0, "held": 1}
    world.clock.move(days=2, minutes=10)
    assert [change.action for change in world.plan().changes] == ["revoke"]
    assert world.apply().done == 1
    assert not inspect(world)


def test_the_same_plan_revokes_it_when_nobody_used_it(world: World) -> None:
    _, key_id = due(world)
    plan = saved(world)
    world.clock.move(hours=1)
    assert (world.apply(plan=plan).done, key_id in world.live()) == (1, False)
    assert not warned(world)


def test_held_its_plan_can_be_applied_later(world: World) -> None:
    old, key_id = due(world)
    plan = saved(world)
    use(world, old, key_id)
    assert world.apply(plan=plan).held == 1
    world.clock.move(days=3)
    assert (world.apply(plan=plan).done, key_id in world.live()) == (1, False)


def test_its_last_day_is_asked_for_again_as_well(world: World) -> None:
    """`revoke_within` was over when the plan was made, or is when it is applied: it ends, used or not."""
    old, key_id = due(world, LIMITED)
    plan = saved(world)
    use(world, old, key_id)
    assert world.apply(plan=plan).held == 1
    world.clock.move(days=1)
    assert (world.apply(plan=plan).done, key_id in world.live()) == (1, False)


@pytest.mark.parametrize("waits", [8, 3600])
def test_used_while_somebody_is_asked_it_is_held(world: World, waits: int) -> None:
    old, key_id = due(world)

    def approve(plan: Plan) -> bool:
        assert [change.action for change in plan.changes] == ["revoke"]
        use(world, old, key_id)
        world.clock.move(seconds=waits)
        return True

    outcome = world.apply(approve=approve)
    assert (outcome.done, outcome.held, outcome.failed) == (0, 1, ())
    assert world.works(old, world.live()[key_id])


def test_without_an_overlap_one_used_since_lives_on_beside_the_new_key(world: World) -> None:
    old, key_id = due(world, GATE_ALONE, rotate=False)
    plan = saved(world, ROTATE)
    assert [step.op for step in plan.changes[0].steps] == ["mint", "revoke"]
    use(world, old, key_id)
    outcome = world.apply(plan=plan)
    assert (outcome.done, outcome.failed, warned(world)) == (1, (), ["held"])
    assert [g.number for g in world.state().keys["keys.a"].generations()] == [1, 2]
    assert world.works(old, world.live()[key_id])
    assert world.plan().changes == ()
    world.clock.move(days=3)
    assert world.apply().done == 1
    assert not inspect(world)


def test_used_while_the_run_mints_it_is_held(world: World) -> None:
    """A run may last: right before the revocation the service is asked once more."""
    old, key_id = due(world, GATE_ALONE, rotate=False)
    posts = []

    def answer(request: httpx.Request, send: Send) -> httpx.Response:
        response = send(request)
        if request.method == "POST" and request.url.path == "/v1/keys":
            posts.append(request)
            use(world, old, key_id)
            world.clock.move(minutes=1)
        return response

    outcome = world.apply(ROTATE, wrap=requests(answer))
    assert (outcome.done, outcome.failed, len(posts)) == (1, (), 1)
    assert world.works(old, world.live()[key_id])
    assert [g.number for g in world.state().keys["keys.a"].generations()] == [1, 2]


def test_whether_it_is_in_use_has_to_be_known(world: World) -> None:
    """The service cannot be listed right before the revocation, so nothing is revoked."""
    _, key_id = due(world, GATE_ALONE, rotate=False)
    minted: list[Any] = []

    def answer(request: httpx.Request, send: Send) -> httpx.Response:
        if minted and request.method == "GET":
            return httpx.Response(403, json={"error": {"code": "no", "message": "no"}})
        if request.method == "POST" and request.url.path == "/v1/keys":
            minted.append(request)
            world.clock.move(minutes=1)
        return send(request)

    assert world.apply(ROTATE, wrap=requests(answer)).failed
    assert key_id in world.live()
    assert world.apply().done == 1
    assert not inspect(world)


def test_what_ends_at_once_asks_no_gate(world: World) -> None:
    old, key_id = due(world, rotate=False)
    plan = saved(world, Options(rotate=("keys.a",), rotate_now=True))
    use(world, old, key_id)
    assert (world.apply(plan=plan).held, key_id in world.live()) == (0, False)


def test_what_is_no_longer_declared_asks_no_gate(world: World) -> None:
    old, key_id = due(world)
    world.write(declare("b"))
    plan = saved(world)
    use(world, old, key_id)
    assert (world.apply(plan=plan).held, key_id in world.live()) == (0, False)
