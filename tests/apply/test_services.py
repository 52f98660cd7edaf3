"""Service failures: one key's refusal is that key's alone, and nothing is left behind."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.errors import PlanError, ServiceError
from keyform.model import KeySpec
from tests.apply.outside import (
    codes,
    declare,
    failing,
    journal_is_empty,
    refuse,
    requests,
    stores,
    summaries,
    warned,
)
from tests.world import World, inspect


@pytest.mark.parametrize("parallelism", [1, 8])
def test_a_refused_create_stops_that_key_alone(world: World, parallelism: int) -> None:
    world.write(declare(*"abcdefgh"))
    outcome = world.apply(wrap=refuse("POST", body='"name":"d"'), parallelism=parallelism)
    assert (outcome.done, codes(outcome)) == (7, ["service-refused"])
    assert outcome.failed[0].address == "keys.d"
    assert journal_is_empty(world)
    assert world.apply().done == 1
    assert not inspect(world)


def test_a_refused_update_is_planned_again(world: World) -> None:
    world.write(declare("b", a="secret: a")).apply()
    world.write(declare("b", a="secret: moved, description: new"))
    outcome = world.apply(wrap=refuse("PATCH"))
    assert codes(outcome) == ["service-refused"]
    # The steps of one address are taken in order: the secret has not moved either.
    assert world.state().keys["keys.a"].current.places[0].path == "a"
    assert not world.apply().failed
    assert not inspect(world)
    assert world.plan().empty


def test_a_refused_revoke_keeps_the_key_in_the_state(world: World) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("b"))
    outcome = world.apply(wrap=refuse("DELETE"))
    assert codes(outcome) == ["service-refused"]
    assert set(world.state().keys) == {"keys.a", "keys.b"}
    assert world.stored("keys.a") is not None
    assert not world.apply().failed
    assert not inspect(world)


def test_a_replacement_whose_old_key_cannot_be_revoked_yet_knows_both(world: World) -> None:
    world.write(declare(a="environment: live, secret: a")).apply()
    world.write(declare(a="environment: test, secret: a"))
    assert world.apply(wrap=refuse("DELETE")).failed
    record = world.state().keys["keys.a"]
    (event,) = (event for event in world.told if event["type"] == "failed")
    assert event["key_id"] == record.current.id, "the new key is in use"
    assert (record.current.number, [g.number for g in record.deposed]) == (2, [1])
    assert len(world.live()) == 2
    plan = world.plan()
    assert [(c.action, c.generation) for c in plan.changes] == [("revoke", 1)]
    assert not world.apply().failed
    assert not inspect(world)


def test_what_failed_after_the_new_key_was_in_use_is_told_as_such(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write(declare(a="environment: live, secret: a")).apply()
    world.write(declare(a="environment: test, secret: a"))
    arguments = ["-C", str(world.folder), "apply", "--auto-approve"]
    assert run(arguments, clock=world.clock, wrap=refuse("DELETE")) == 1
    told = " ".join(capsys.readouterr().err.split())
    new = world.state().keys["keys.a"].current.id
    assert f"keys.a: replace: the new key is in use, and what was to follow failed ({new})" in told
    assert "replace failed" not in told


def test_an_undo_that_fails_is_settled_by_the_next_apply(world: World) -> None:
    world.write(declare("a", "b"))
    store = stores(put=failing("a"))
    outcome = world.apply(wrap=Wrapping(transport=refuse("DELETE").transport, store=store.store))
    assert "undo-failed" in codes(outcome)
    assert "unsettled" in codes(outcome)
    assert "1 interrupted mint could not be looked into yet" in [d.summary for d in outcome.failed]
    assert not journal_is_empty(world)
    assert set(world.state().keys) == {"keys.b"}
    assert [d.code for d in world.plan().diagnostics][:1] == ["recovery-pending"]
    assert not world.apply().failed
    assert not inspect(world)


def test_a_failed_undo_is_settled_in_the_same_run_if_that_goes(world: World) -> None:
    world.write(declare("a"))
    store = stores(put=failing("a"))
    outcome = world.apply(wrap=Wrapping(transport=refuse("DELETE", times=1).transport, store=store.store))
    assert "undo-failed" in codes(outcome)
    assert world.live() == {}
    assert journal_is_empty(world)


def test_an_undo_that_could_not_erase_does_not_say_that_the_key_lives(world: World) -> None:
    world.write(declare("a"))
    put = []

    def stored_and_lost(real: Any, *args: Any) -> Any:
        real(*args)
        put.append(1)
        from keyform.errors import StoreError

        raise StoreError("the store is gone")

    def gone(real: Any, *args: Any) -> Any:
        from keyform.errors import StoreError

        if put:
            raise StoreError("the store is gone")
        return real(*args)

    outcome = world.apply(wrap=stores(put=stored_and_lost, get=gone))
    assert world.live() == {}
    assert "could not be revoked" not in summaries(outcome)
    assert not world.apply().failed
    assert not inspect(world)


def test_what_is_granted_otherwise_is_told_and_planned_again(world: World) -> None:
    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/v1/keys":
            body = json.loads(request.read())
            body["scopes"] = ["events:read"]
            request = httpx.Request("POST", request.url, headers=_without_length(request), json=body)
        return send(request)

    world.write(declare(a="secret: a, scopes: [events:read, events:write]"))
    assert not world.apply(wrap=requests(answer)).failed
    assert warned(world) == ["granted-otherwise"]
    assert [c.action for c in world.plan().changes] == ["update"]


def _without_length(request: httpx.Request) -> dict[str, str]:
    return {k: v for k, v in request.headers.items() if k not in ("content-length", "content-type")}


def test_lost_answers_mint_one_key(world: World) -> None:
    lost = []

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        response = send(request)
        if request.method == "POST" and request.url.path == "/v1/keys" and len(lost) < 2:
            response.read()
            lost.append(1)
            raise httpx.ReadError("lost", request=request)
        return response

    world.write(declare("a", "b"))
    assert not world.apply(wrap=requests(answer), parallelism=2).failed
    assert not inspect(world)
    assert len(lost) == 2


def test_a_service_that_cannot_be_read_stops_everything_before_anything(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare("a", "b"))

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        raise httpx.ConnectError("down", request=request)

    with pytest.raises(ServiceError):
        world.apply(wrap=requests(answer))
    assert journal_is_empty(world)
    assert not world.apply().failed


def half_listing(request: httpx.Request, send: Any) -> httpx.Response:
    """The first page of the keys, which says that there is another, which never comes."""
    if request.method == "GET" and request.url.path == "/v1/keys":
        if "cursor" in request.url.params:
            return httpx.Response(500, json={})
        body = json.loads(send(request).read())
        return httpx.Response(200, json={**body, "data": body["data"][:1], "next_cursor": "more"})
    return send(request)


def test_an_incomplete_listing_revokes_nothing(world: World) -> None:
    world.write(declare("a", "b", "c")).apply()
    world.write(declare("b", "c"))
    with pytest.raises(PlanError, match="incomplete"):
        world.apply(wrap=requests(half_listing))
    assert len(world.live()) == 3


def test_an_incomplete_listing_still_lets_keys_be_minted(world: World) -> None:
    world.write(declare("a", "b")).apply()
    world.write(declare("a", "b", "c"))
    outcome = world.apply(wrap=requests(half_listing))
    assert (outcome.done, outcome.failed) == (1, ())
    assert not inspect(world)


def test_a_project_that_is_refused_is_told_and_its_keys_wait(world: World) -> None:
    rest = 'projects: {web: {service: sandbox, allowed_origins: ["https://a.example"]}}'
    world.write(declare("b", page="kind: public, project: web, secret: page", rest=rest))
    outcome = world.apply(wrap=refuse("PUT", "/v1/projects"))
    assert {d.address for d in outcome.failed} == {"projects.web"}
    assert (outcome.done, outcome.skipped) == (1, 1)
    (skipped,) = (told for told in world.told if told["type"] == "skipped")
    assert (skipped["address"], "projects.web comes before" in skipped["why"]) == ("keys.page", True)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_key_of_a_service_that_is_renamed_in_the_configuration_is_held_back(
    world: World,
) -> None:
    world.write(declare("a")).apply()
    world.write(declare("a").replace("sandbox", "renamed"))
    outcome = world.apply()
    assert (outcome.done, outcome.plan.held_back) == (0, ("keys.a",))
    assert outcome.plan.diagnostics[0].code == "service-not-declared"
    assert len(world.live("renamed")) == 1
    assert "declare the service again" in outcome.plan.diagnostics[0].detail.lower()


def test_a_key_that_moves_to_another_service(world: World) -> None:
    text = declare("a").replace(
        "{type: embedded}}", "{type: embedded}, other: {type: embedded, path: other}}"
    )
    world.write(text).apply()
    world.write(text.replace("service: sandbox, name", "service: other, name"))
    assert not world.apply().failed
    assert world.live() == {}
    assert not inspect(world, service_name="other")


def test_a_key_that_moves_to_another_service_with_an_overlap(world: World) -> None:
    """Its saved plan must hold, although the old generation is at the other service."""
    text = declare(a="secret: a, rotation: {overlap: 1d}").replace(
        "{type: embedded}}", "{type: embedded}, other: {type: embedded, path: other}}"
    )
    world.write(text).apply()
    world.write(text.replace("service: sandbox, name", "service: other, name")).apply()
    assert len(world.live()) == 1
    world.clock.move(days=2)
    plan = world.plan()
    assert [c.action for c in plan.changes] == ["revoke"]
    assert not world.apply(plan=plan).failed
    assert world.live() == {}
    assert not inspect(world, service_name="other")


def test_importing_takes_the_key_as_it_is_and_then_changes_it(world: World) -> None:
    spec = KeySpec(kind="secret", environment="live", name="other", scopes=("events:write",))
    key_id = world.write(declare()).service().create(spec, "other/1").key.id
    world.write(declare(a="secret: a, expires_in: 90d", rest=f"imports: [{{key: a, id: {key_id}}}]"))
    outcome = world.apply(wrap=refuse("PATCH"))
    assert codes(outcome) == ["service-refused"]
    # Adopted, and not yet as declared: the next plan has to see that, the expiry included.
    (change,) = world.plan().changes
    assert {d.path for d in change.diff} >= {"name", "expires_at"}
    assert not world.apply().failed
    assert world.plan().empty
    (live,) = world.live().values()
    assert live.spec.name == "a"
    assert live.spec.expires_at is not None
