"""Another service or store under a known name; values that are not keyform's; plans while an apply runs."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping, plan_now, sight_now
from keyform.cli.main import run
from keyform.engine.options import Options
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import KeySpec, Place, Secret
from keyform.ports import Service
from tests.apply.outside import backend, crash, declare, die, nth, requests, stores
from tests.world import World, inspect

HEAD = """version: 1
services: {{sandbox: {{type: embedded, path: {at}}}}}
stores: {{local: {{type: age, path: {to}}}}}
"""
KEY = "keys:\n  a: {service: sandbox, name: a, secret: a}\n"
ALLOWED = Options(allow_endpoint_change=True)


def config(at: str = "one", to: str = ".keyform/secrets", keys: str = KEY) -> str:
    return HEAD.format(at=at, to=to) + keys


def test_the_state_says_where_things_are(world: World) -> None:
    world.write(config()).apply()
    state = world.state()
    assert dict(state.services) == {"sandbox": "embedded at one"}
    assert dict(state.stores) == {"local": "age path=.keyform/secrets"}


@pytest.mark.parametrize("other", [{"at": "two"}, {"to": "elsewhere"}])
def test_nothing_happens_at_another_place_under_the_same_name(world: World, other: dict[str, str]) -> None:
    world.write(config()).apply()
    live = world.live()
    world.write(config(**other, keys="keys: {}\n"))
    with pytest.raises(PlanError, match="is now declared as") as told:
        world.apply()
    assert [d.code for d in told.value.diagnostics] == ["moved-elsewhere"]
    assert world.plan().failed
    assert not (world.folder / "two").exists() or world.live() == {}
    world.write(config())
    assert world.live() == live
    assert world.plan().empty


def test_the_same_store_at_a_new_path_is_recorded_by_a_plan(world: World) -> None:
    world.write(config()).apply()
    (world.folder / ".keyform/secrets").rename(world.folder / "moved")
    world.write(config(to="moved"))
    saved = load_plan(dump_plan(world.plan(ALLOWED)), "p")
    assert [c.address for c in saved.changes] == ["stores.local"]
    assert not world.apply(plan=saved).failed
    assert dict(world.state().stores) == {"local": "age path=moved"}
    assert world.plan().empty
    assert not world.plan().failed


def test_recovery_does_not_look_at_another_service(world: World) -> None:
    world.write(config()).apply()
    world.write(config(keys=KEY + "  b: {service: sandbox, name: b, secret: b}\n"))
    assert crash(world, stores(put=nth(1, die))) == 77
    world.write(config(at="two"))
    with pytest.raises(PlanError, match="is now declared as"):
        world.apply()
    world.write(config())
    assert not world.apply().failed
    assert not inspect(world)


@pytest.mark.parametrize("at", [1, 2])
def test_neither_does_the_recovery_of_the_first_apply(world: World, at: int) -> None:
    both = KEY + "  b: {service: sandbox, name: b, secret: b}\n"
    world.write(config(keys=both))
    assert crash(world, stores(put=nth(at, die))) == 77
    world.write(config(at="two", keys=both))
    with pytest.raises(PlanError, match="is now declared as"):
        world.apply()
    world.write(config(keys=both))
    assert not world.apply().failed
    assert not inspect(world)


def test_a_new_address_that_was_recorded_before_a_crash_stays(world: World) -> None:
    world.write(config()).apply()
    (world.folder / ".keyform/secrets").rename(world.folder / "moved")
    world.write(config(to="moved"))
    with world.open() as ws:
        plan = plan_now(ws, ALLOWED)
    assert crash(world, backend(write=die), plan) == 77
    assert not world.apply(plan=plan).failed
    assert dict(world.state().stores) == {"local": "age path=moved"}


def put(world: World, path: str, text: str) -> None:
    with world.open() as ws:
        ws.store("local").put(Place("local", path), Secret(text), {})


def test_a_value_that_somebody_put_at_a_recorded_place_is_not_written_over(world: World) -> None:
    world.write(declare(a="secret: a, environment: live")).apply()
    put(world, "a", "by hand")
    world.write(declare(a="secret: a, environment: test"))
    with pytest.raises(PlanError) as told:
        world.apply()
    assert [d.code for d in told.value.diagnostics] == ["place-taken"]
    assert world.stored("keys.a") == Secret("by hand")
    assert not world.apply(overwrite=True).failed
    assert not inspect(world)


@pytest.mark.parametrize("own", [True, False])
def test_the_value_of_an_adopted_key_is_its_own_if_the_service_says_so(world: World, own: bool) -> None:
    service: Service
    world.write(declare())
    with closing(world.service()) as service:
        minted = service.create(KeySpec("secret", "live", name="a", scopes=("events:write",)), "other/1")
    assert minted.secret is not None
    put(world, "a", minted.secret.reveal() if own else "another team's")
    imports = f"imports: [{{key: a, id: {minted.key.id}}}]"
    world.write(declare(a="secret: a, environment: live", rest=imports)).apply()
    world.write(declare(a="secret: a, environment: test", rest=imports))
    if own:
        assert not world.apply().failed
        assert not inspect(world)
    else:
        with pytest.raises(PlanError):
            world.apply()
        assert world.stored("keys.a") == Secret("another team's")


def test_a_place_taken_before_a_crash_and_a_revert_heals(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare(b="secret: a"))
    assert crash(world, requests(lambda r, send: die() if r.method == "DELETE" else send(r))) == 77
    world.write(declare("a"))
    assert not world.apply().failed
    assert not inspect(world)


def test_a_vanished_key_whose_place_changed_leaves_nothing_after_a_crash(world: World) -> None:
    world.write(declare("a")).apply()
    world.service().revoke(next(iter(world.live())))
    world.write(declare(a="secret: b"))
    assert crash(world, requests(lambda r, send: die() if r.method == "DELETE" else send(r))) == 77
    assert not world.apply().failed
    assert not inspect(world)


def test_a_plan_during_an_apply_says_who_is_at_work_and_calls_nothing_a_stray(world: World) -> None:
    world.write(declare("a"))
    seen = []

    def meanwhile(real: object, *args: object) -> object:
        if args[0] == Place("local", "a") and not seen:
            seen.append(World(world.folder, world.clock).plan())
        assert callable(real)
        return real(*args)

    assert not world.apply(wrap=stores(put=meanwhile)).failed
    (told, *rest) = seen[0].diagnostics
    assert (told.code, rest) == ("apply-running", [])
    assert "has been running since" in told.summary
    assert seen[0].unmanaged == ()


def test_after_a_crash_the_keys_of_open_intents_are_no_strays(world: World) -> None:
    world.write(declare("a"))
    assert crash(world, stores(put=nth(1, die))) == 77
    plan = world.plan()
    assert ([d.code for d in plan.diagnostics], plan.unmanaged) == (["recovery-pending"], ())


def asked() -> tuple[list[str], Wrapping]:
    """The requests that go out from now on."""
    sent: list[str] = []

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        sent.append(f"{request.method} {request.url.path}")
        response: httpx.Response = send(request)
        return response

    return sent, requests(answer)


@pytest.mark.parametrize("other", [{"at": "two"}, {"to": "elsewhere"}])
@pytest.mark.parametrize("options", [Options(), Options("refresh-only"), Options("destroy")])
def test_no_credential_is_shown_to_another_address(
    world: World, other: dict[str, str], options: Options
) -> None:
    world.write(config()).apply()
    sent, world.wrap = asked()
    world.write(config(**other))
    plan = world.plan(options)
    assert [d.code for d in plan.diagnostics] == ["moved-elsewhere"]
    with world.open() as ws, pytest.raises(PlanError, match="is now declared as"):
        sight_now(ws, Options(), whole=True)
    for verb in ("doctor", "audit", "generate sandbox", "calendar"):
        status = run(["-C", str(world.folder), *verb.split()], clock=world.clock, wrap=world.wrap)
        assert status == (0 if verb.startswith("generate") and "to" in other else 1), verb
        if "at" in other:
            assert sent == [], verb
    assert not (world.folder / "two").exists()
    assert not (world.folder / "elsewhere").exists()
    world.plan(ALLOWED)
    assert sent


def test_nor_where_only_an_interrupted_create_is_known_there(world: World) -> None:
    world.write(config())
    assert crash(world, stores(put=nth(1, die))) == 77
    sent, world.wrap = asked()
    world.write(config(at="two"))
    plan = world.plan()
    assert plan.failed
    assert "moved-elsewhere" in [d.code for d in plan.diagnostics]
    assert sent == []
