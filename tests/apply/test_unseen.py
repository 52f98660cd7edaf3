"""Services that list no keys: the state is the record, and nothing is concluded from an empty listing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyform.apply.check import check_saved_plan
from keyform.engine.plan import END
from keyform.errors import PlanError
from keyform.profile import ASSISTED, Profile
from keyform.services import service_whereabouts
from keyform.services.profiles import load_profile
from tests.apply.outside import crash, declare, die, journal_is_empty, requests, stores
from tests.apply.test_late_creates import InFlight, OtherProfile
from tests.engine.scene import PROFILE, Scene, record, wanted
from tests.world import World


def unseen_world(folder: Path, **parts: Any) -> World:
    """The embedded service as if nothing listed its keys."""
    world = OtherProfile(folder).write(declare("a"))
    world.parts = {"lists": False, **parts}
    return world


def live(world: World) -> list[str]:
    """The active keys, as the service itself lists them."""
    return list(World(world.folder, world.clock).live())


def test_a_receipt_is_enough_to_revoke_a_key_whose_secret_was_never_stored(tmp_path: Path) -> None:
    world = unseen_world(tmp_path)
    assert (
        crash(
            world,
            stores(
                put=lambda put, place, secret, labels, *over: die() if labels else put(place, secret, labels)
            ),
        )
        == 77
    )
    (lost,) = live(world)
    assert not world.apply().failed
    (kept,) = live(world)
    assert kept != lost
    assert world.state().keys["keys.a"].current.id == kept
    assert journal_is_empty(world)


def test_a_receipt_is_enough_to_keep_a_key_whose_secret_is_stored(tmp_path: Path) -> None:
    world = unseen_world(tmp_path)

    def put_and_die(put: Any, place: Any, secret: Any, labels: Any, *over: Any) -> Any:
        done = put(place, secret, labels, *over)
        return die() if labels else done

    assert crash(world, stores(put=put_and_die)) == 77
    (minted,) = live(world)
    assert not world.apply().failed
    assert world.state().keys["keys.a"].current.id == minted
    assert live(world) == [minted]


def test_a_create_that_may_still_arrive_is_claimed_where_it_is_recognised_again(tmp_path: Path) -> None:
    world = unseen_world(tmp_path)
    flight = InFlight(world, die_after=True)
    assert crash(world, flight.wrap()) == 77
    assert not world.apply().failed
    assert flight.arrive() in (200, 201)
    (kept,) = live(world)
    assert world.state().keys["keys.a"].current.id == kept
    assert not [told for told in world.told if told["type"] == "warning" and "perhaps" in str(told)]


@pytest.mark.parametrize("lists", [True, False])
def test_a_revocation_came_true_only_where_a_listing_shows_it(lists: bool) -> None:
    """The interrupted apply of the plan may have revoked the key, or not."""
    scene = Scene(keys=(), records=(record("a"),), profile=replace(PROFILE, lists=lists))
    plan = scene.plan()
    (change,) = plan.changes
    assert [step.op for step in change.steps] == [END]
    plan = replace(plan, changes=(replace(change, seen="as it was"),))
    scene.live = {}
    if lists:
        check_saved_plan(plan, scene.sight(), False, frozenset())
        return
    with pytest.raises(PlanError, match="changed at toy since"):
        check_saved_plan(plan, scene.sight(), False, frozenset())


def test_a_saved_plan_adopts_a_key_that_nothing_lists(tmp_path: Path) -> None:
    world = unseen_world(tmp_path)
    key_id = world.service().create(replace(wanted("a").spec, scopes=("events:write",)), "other/1").key.id
    world.write(declare("a", rest=f"imports: [{{key: a, id: {key_id}}}]"))
    plan = world.plan()
    assert "taken to be as declared" in plan.changes[0].reason
    assert not world.apply(plan=plan).failed
    assert world.state().keys["keys.a"].current.id == key_id


def test_requests_for_a_listing_are_not_sent(tmp_path: Path) -> None:
    world = unseen_world(tmp_path)
    asked: list[str] = []

    def note(request: Any, send: Any) -> Any:
        asked.append(f"{request.method} {request.url.path}")
        return send(request)

    assert not world.apply(wrap=requests(note)).failed
    assert "GET /v1/keys" not in asked


def built_in(name: str) -> Profile:
    profile = load_profile(name, Path())
    assert profile is not None
    return profile


@pytest.mark.parametrize(
    ("name", "mode", "endpoint", "options", "where"),
    [
        ("revenium", ASSISTED, None, {}, "revenium by hand"),
        (
            "unkey",
            None,
            None,
            {"api_id": "api_1", "prefix": "x"},
            "unkey at https://api.unkey.com, api_id api_1",
        ),
        ("unkey", None, "https://eu.example/", {"api_id": "a"}, "unkey at https://eu.example, api_id a"),
        ("embedded", None, None, {"path": "data"}, "embedded at data"),
        ("embedded", None, None, {}, "embedded at .keyform/service"),
    ],
)
def test_what_tells_a_service_from_another(
    name: str, mode: str | None, endpoint: str | None, options: dict[str, str], where: str
) -> None:
    found = service_whereabouts(name, built_in(name), mode=mode, endpoint=endpoint, options=options)
    assert found == where


ASSISTED_KEY = """\
version: 1
services: {meter: {type: revenium, mode: assisted}}
keys: {a: {service: meter, kind: metering-only, name: A, secret: a}}
"""


def test_a_service_worked_by_hand_is_not_the_same_under_an_endpoint(tmp_path: Path) -> None:
    world = World(tmp_path).write(ASSISTED_KEY + "imports: [{key: a, id: Ab3x}]\n")
    assert not world.apply().failed
    assert world.state().services == {"meter": "revenium by hand"}
    at = 'mode: contract, endpoint: "http://localhost:1", credential: "${env:HOME}"'
    world.write(ASSISTED_KEY.replace("mode: assisted", at))
    with pytest.raises(PlanError, match="revenium by hand"):
        world.apply()


def test_a_person_is_given_no_other_checklist_than_the_planned_one(tmp_path: Path) -> None:
    world = World(tmp_path).write(ASSISTED_KEY)
    plan = world.plan()
    (change,) = plan.changes
    (step,) = change.steps
    assert step.checklist
    for lines in ((*step.checklist, "Delete all other keys."), ()):
        forged = replace(plan, changes=(replace(change, steps=(replace(step, checklist=lines),)),))
        with pytest.raises(PlanError, match="another checklist"):
            world.apply(plan=forged)
    assert json.loads(json.dumps(plan.as_json()))["steps"][0]["checklist"]
