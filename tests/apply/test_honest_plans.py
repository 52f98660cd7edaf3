"""Saved plans of every kind are carried out as they were made, some hours later too, and none that shows
something else than it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyform.engine.options import DESTROY, NORMAL, REFRESH_ONLY, Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import KeySpec, Place, Secret, digest
from tests.apply.outside import declare
from tests.world import World

WEB = 'projects: {{web: {{service: sandbox, allowed_origins: ["https://{}.example"]}}}}'
OVERLAP = "secret: a, rotation: {every: 30d, overlap: 3d}"
GATED = "secret: a, rotation: {every: 30d, overlap: 3d, revoke_when_unused_for: 1d}"

Making = Callable[[World], Options | None]


def making(before: str, after: str | None = None, *meddling: Callable[[World], object]) -> Making:
    """A world where ``before`` was applied, ``after`` is declared, and somebody was ``meddling``."""

    def make(world: World) -> Options | None:
        assert not world.write(before).apply().failed
        if after is not None:
            world.write(after)
        for meddle in meddling:
            meddle(world)
        return None

    return make


def after(make: Making, text: str) -> Making:
    def then(world: World) -> Options | None:
        make(world)
        world.write(text)
        return None

    return then


def beside(text: str) -> str:
    """A configuration with a second service."""
    return text.replace("{sandbox: {type: embedded}}", "{sandbox: {type: embedded}, other: {type: embedded}}")


def elsewhere(text: str) -> str:
    """The same with its keys at the second service."""
    return beside(text).replace("service: sandbox", "service: other")


def asking(before: str, options: Options, *meddling: Callable[[World], object]) -> Making:
    def make(world: World) -> Options:
        making(before, None, *meddling)(world)
        return options

    return make


def passing(**span: float) -> Callable[[World], object]:
    return lambda world: world.clock.move(**span)


def rotate(world: World) -> None:
    assert not world.apply(Options(rotate=("keys.a",))).failed


def use(world: World) -> None:
    """Somebody uses every key."""
    for address, record in world.state().keys.items():
        secret = world.stored(address)
        assert secret is not None and world.works(secret, world.live()[record.current.id])


def at_the_service(**parts: Any) -> Callable[[World], object]:
    def change(world: World) -> None:
        for key in world.live().values():
            world.service().update(key, replace(key.spec, **parts), frozenset(parts))

    return change


def revoked(world: World) -> None:
    for key_id in world.live():
        world.service().revoke(key_id)


def lost(world: World) -> None:
    with world.open() as ws:
        store, place = ws.store("local"), Place("local", "a")
        store.delete(place, store.get(place))


def overwritten(world: World) -> None:
    with world.open() as ws:
        ws.store("local").put(Place("local", "a"), Secret("somebody else's"), {})


def adopted(world: World) -> None:
    world.write(declare())
    theirs = world.service().create(KeySpec("secret", "live", name="a", scopes=("events:read",)), "o/1").key
    world.write(
        declare(
            a="secret: a, scopes: [events:read], description: mine",
            rest=f"imports: [{{key: a, id: {theirs.id}}}]",
        )
    )


PLANS: dict[str, Making] = {
    "create": lambda world: world.write(declare("a", "b")) and None,
    "create with a span": lambda world: world.write(declare(a="secret: a, expires_in: 90d")) and None,
    "update": making(declare("a"), declare(a="secret: a, description: new")),
    "update of what keyform keeps": making(declare("a"), declare(a="secret: a, owner: me, tags: [x]")),
    "another span": making(
        declare(a="secret: a, expires_in: 90d"), declare(a="secret: a, expires_in: 30d"), passing(days=1)
    ),
    "replace": making(declare("a"), declare(a="secret: a, environment: test")),
    "replace into another place": making(declare("a"), declare(a="secret: b, environment: test")),
    "rotate as due": making(declare(a="secret: a, rotation: {every: 30d}"), None, passing(days=31)),
    "rotate with an overlap": making(declare(a=OVERLAP), None, passing(days=31)),
    "rotate before the end": making(
        declare(a="secret: a, expires_in: 30d, rotation: {before_expiry: 1d, overlap: 1h}"),
        None,
        passing(days=29, hours=22),
    ),
    "rotate what has expired": making(declare(a="secret: a, expires_in: 30d"), None, passing(days=31)),
    "rotate as asked": asking(declare("a", "b"), Options(rotate=("keys.a",), rotate_reason="a leak")),
    "rotate at once": asking(
        declare(a=OVERLAP),
        Options(rotate=("keys.a",), rotate_reason="a leak", rotate_now=True),
        rotate,
    ),
    "end the old one now": asking(declare(a=OVERLAP), Options(end_old=("keys.a",)), rotate),
    "end of an overlap": making(declare(a=OVERLAP), None, rotate, passing(days=4)),
    "rotate behind a gate": making(
        declare(a="secret: a, rotation: {every: 30d, revoke_when_unused_for: 1d}"),
        None,
        passing(days=31),
        use,
        passing(hours=2),
    ),
    "end behind a gate": making(declare(a=GATED), None, use, rotate, passing(days=9)),
    "revoke": making(declare("a", "b"), declare("b")),
    "revoke with an old one": after(making(declare(a=OVERLAP), None, rotate), declare("b")),
    "forget": making(declare("a"), declare(rest="removed: [{key: a, revoke: false}]")),
    "forget what is gone": making(declare("a"), declare(), revoked),
    "mint again": making(declare("a"), None, revoked),
    "import": lambda world: adopted(world),
    "move": making(declare("a"), declare("b", rest="moved: [{from: a, to: b}]")),
    "move and change": making(
        declare("a"), declare(b="secret: z, description: x", rest="moved: [{from: a, to: b}]")
    ),
    "move a secret": making(declare("a"), declare(a="secret: b")),
    "keep a secret twice": making(declare("a"), declare(a="secret: [a, b]")),
    "the secret is lost": making(declare("a"), None, lost),
    "lost at one place": making(declare(a="secret: [a, b]"), None, lost),
    "removed, and its secret lost": making(declare("a", "b"), declare("b"), lost),
    "removed, and its place taken": making(declare("a", "b"), declare("b"), overwritten),
    "drift": making(declare("a"), None, at_the_service(description="by hand")),
    "a project": making(declare("a"), declare("a", rest=WEB.format("a"))),
    "other origins": making(declare("a", rest=WEB.format("a")), declare("a", rest=WEB.format("b"))),
    "no project": making(declare("a", rest=WEB.format("a")), declare("a")),
    "roll back": asking(declare(a=OVERLAP), Options(rollback=("keys.a",), rollback_reason="too new"), rotate),
    "at another service": making(beside(declare("a")), elsewhere(declare("a"))),
    "at another service, and moved": making(
        beside(declare("a")), elsewhere(declare(b="secret: z", rest="moved: [{from: a, to: b}]"))
    ),
    "mint again what moves": making(declare("a"), declare("b", rest="moved: [{from: a, to: b}]"), revoked),
    "destroy": asking(declare("a", "b", rest=WEB.format("a")), Options(DESTROY)),
    "refresh": asking(declare("a"), Options(REFRESH_ONLY), at_the_service(description="by hand")),
    "a target": lambda world: world.write(declare("a", "b")) and Options(targets=("keys.a",)),
}


def saved(world: World, make: Making) -> Plan:
    plan = world.plan(make(world) or Options())
    assert plan.changes
    return load_plan(dump_plan(plan), "plan.json")


@pytest.mark.parametrize("hours", [0, 40])
@pytest.mark.parametrize("make", PLANS.values(), ids=PLANS)
def test_an_honest_plan_is_carried_out_however_late(world: World, make: Making, hours: int) -> None:
    world.clock.move(milliseconds=0.5)
    plan = saved(world, make)
    world.clock.move(hours=hours)
    overwrite = any(d.code == "foreign-value" for d in plan.diagnostics)
    outcome = world.apply(plan=plan, overwrite=overwrite)
    assert (outcome.done, outcome.failed, outcome.plan) == (len(plan.changes), (), plan)


@pytest.mark.parametrize("name", ["rotate behind a gate", "end behind a gate", "update", "rotate as due"])
def test_a_key_that_is_used_meanwhile_is_no_reason_to_refuse(world: World, name: str) -> None:
    plan = saved(world, PLANS[name])
    world.clock.move(hours=3)
    use(world)
    assert not world.apply(plan=plan).failed


def forged(plan: Plan, forge: Callable[[dict[str, Any]], object]) -> Plan:
    raw = json.loads(dump_plan(plan))
    forge(raw)
    raw.pop("digest")
    return load_plan(json.dumps({**raw, "digest": digest(raw)}).encode(), "p")


def each(**parts: Any) -> Callable[[dict[str, Any]], object]:
    def forge(raw: dict[str, Any]) -> None:
        for change in raw["changes"]:
            change.update(parts)

    return forge


def decoy(raw: dict[str, Any]) -> None:
    for change in raw["changes"]:
        change["key_id"] = "key_decoy"
        change.pop("seen", None)
        change.pop("held", None)
        change["diff"] = [{"path": "owner", "before": None, "after": "x"}]
        change["reason"] = "owner changed"


LIES = {
    "reason and diff": each(reason="only the owner", diff=[{"path": "owner", "before": None, "after": "me"}]),
    "left": each(left=[{"store": "local", "path": "a", "why": "it stays"}]),
    "key": each(key_id="key_other", backing="documented"),
    "mode": lambda raw: raw.update(mode="refresh-only"),
    "decoy": decoy,
    "not seen": lambda raw: [change.pop("seen", None) for change in raw["changes"]],
    "not held": lambda raw: [change.pop("held", None) for change in raw["changes"]],
    "unchanged": lambda raw: raw["summary"].update(unchanged=99),
    "asked for": lambda raw: raw.update(options={"rotate": ["keys.a"]}, targets=["keys.a"]),
}


@pytest.mark.parametrize("mode", [NORMAL, REFRESH_ONLY])
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_plan_that_shows_something_else_is_refused(
    world: World, lie: Callable[[dict[str, Any]], object], mode: str
) -> None:
    """One key is replaced or its drift recorded, another's secret moves, a third is revoked."""
    world.write(declare("a", "b", "c")).apply()
    world.write(declare(a="secret: a, environment: test", b="secret: z"))
    at_the_service(description="by hand")(world)
    plan = saved(world, lambda _: Options(mode))
    if mode == REFRESH_ONLY and lie in (LIES["mode"], LIES["not held"]):
        lie = LIES["decoy"]
    before = (world.state(), world.live())
    with pytest.raises(PlanError) as told:
        world.apply(plan=forged(plan, lie))
    assert {d.code for d in told.value.diagnostics} <= {"plan-unfit", "plan-stale"}
    assert (world.state(), world.live()) == before
    assert not world.apply(plan=plan).failed
