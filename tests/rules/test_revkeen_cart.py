"""RevKeen's two cart keys: ensured, rotated with grace, seen by status, and never deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.engine.options import DESTROY, REFRESH_ONLY, Options
from keyform.engine.plan import END, FORGET, Plan, Step
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import Place
from tests.rules.conftest import Rule, Rules, code_of

CALLS = "RevKeen API reference, cart API keys"
NOWHERE = "no public statement was found"
BASE = "/v2/cart-api-keys"
DAY = 86400


def key(fields: str, name: str = "k") -> str:
    return f"  {name}: {{service: it, secret: {name}, {fields}}}\n"


PUBLISHABLE = key("kind: publishable", "page")
SECRET = key("kind: secret", "back")
BOTH = "keys:\n" + PUBLISHABLE + SECRET


def status(it: Rules) -> dict[str, Any]:
    shown: dict[str, Any] = it.vendor.call("GET", f"{BASE}/status").json()
    return shown


def works(it: Rules, secret: str) -> bool:
    """Whether the stand-in's own verification takes the secret."""
    return it.vendor.verify(secret).status_code == 200


def stored(it: Rules, address: str) -> str:
    secret = it.world.stored(address)
    assert secret is not None
    return secret.reveal()


RULES = {
    "one of two kinds": Rule(
        "keys:\n" + key("kind: private"), "unknown-kind", ("no kind `private`", "exactly one cart key"), CALLS
    ),
    "a kind is written": Rule("keys:\n" + key("owner: x"), "missing-kind", ("need a `kind`",), CALLS),
    "one key per kind": Rule(
        "keys:\n" + PUBLISHABLE + key("kind: publishable"),
        "second-key",
        ("exactly one key of kind `publishable`", "keys.page is it already"),
        CALLS,
    ),
    "no name": Rule(
        "keys:\n" + key("kind: secret, name: x"),
        "unsupported-field",
        ("take no `name`", "cannot be renamed"),
        CALLS,
    ),
    "the end of an old key waits for nobody": Rule(
        "keys:\n" + key("kind: secret, rotation: {every: 30d, overlap: 1d, revoke_when_unused_for: 1d}"),
        "unsupported-field",
        ("end by themselves", "grace_hours"),
        CALLS,
    ),
    **{
        f"no {field}": Rule(
            "keys:\n" + key(f"kind: secret, {field}: {declared}"),
            code,
            (f"take no `{field}`" if code == "unsupported-field" else "", "Nothing says"),
            NOWHERE,
        )
        for field, declared, code in (
            ("scopes", "['customers:read']", "unsupported-field"),
            ("environment", "live", "unsupported-field"),
            ("description", "x", "unsupported-field"),
            ("expires_in", "30d", "unsupported-field"),
            ("rate_limit", "{limit: 1, per: 1s}", "unsupported-field"),
            ("metadata", "{a: b}", "unsupported-field"),
        )
    },
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_breaks_a_rule_is_refused_before_anything_is_called(
    rules: Callable[..., Rules], rule: Rule
) -> None:
    rules("revkeen-cart").check(rule)


@pytest.mark.parametrize("mode", ["assisted", "contract"])
def test_no_other_way_to_manage_them_is_known(rules: Callable[..., Rules], mode: str) -> None:
    (told,) = rules("revkeen-cart").validate(BOTH, f"mode: {mode}")
    assert "take no `mode`" in told.summary
    assert NOWHERE in told.detail


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("POST", "/private/rotate", {}, (404, "not_found")),
        ("POST", "/secret/rotate", {"grace_hours": -1}, (422, "invalid_request")),
        ("POST", "/secret/rotate", {"grace_hours": "24"}, (422, "invalid_request")),
        ("POST", "/secret/rotate", {"name": "x"}, (422, "invalid_request")),
        ("DELETE", "/secret", None, (404, "not_found")),
        ("PATCH", "/secret", {"name": "x"}, (404, "not_found")),
    ],
)
def test_the_service_refuses_what_it_does_not_have(
    rules: Callable[..., Rules], method: str, path: str, body: object, answer: tuple[int, str]
) -> None:
    it = rules("revkeen-cart")
    it.vendor.call("POST", f"{BASE}/ensure", {})
    before = status(it)
    refused = it.vendor.call(method, BASE + path, body)
    assert (refused.status_code, code_of(refused)) == answer
    assert status(it) == before


def test_both_are_ensured_stored_and_then_left_alone(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    plan = it.plan(BOTH)
    assert [(change.action, change.backing) for change in plan.changes] == [("create", "documented")] * 2
    assert plan.diagnostics == ()
    it.apply(BOTH)
    shown = status(it)
    state = it.world.state().keys
    assert state["keys.page"].current.id == shown["publishable"]["id"]
    assert state["keys.back"].current.id == shown["secret"]["id"]
    assert stored(it, "keys.page").startswith("rk_cart_pk_live_")
    assert stored(it, "keys.back").startswith("rk_cart_sk_live_")
    assert works(it, stored(it, "keys.page"))
    assert works(it, stored(it, "keys.back"))
    assert it.plan(BOTH).empty
    assert it.world.plan(Options(mode=REFRESH_ONLY)).empty
    assert {live.spec.kind for live in it.live().values()} == {"publishable", "secret"}


def test_owner_place_and_protection_change_without_a_call(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(BOTH)
    before, secret = status(it), stored(it, "keys.back")
    edited = "keys:\n" + PUBLISHABLE + SECRET.replace("secret: back", "secret: elsewhere, owner: shop")
    outcome = it.apply(edited)
    (change,) = outcome.plan.changes
    assert (change.action, change.backing) == ("update", None)
    assert (status(it), stored(it, "keys.back")) == (before, secret)


def test_a_rotation_that_is_due_goes_by_rotate_with_grace(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    declared = "keys:\n" + PUBLISHABLE + key("kind: secret, rotation: {every: 30d, overlap: 90m}", "back")
    it.apply(declared)
    first, old = status(it), stored(it, "keys.back")
    it.clock.move(days=31)
    (change,) = it.plan(declared).changes
    assert (change.action, change.backing) == ("rotate", "documented")
    assert "lives on for 2h beside the new key" in change.reason  # whole hours, as `grace_hours` has them
    assert [step.op for step in change.steps] == ["mint"]
    it.apply(declared)
    second, new = status(it), stored(it, "keys.back")
    assert second["publishable"] == first["publishable"]
    assert second["secret"]["id"] != first["secret"]["id"]
    assert works(it, old)
    assert works(it, new)
    record = it.world.state().keys["keys.back"]
    assert [generation.id for generation in record.deposed] == [first["secret"]["id"]]
    assert it.plan(declared).empty
    it.clock.move(hours=2, seconds=1)
    assert not works(it, old)
    (change,) = it.plan(declared).changes
    assert (change.action, change.backing) == ("forget", None)
    assert "ended" in change.reason
    it.apply(declared)
    assert status(it)["secret"]["id"] == second["secret"]["id"]
    assert it.world.state().keys["keys.back"].deposed == ()
    assert works(it, stored(it, "keys.back"))
    assert it.plan(declared).empty


def test_asked_for_now_the_old_key_lives_for_the_hour_that_revkeen_gives_and_no_longer(
    rules: Callable[..., Rules],
) -> None:
    it = rules("revkeen-cart")
    declared = "keys:\n" + PUBLISHABLE + key("kind: secret, rotation: {every: 30d, overlap: 3d}", "back")
    it.apply(declared)
    first = stored(it, "keys.back")
    assert not it.world.apply(Options(rotate=("keys.back",))).failed
    second = stored(it, "keys.back")
    plan = it.world.plan(Options(rotate=("keys.back",), rotate_now=True))
    (change,) = plan.changes
    assert "lives on for 1h beside the new key, the least that RevKeen" in change.reason
    assert not it.world.apply(plan=load_plan(dump_plan(plan), "p")).failed
    kept = [g.revoke_at for g in it.world.state().keys["keys.back"].deposed]
    assert kept == [it.clock.now() + timedelta(days=3), it.clock.now() + timedelta(hours=1)]
    assert it.plan(declared).empty
    assert (works(it, first), works(it, second)) == (True, True)
    it.clock.move(hours=1, seconds=1)
    assert not works(it, second)
    assert [c.action for c in it.apply(declared).plan.changes] == ["forget"]
    assert works(it, stored(it, "keys.back"))


def test_what_revkeen_ends_by_itself_is_not_rolled_back_to(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply("keys:\n" + key("kind: secret, rotation: {every: 30d, overlap: 3d}", "back"))
    it.world.apply(Options(rotate=("keys.back",)))
    plan = it.world.plan(Options(rollback=("keys.back",)))
    (told,) = (d for d in plan.diagnostics if d.severity == "error")
    assert (told.code, "ends generation 1 by itself" in told.summary) == ("no-rollback", True)


def test_without_an_overlap_the_old_key_still_lives_for_an_hour(rules: Callable[..., Rules]) -> None:
    """Else nothing would work between the call and the store."""
    it = rules("revkeen-cart")
    declared = "keys:\n" + PUBLISHABLE + key("kind: secret, rotation: {every: 30d}", "back")
    it.apply(declared)
    old = stored(it, "keys.back")
    it.clock.move(days=31)
    outcome = it.apply(declared)
    assert "lives on for 1h" in outcome.plan.changes[0].reason
    assert works(it, old)


def errors(plan: Plan) -> dict[str, str]:
    return {d.code: f"{d.summary} {d.detail}" for d in plan.diagnostics if d.severity == "error"}


def warnings(plan: Plan) -> dict[str, str]:
    return {d.code: f"{d.summary} {d.detail}" for d in plan.diagnostics if d.severity == "warning"}


def test_one_that_exists_already_is_adopted_and_never_asked_for_again(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    made = it.vendor.call("POST", f"{BASE}/ensure", {}).json()["secret"]
    it.clock.move(days=3)
    plan = it.plan("keys:\n" + SECRET)
    told = errors(plan)["exists-already"]
    assert made["id"] in told
    assert f"imports: [{{key: back, id: {made['id']}}}]" in told
    assert CALLS in told
    with pytest.raises(PlanError):
        it.world.apply()
    adopted = f"imports: [{{key: back, id: {made['id']}}}]\nkeys:\n" + SECRET
    plan = it.plan(adopted)
    assert [change.action for change in plan.changes] == ["import"]
    assert "secret-unknown" in warnings(plan)
    it.apply(adopted)
    assert works(it, made["api_key"])
    assert it.plan(adopted).empty
    # The first rotation brings a secret that the store has, and whoever used the old one has time to move.
    rotated = adopted.replace("kind: secret", "kind: secret, rotation: {every: 2d, overlap: 1d}")
    outcome = it.apply(rotated)
    assert [change.action for change in outcome.plan.changes] == ["rotate"]
    assert works(it, stored(it, "keys.back"))
    assert works(it, made["api_key"])


def test_the_advice_to_adopt_can_be_pasted(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.vendor.call("POST", f"{BASE}/ensure", {})
    it.clock.move(days=3)
    each = "for_each: [publishable, secret], kind: '${each.key}', secret: 'cart/${each.key}'"
    declared = f"keys: {{cart: {{service: it, {each}}}}}\n"
    told = [d.detail for d in it.plan(declared).diagnostics if d.code == "exists-already"]
    pasted = [re.search(r"`imports: \[(\{.*?\})\]`", detail) for detail in told]
    entries = [found[1] for found in pasted if found]
    assert len(entries) == 2
    plan = it.plan(f"imports: [{', '.join(entries)}]\n{declared}")
    assert [change.action for change in plan.changes] == ["import", "import"]


def test_the_key_that_was_made_too_is_told_and_rotated_once_it_is_declared(
    rules: Callable[..., Rules],
) -> None:
    it = rules("revkeen-cart")
    plan = it.plan("keys:\n" + PUBLISHABLE)
    assert "makes its secret key as well, and nobody will have its secret" in warnings(plan)["made-too"]
    it.apply("keys:\n" + PUBLISHABLE)
    made = status(it)["secret"]["id"]
    it.clock.move(hours=7)
    assert it.plan("keys:\n" + PUBLISHABLE).empty
    (change,) = it.plan(BOTH).changes
    assert (change.action, change.key_id, change.backing) == ("create", made, "documented")
    assert "so it is rotated" in change.reason
    it.apply(BOTH)
    assert status(it)["secret"]["id"] != made
    assert works(it, stored(it, "keys.back"))
    assert it.plan(BOTH).empty


def test_one_that_was_rotated_elsewhere_is_told_and_left_alone(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(BOTH)
    it.clock.move(hours=1)
    theirs = it.vendor.call("POST", f"{BASE}/secret/rotate", {}).json()
    told = errors(it.plan(BOTH))["rotated-elsewhere"]
    assert theirs["id"] in told
    assert "keyform state rm keys.back" in told
    with pytest.raises(PlanError):
        it.world.apply()
    assert status(it)["secret"]["id"] == theirs["id"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("keys:\n" + PUBLISHABLE, "no longer declared"),
        ("keys:\n" + PUBLISHABLE + "removed: [{key: back, revoke: true}]\n", "no longer declared"),
    ],
)
def test_a_removed_key_is_not_forgotten_by_the_way(rules: Callable[..., Rules], body: str, says: str) -> None:
    it = rules("revkeen-cart")
    it.apply(BOTH)
    before = status(it)
    told = errors(it.plan(body))["not-revocable"]
    assert says in told
    assert "removed: [{key: back, revoke: false}]" in told
    assert f'"No call that deletes or revokes a cart key is documented." ({CALLS})' in told
    with pytest.raises(PlanError):
        it.world.apply()
    assert status(it) == before


def test_letting_go_is_said_and_done_without_a_call(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(BOTH)
    before, secret = status(it), stored(it, "keys.back")
    let_go = "keys:\n" + PUBLISHABLE + "removed: [{key: back, revoke: false}]\n"
    told = warnings(it.plan(let_go))["left-alive"]
    assert "goes on working" in told
    assert CALLS in told
    it.apply(let_go)
    assert status(it) == before
    assert works(it, secret)
    assert it.plan(let_go).empty


def test_a_change_of_kind_is_refused(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply("keys:\n" + SECRET)
    told = errors(it.plan("keys:\n" + SECRET.replace("kind: secret", "kind: publishable")))
    assert "kind" in told["not-revocable"]
    later = SECRET.replace("kind: secret", "kind: publishable, rotation: {every: 9d, overlap: 1d}")
    assert "not-revocable" in errors(it.plan("keys:\n" + later))


def test_destroy_says_that_they_live_on(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(BOTH)
    before, secret = status(it), stored(it, "keys.back")
    plan = it.world.plan(Options(mode=DESTROY))
    assert [change.action for change in plan.changes] == ["forget", "forget"]
    assert "no call that revokes a key is documented" in plan.changes[0].reason
    assert "left-alive" in warnings(plan)
    it.world.apply(Options(mode=DESTROY))
    assert it.world.state().keys == {}
    assert status(it) == before
    with it.world.open() as ws:
        kept = ws.store("local").get(Place("local", "back"))
    assert kept is not None
    assert kept.reveal() == secret
    assert works(it, secret)


def test_destroy_leaves_a_protected_one(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply("keys:\n" + PUBLISHABLE + key("kind: secret, protect: true", "back"))
    assert "protected" in errors(it.world.plan(Options(mode=DESTROY)))


@pytest.mark.parametrize("auth", ["x-api-key", "x-revkeen-key", "bearer"])
def test_the_credential_goes_in_any_of_the_three_headers(rules: Callable[..., Rules], auth: str) -> None:
    it = rules("revkeen-cart")
    assert it.declare(BOTH, f"auth: {auth}").apply().done == 2


ROTATED = "keys:\n" + PUBLISHABLE + key("kind: secret, rotation: {every: 30d, overlap: 1d}", "back")


def test_a_saved_rotation_does_what_it_says_or_nothing(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(ROTATED)
    it.clock.move(days=31)
    plan = load_plan(dump_plan(it.plan(ROTATED)), "p")
    assert not it.world.apply(plan=plan).failed
    assert works(it, stored(it, "keys.back"))
    it.clock.move(days=31)
    stale = it.plan(ROTATED)
    theirs = it.vendor.call("POST", f"{BASE}/secret/rotate", {}).json()["id"]
    with pytest.raises(PlanError):
        it.world.apply(plan=stale)
    assert status(it)["secret"]["id"] == theirs


def test_a_saved_plan_that_rotates_what_was_made_too(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply("keys:\n" + PUBLISHABLE)
    plan = load_plan(dump_plan(it.plan(BOTH)), "p")
    assert not it.world.apply(plan=plan).failed
    assert works(it, stored(it, "keys.back"))


def test_a_forged_plan_rotates_nothing_else_and_skips_no_revocation(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(ROTATED)
    it.clock.move(days=31)
    plan, before = it.plan(ROTATED), status(it)
    (change,) = plan.changes
    (mint,) = change.steps
    other = before["publishable"]["id"]
    current = it.world.state().keys["keys.back"].current
    for forged in (
        replace(change, steps=(replace(mint, key_id=other),)),
        replace(change, steps=(replace(mint, key_id=None),)),
        replace(change, action=FORGET, steps=(Step(END, "keys.back", "it", current.id),)),
        replace(change, action=FORGET, steps=(Step(END, "keys.back", "it", current.id, gone=True),)),
    ):
        with pytest.raises(PlanError) as told:
            it.world.apply(plan=replace(plan, changes=(forged,)))
        assert "plan-unfit" in {diagnostic.code for diagnostic in told.value.diagnostics}
    assert status(it) == before
