"""A service that says that it has revoked a key, and goes on listing it: keyform says so, and tries again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.engine.options import DESTROY, REFRESH_ONLY, Options
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.engine.sight import seen_digest
from keyform.errors import PlanError
from tests.apply.outside import backend, crash, declare, die, nth, requests
from tests.world import World, inspect

TWO = declare("kept", "dropped")
ONE = declare("kept")


def lying(*, listed: Callable[[dict[str, Any]], None] | None = None) -> Wrapping:
    """Revocations are answered with what they would bring about, and never carried out."""

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if request.method == "DELETE":
            shown = send(httpx.Request("GET", request.url, headers=request.headers))
            key = json.loads(shown.read())
            (key.get("key") or key)["status"] = "revoked"
            return httpx.Response(200, json=key)
        response: httpx.Response = send(request)
        if listed is None or request.url.path != "/v1/keys":
            return response
        body = json.loads(response.read())
        for entry in body["data"]:
            listed(entry)
        return httpx.Response(response.status_code, json=body)

    return requests(answer)


@pytest.fixture
def lied_to(world: World) -> World:
    world.write(TWO)
    assert not world.apply().failed
    world.write(ONE)
    assert not world.apply(wrap=lying()).failed
    assert len(world.live()) == 2
    return world


def test_the_next_plan_says_so_and_the_next_apply_tries_again(lied_to: World) -> None:
    (change,) = lied_to.plan().changes
    assert (change.address, change.action, change.drift) == ("keys.dropped", "revoke", True)
    assert "keyform revoked key_" in change.reason
    assert "sandbox still lists it as active: that revocation did not happen" in change.reason
    assert "stray" not in [d.code for d in lied_to.plan().diagnostics]
    saved = load_plan(dump_plan(lied_to.plan()), "p")
    assert not lied_to.apply(plan=saved).failed
    assert len(lied_to.live()) == 1
    assert lied_to.plan().empty
    assert not inspect(lied_to)


def test_it_is_told_for_as_long_as_the_service_lies(lied_to: World) -> None:
    for _ in range(3):
        lied_to.clock.move(hours=1)
        before = lied_to.clock.now()
        assert not lied_to.apply(wrap=lying()).failed
        (one,) = lied_to.state().ended
        assert (one.address, one.service, one.number, one.at) == ("keys.dropped", "sandbox", 1, before)
        assert [c.action for c in lied_to.plan().changes] == ["revoke"]


def test_an_old_generation_that_goes_on_working_is_told(world: World) -> None:
    world.write(declare(a="secret: a, rotation: {every: 10d}"))
    assert not world.apply().failed
    world.clock.move(days=11)
    assert not world.apply(wrap=lying()).failed
    (change,) = world.plan().changes
    assert (change.address, change.generation) == ("keys.a", 1)
    world.write(declare(a="secret: a, rotation: {every: 10d}, description: new"))
    assert [c.action for c in world.plan().changes] == ["update", "revoke"]
    assert not world.apply(plan=load_plan(dump_plan(world.plan()), "p")).failed
    assert world.plan().empty
    assert not inspect(world)


def test_what_was_destroyed_and_lives_is_told(world: World) -> None:
    world.write(TWO)
    assert not world.apply().failed
    assert not world.apply(Options(DESTROY), wrap=lying()).failed
    assert not world.state().keys
    world.write(declare())
    assert [c.action for c in world.plan().changes] == ["revoke", "revoke"]
    assert not world.apply().failed
    assert world.live() == {}
    assert world.plan().empty


def test_what_a_listing_shows_gone_is_forgotten(world: World) -> None:
    world.write(TWO)
    assert not world.apply().failed
    world.write(ONE)
    assert not world.apply().failed
    assert [one.address for one in world.state().ended] == ["keys.dropped"]
    assert world.plan().empty
    world.write(declare(kept="secret: kept, description: new"))
    assert not world.apply().failed
    assert world.state().ended == ()


def test_a_key_that_another_state_or_an_import_has_taken_is_left_alone(lied_to: World) -> None:
    def taken(entry: dict[str, Any]) -> None:
        entry["metadata"] = {**entry["metadata"], "keyform": "other/1"} if entry["name"] == "dropped" else {}

    lied_to.wrap = lying(listed=taken)
    assert "revoke" not in [c.action for c in lied_to.plan().changes]
    lied_to.wrap = Wrapping()
    (key,) = [key for key in lied_to.live().values() if key.spec.name == "dropped"]
    lied_to.write(declare("kept", "dropped", rest=f"imports: [{{key: dropped, id: {key.id}}}]"))
    assert [c.action for c in lied_to.plan().changes] == ["import"]


def test_a_crash_after_the_revocation_forgets_nothing(world: World) -> None:
    world.write(TWO)
    assert not world.apply().failed
    world.write(ONE)
    dying = Wrapping(transport=lying().transport, backend=backend(write=nth(1, die)).backend)
    assert crash(world, dying) == 77
    assert [c.action for c in world.plan().changes] == ["revoke"]
    assert not world.apply().failed
    assert len(world.live()) == 1


def test_a_forged_plan_cannot_end_another_key_that_way(lied_to: World) -> None:
    (kept,) = [key.id for key in lied_to.live().values() if key.spec.name == "kept"]
    plan = load_plan(dump_plan(lied_to.plan()), "p")
    (change,) = plan.changes
    steps = tuple(replace(step, key_id=kept) for step in change.steps)
    seen = seen_digest(lied_to.live()[kept])
    forged = replace(plan, changes=(replace(change, key_id=kept, seen=seen, steps=steps),))
    with pytest.raises(PlanError, match="the state does not own"):
        lied_to.apply(plan=forged)
    assert len(lied_to.live()) == 2


def test_a_refresh_changes_nothing_about_it(lied_to: World) -> None:
    assert lied_to.plan(Options(REFRESH_ONLY)).empty


def test_a_service_that_is_only_to_show_that_keys_are_gone_may_be_unusable(world: World) -> None:
    world.write(TWO)
    assert not world.apply().failed
    assert not world.apply(Options(DESTROY)).failed

    def down(request: httpx.Request, send: Any) -> httpx.Response:
        return httpx.Response(401, json={"error": {"code": "unauthorized", "message": "no"}})

    world.write(declare())
    world.wrap = requests(down)
    plan = world.plan()
    assert plan.empty
    assert "incomplete-listing" in [d.code for d in plan.diagnostics]
