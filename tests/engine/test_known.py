"""One declared key that the state knows: unchanged, updated, replaced, rotated, minted again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.engine.sight import seen_digest
from keyform.model import (
    DISABLED,
    EXPIRED,
    REVOKED,
    SPEC_FIELDS,
    Credits,
    LiveKey,
    RateLimit,
    Refill,
    Rotation,
)
from tests.engine.scene import (
    BORN,
    DAY,
    IMMUTABLE,
    NOW,
    PROFILE,
    SPEC,
    Scene,
    codes,
    diff,
    errors,
    generation,
    live_of,
    ops,
    place,
    record,
    step,
    wanted,
)

OTHER: dict[str, Any] = {
    "kind": "read",
    "environment": "test",
    "project": "web",
    "name": "b",
    "description": "said",
    "scopes": ("read", "write"),
    "allowed_origins": ("https://a.example",),
    "expires_at": NOW + 30 * DAY,
    "rate_limit": RateLimit(5, 60),
    "credits": Credits(100, Refill(10, "daily")),
    "metadata": (("team", "x"),),
}


def test_other_covers_every_field() -> None:
    assert set(OTHER) == set(SPEC_FIELDS)


def test_nothing_differs() -> None:
    plan = Scene((wanted(),), (record(),)).plan()
    assert plan.empty
    assert (plan.unchanged, plan.diagnostics) == (1, ())


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_a_field_changed_in_the_configuration(field: str) -> None:
    want = wanted(spec=replace(SPEC, **{field: OTHER[field]}))
    change = Scene((want,), (record(),)).only()
    assert not change.drift
    assert f"{field} changed in the configuration" in change.reason
    assert change.key_id == "id-a-1"
    assert {path.partition(".")[0] for path in diff(change)} == {field}
    assert change.seen == seen_digest(live_of(generation()))
    if field in IMMUTABLE:
        assert (change.action, change.generation, ops(change)) == ("replace", 2, ["mint", "revoke"])
        assert "so a new key replaces it" in change.reason
        assert step(change, "mint").spec == want.spec
        assert step(change, "revoke").key_id == "id-a-1"
    else:
        assert (change.action, change.generation, ops(change)) == ("update", 1, ["update"])
        assert "in place" in change.reason
        assert (step(change, "update").fields, step(change, "update").spec) == ((field,), want.spec)


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_a_field_changed_at_the_service_is_drift(field: str) -> None:
    drifted = live_of(generation(), spec=replace(SPEC, **{field: OTHER[field]}))
    change = Scene((wanted(),), (record(),), live={"toy": (drifted,)}).only()
    assert change.drift
    assert f"{field} changed at toy outside keyform" in change.reason
    assert change.action == ("replace" if field in IMMUTABLE else "update")
    assert change.seen == seen_digest(drifted)


def test_drift_and_configuration_at_once_are_told_apart() -> None:
    drifted = live_of(generation(), spec=replace(SPEC, description="by hand"))
    want = wanted(spec=replace(SPEC, scopes=("write",)))
    change = Scene((want,), (record(),), live={"toy": (drifted,)}).only()
    assert change.drift
    assert "description changed at toy outside keyform" in change.reason
    assert "scopes changed in the configuration" in change.reason
    assert diff(change) == {"description": ("by hand", None), "scopes": (["read"], ["write"])}


def test_drift_that_happens_to_be_what_is_now_declared_is_no_change() -> None:
    drifted = live_of(generation(), spec=replace(SPEC, description="same"))
    want = wanted(spec=replace(SPEC, description="same"))
    assert Scene((want,), (record(),), live={"toy": (drifted,)}).plan().empty


# Credits are spent by use

FEW = Credits(100, Refill(10, "daily"))


def spent(recorded: Credits | None, live: Credits | None, declared: Credits | None) -> Scene:
    current = generation(spec=replace(SPEC, credits=recorded))
    return Scene(
        (wanted(spec=replace(SPEC, credits=declared)),),
        (record(current=current),),
        live={"toy": (live_of(current, spec=replace(SPEC, credits=live)),)},
    )


@pytest.mark.parametrize("left", [0, 99, 100, 5000])
def test_credits_spent_or_refilled_are_no_change(left: int) -> None:
    scene = spent(FEW, replace(FEW, remaining=left), FEW)
    assert scene.plan().empty
    assert scene.plan(mode="refresh-only").empty


def test_what_is_left_does_not_make_a_plan_stale() -> None:
    before, after = (spent(FEW, replace(FEW, remaining=left), replace(FEW, remaining=500)) for left in (9, 8))
    assert before.only().seen == after.only().seen
    one, other = (LiveKey("k", replace(SPEC, credits=replace(FEW, remaining=left))) for left in (9, 8))
    assert seen_digest(one) == seen_digest(other)
    assert seen_digest(one) != seen_digest(replace(one, spec=replace(SPEC, credits=None)))


@pytest.mark.parametrize(
    ("live", "declared", "differs", "drift"),
    [
        (FEW, replace(FEW, remaining=500), {"credits.remaining": (100, 500)}, False),
        (FEW, replace(FEW, refill=Refill(20, "daily")), {"credits.refill.amount": (10, 20)}, False),
        (
            FEW,
            replace(FEW, refill=None),
            {"credits.refill.amount": (10, None), "credits.refill.interval": ("daily", None)},
            False,
        ),
        (
            FEW,
            None,
            {
                "credits.remaining": (100, None),
                "credits.refill.amount": (10, None),
                "credits.refill.interval": ("daily", None),
            },
            False,
        ),
        (replace(FEW, refill=Refill(99, "daily")), FEW, {"credits.refill.amount": (99, 10)}, True),
        (
            None,
            FEW,
            {
                "credits.remaining": (None, 100),
                "credits.refill.amount": (None, 10),
                "credits.refill.interval": (None, "daily"),
            },
            True,
        ),
    ],
)
@pytest.mark.parametrize("left", [100, 3])
def test_credits_that_change(
    left: int, live: Credits | None, declared: Credits | None, differs: dict[str, Any], drift: bool
) -> None:
    change = spent(FEW, live and replace(live, remaining=left), declared).only()
    assert (change.action, change.drift, diff(change)) == ("update", drift, differs)
    assert "keys take new credits in place" in change.reason
    assert ("outside keyform" in change.reason) is drift


def test_taking_credits_away_is_said_aloud() -> None:
    plan = spent(FEW, FEW, None).plan()
    (told,) = plan.diagnostics
    assert (told.code, told.severity, told.address) == ("credits-removed", "warning", "keys.a")
    assert "without end" in told.summary
    assert codes(spent(FEW, FEW, replace(FEW, remaining=5)).plan()) == []


def test_entries_of_metadata_are_explained_one_by_one() -> None:
    old = generation(spec=replace(SPEC, metadata=(("a", "1"), ("b.c", "2"))))
    want = wanted(spec=replace(SPEC, metadata=(("b.c", "3"), ("d", "4"))))
    change = Scene((want,), (record(current=old),)).only()
    assert diff(change) == {
        "metadata.a": ("1", None),
        "metadata.b.c": ("2", "3"),
        "metadata.d": (None, "4"),
    }


def test_the_order_of_a_set_never_shows() -> None:
    """Specs hold sorted tuples; state files may not, and are read sorted."""
    from keyform.state import State, dump_state, load_state

    spec = replace(SPEC, scopes=("a", "b"), allowed_origins=("https://a.example", "https://b.example"))
    state = State("x", 1, None, {"keys.a": record(current=generation(spec=spec))})
    text = dump_state(state).decode().replace('["a", "b"]', '["b", "a"]')
    loaded = load_state(text.encode(), "test").keys["keys.a"]
    assert Scene((wanted(spec=spec),), (loaded,)).plan().empty


# expiry


def spanned(days: int | None, recorded: int | None, ends: Any, **live: Any) -> Scene:
    current = generation(spec=replace(SPEC, expires_at=ends))
    span = timedelta(days=days) if days else None
    old = timedelta(days=recorded) if recorded else None
    return Scene((wanted(expires_in=span),), (record(current=current, expires_in=old),), **live)


def test_an_unchanged_span_never_shows_even_late_in_a_life() -> None:
    scene = spanned(90, 90, BORN + 90 * DAY)
    for days in (0, 1, 50, 79):
        scene.now = NOW + days * DAY
        assert scene.plan().empty, days


def test_a_changed_span_counts_from_birth() -> None:
    change = spanned(30, 90, BORN + 90 * DAY).only()
    assert (change.action, ops(change)) == ("update", ["update"])
    assert "expires_in changed from 90d to 30d" in change.reason
    assert "in place" in change.reason
    assert step(change, "update").spec.expires_at == BORN + 30 * DAY
    assert step(change, "update").terms.expires_in == 30 * DAY
    assert diff(change)["expires_in"] == ("90d", "30d")


def test_a_changed_span_that_the_key_has_outlived_rotates_it() -> None:
    change = spanned(5, 90, BORN + 90 * DAY).only()
    assert (change.action, ops(change)) == ("rotate", ["mint", "revoke"])
    assert "expires_in changed from 90d to 5d, which this key has outlived already" in change.reason
    assert step(change, "mint").spec.expires_at is None
    assert step(change, "mint").terms.expires_in == 5 * DAY


def test_a_changed_span_where_expiry_is_fixed_needs_a_new_key() -> None:
    scene = spanned(
        30, 90, BORN + 90 * DAY, profile=replace(PROFILE, mutable=PROFILE.mutable - {"expires_at"})
    )
    change = scene.only()
    assert (change.action, ops(change)) == ("replace", ["mint", "revoke"])


def test_a_span_that_becomes_never() -> None:
    change = spanned(None, 90, BORN + 90 * DAY).only()
    assert "expires_in changed from 90d to never" in change.reason
    assert step(change, "update").spec.expires_at is None
    assert step(change, "update").terms.expires_in is None


def test_never_that_becomes_a_span() -> None:
    change = spanned(90, None, None).only()
    assert "expires_in changed from never to 90d" in change.reason
    assert step(change, "update").spec.expires_at == BORN + 90 * DAY


def test_a_span_that_becomes_a_moment_does_not_say_never() -> None:
    current = generation(spec=replace(SPEC, expires_at=BORN + 90 * DAY))
    want = wanted(spec=replace(SPEC, expires_at=NOW + 5 * DAY))
    change = Scene((want,), (record(current=current, expires_in=90 * DAY),)).only()
    assert "never" not in change.reason
    assert diff(change)["expires_at"] == ("2027-02-08T12:00:00Z", "2026-11-25T12:00:00Z")


def test_a_moment_that_becomes_a_span_does_not_say_never() -> None:
    change = spanned(90, None, NOW + 5 * DAY).only()
    assert "never" not in change.reason
    assert step(change, "update").spec.expires_at == BORN + 90 * DAY


def test_expiry_taken_away_at_the_service_is_drift() -> None:
    scene = spanned(90, 90, BORN + 90 * DAY, live={"toy": (live_of(generation()),)})
    change = scene.only()
    assert change.drift
    assert step(change, "update").spec.expires_at == BORN + 90 * DAY


@pytest.mark.parametrize(
    "live",
    [
        {"spec": replace(SPEC, expires_at=NOW - DAY), "status": EXPIRED},
        {"spec": replace(SPEC, expires_at=NOW + DAY), "status": EXPIRED},
        {"status": EXPIRED},
    ],
)
def test_an_expired_key_is_rotated_without_overlap(live: dict[str, Any]) -> None:
    want = wanted(expires_in=10 * DAY, rotation=Rotation(overlap=3 * DAY))
    current = generation(spec=live.get("spec", SPEC))
    scene = Scene(
        (want,), (record(current=current, expires_in=10 * DAY),), live={"toy": (live_of(current, **live),)}
    )
    change = scene.only()
    assert (change.action, ops(change)) == ("rotate", ["mint", "revoke"])
    assert "expired" in change.reason
    assert step(change, "mint").overlap == timedelta(0)


@pytest.mark.parametrize("lists", [True, False])
def test_this_machines_clock_tells_expiry_only_where_there_is_no_listing(lists: bool) -> None:
    current = generation(spec=replace(SPEC, expires_at=NOW - DAY))
    profile = replace(PROFILE, lists=lists)
    plan = Scene(
        (wanted(expires_in=9 * DAY),), (record(current=current, expires_in=9 * DAY),), profile=profile
    ).plan()
    assert [c.action for c in plan.changes] == ([] if lists else ["rotate"])


# rotation


@pytest.mark.parametrize(("age", "due"), [(9, False), (10, True), (11, True)])
def test_rotation_by_age(age: int, due: bool) -> None:
    want = wanted(rotation=Rotation(every=10 * DAY))
    current = generation(created_at=NOW - age * DAY)
    plan = Scene((want,), (record(current=current),)).plan()
    assert [c.action for c in plan.changes] == (["rotate"] if due else [])
    if due:
        assert "rotation is due: every 10d" in plan.changes[0].reason


@pytest.mark.parametrize(("left", "due"), [(8, False), (7, True), (1, True)])
def test_rotation_before_expiry(left: int, due: bool) -> None:
    want = wanted(expires_in=90 * DAY, rotation=Rotation(before_expiry=7 * DAY))
    current = generation(spec=replace(SPEC, expires_at=NOW + left * DAY))
    plan = Scene((want,), (record(current=current, expires_in=90 * DAY),)).plan()
    assert [c.action for c in plan.changes] == (["rotate"] if due else [])


def test_overlap_leaves_the_old_key_for_later() -> None:
    want = wanted(spec=replace(SPEC, environment="test"), rotation=Rotation(overlap=3 * DAY))
    change = Scene((want,), (record(),)).only()
    assert (change.action, ops(change)) == ("replace", ["mint"])
    assert step(change, "mint").overlap == 3 * DAY
    assert "id-a-1 lives on for 3d beside the new key" in change.reason


def test_rotation_and_a_fixed_field_at_once_are_one_replacement() -> None:
    want = wanted(spec=replace(SPEC, environment="test"), rotation=Rotation(every=DAY))
    change = Scene((want,), (record(),)).only()
    assert change.action == "replace"
    assert "rotation is due" in change.reason
    assert "cannot change environment" in change.reason


# revoked or deleted behind keyform's back


@pytest.mark.parametrize("live", [(), (live_of(generation(), status=REVOKED),)], ids=["deleted", "revoked"])
def test_a_key_that_is_gone_is_minted_again(live: Any) -> None:
    change = Scene((wanted(),), (record(),), live={"toy": live}).only()
    assert (change.action, change.drift, change.generation) == ("create", True, 2)
    assert "id-a-1 was revoked or deleted at toy outside keyform" in change.reason
    assert ops(change) == ["mint"]
    assert step(change, "mint").gone


def test_a_key_that_is_gone_leaves_no_value_at_a_place_it_no_longer_has() -> None:
    change = Scene((wanted(places=(place("new"),)),), (record(),), live={"toy": ()}).only()
    assert ops(change) == ["mint", "revoke"]
    assert step(change, "revoke").places == (place("a"),)
    assert step(change, "revoke").key_id == "id-a-1"


# service changed


def test_another_service_means_another_key() -> None:
    change = Scene((wanted(service="new"),), (record(),), services=("toy", "new")).only()
    assert (change.action, ops(change)) == ("replace", ["mint", "revoke"])
    assert "service changed from toy to new" in change.reason
    assert (step(change, "mint").service, step(change, "revoke").service) == ("new", "toy")
    assert diff(change) == {"service": ("toy", "new")}


def test_another_service_while_the_old_one_is_no_longer_declared_is_refused() -> None:
    plan = Scene((wanted(service="new"),), (record(),), services=("new",)).plan()
    assert errors(plan) == ["service-not-declared"]
    assert "toy" in plan.diagnostics[0].summary


def test_another_service_while_the_old_one_cannot_be_read_whole_is_refused() -> None:
    plan = Scene((wanted(service="new"),), (record(),), services=("toy", "new"), incomplete=("toy",)).plan()
    assert errors(plan) == ["incomplete-listing"]


def test_another_service_with_the_very_key_keyform_uses_is_refused() -> None:
    scene = Scene((wanted(service="new"),), (record(),), services=("toy", "new"), own_key="id-a-1")
    assert "own-credential" in errors(scene.plan())


# the secret's place and what keyform keeps


def test_a_new_place_moves_the_secret() -> None:
    change = Scene((wanted(places=(place("new"),)),), (record(),)).only()
    assert (change.action, ops(change)) == ("update", ["relocate", "erase"])
    assert (step(change, "relocate").sources, step(change, "relocate").places) == (
        (place("a"),),
        (place("new"),),
    )
    assert step(change, "erase").places == (place("a"),)
    assert change.reason == "its secret moves from local:a to local:new"
    assert diff(change) == {"secret": (["local:a"], ["local:new"])}
    assert change.backing is None


def test_what_a_move_left_behind_is_erased() -> None:
    moved = record(current=generation(places=(place("new"),), leftovers=(place("a"), place("b"))))
    change = Scene((wanted(places=(place("new"),)),), (moved,)).only()
    assert (change.action, ops(change)) == ("update", ["erase"])
    assert step(change, "erase").places == (place("a"), place("b"))
    assert change.reason == "what is left of its secret at local:a, local:b is erased"


def test_a_secret_that_moves_back_is_not_erased_where_it_goes() -> None:
    moved = record(current=generation(places=(place("new"),), leftovers=(place("a"), place("b"))))
    change = Scene((wanted(places=(place("a"),)),), (moved,)).only()
    assert ops(change) == ["relocate", "erase"]
    assert step(change, "erase").places == (place("new"), place("b"))


def test_a_replacement_erases_what_a_move_left_behind() -> None:
    moved = record(current=generation(places=(place("new"),), leftovers=(place("a"),)))
    want = wanted(spec=replace(SPEC, environment="test"), places=(place("new"),))
    change = Scene((want,), (moved,)).only()
    assert step(change, "revoke").places == (place("a"),)


def test_an_adopted_key_has_no_secret_to_move() -> None:
    adopted = record(current=generation(fingerprint=None))
    change = Scene((wanted(places=(place("new"),)),), (adopted,)).only()
    assert step(change, "relocate").sources == ()
    assert "moves" not in change.reason


def test_on_revoke_alone_is_recorded() -> None:
    change = Scene((wanted(places=(place("a", on_revoke="keep"),)),), (record(),)).only()
    assert step(change, "relocate").sources == ()
    assert diff(change) == {"secret": (["local:a"], ["local:a (kept when revoked)"])}


def test_a_replacement_shows_where_its_secret_goes() -> None:
    want = wanted(spec=replace(SPEC, environment="test"), places=(place("new"),), owner="team")
    change = Scene((want,), (record(),)).only()
    assert change.action == "replace"
    assert diff(change)["secret"] == (["local:a"], ["local:new"])
    assert diff(change)["owner"] == (None, "team")
    assert step(change, "revoke").places == (place("a"),)


@pytest.mark.parametrize(
    ("parts", "path"),
    [({"owner": "team"}, "owner"), ({"tags": ("x",)}, "tags"), ({"protect": True}, "protect")],
)
def test_what_only_keyform_keeps_needs_no_call(parts: dict[str, Any], path: str) -> None:
    change = Scene((wanted(**parts),), (record(),)).only()
    assert (change.action, ops(change), change.backing) == ("update", ["record"], None)
    assert "no call" in change.reason
    assert list(diff(change)) == [path]


def test_everything_in_place_at_once_is_one_change() -> None:
    want = wanted(spec=replace(SPEC, name="b"), places=(place("new"),), owner="team")
    change = Scene((want,), (record(),)).only()
    assert ops(change) == ["update", "relocate", "erase"]
    assert step(change, "update").terms.owner == "team"


# listings that do not tell everything


def test_a_key_missing_from_an_incomplete_listing_is_left_alone() -> None:
    scene = Scene((wanted(spec=replace(SPEC, name="b")),), (record(),), live={"toy": ()}, incomplete=("toy",))
    plan = scene.plan()
    assert plan.empty
    assert codes(plan) == ["incomplete-listing"]
    assert not plan.failed


def test_a_key_shown_by_an_incomplete_listing_may_be_updated_and_not_replaced() -> None:
    scene = Scene((wanted(spec=replace(SPEC, name="b")),), (record(),), incomplete=("toy",))
    assert scene.only().action == "update"
    scene.keys = (wanted(spec=replace(SPEC, environment="test")),)
    assert errors(scene.plan()) == ["incomplete-listing"]


@pytest.mark.parametrize("field", SPEC_FIELDS)
def test_a_field_that_the_listing_does_not_show_is_taken_from_the_record(field: str) -> None:
    profile = replace(PROFILE, shown=PROFILE.shown - {field})
    spec = replace(SPEC, **{field: OTHER[field]})
    current = generation(spec=spec)
    bare = live_of(current, spec=replace(spec, **{field: getattr(type(SPEC)(), field)}))
    scene = Scene((wanted(spec=spec),), (record(current=current),), live={"toy": (bare,)}, profile=profile)
    assert scene.plan().empty


def test_a_service_without_a_listing_goes_by_the_record() -> None:
    scene = Scene((wanted(),), (record(),), live={"toy": ()}, profile=replace(PROFILE, lists=False))
    assert scene.plan().empty


def test_a_young_key_may_be_missing_from_a_lagging_listing() -> None:
    profile = replace(PROFILE, list_lag=timedelta(minutes=5))
    scene = Scene((wanted(),), (record(),), live={"toy": ()}, profile=profile)
    scene.now = BORN + timedelta(minutes=4)
    assert scene.plan().empty
    scene.now = BORN + timedelta(minutes=5)
    assert scene.only().action == "create"


# protect and the very credential


def test_protect_refuses_a_replacement_and_nothing_less() -> None:
    want = wanted(spec=replace(SPEC, environment="test"), protect=True)
    assert errors(Scene((want,), (record(protect=True),)).plan()) == ["protected"]
    assert errors(Scene((want,), (record(),)).plan()) == ["protected"]
    want = wanted(spec=replace(SPEC, name="b"), protect=True)
    assert Scene((want,), (record(protect=True),)).only().action == "update"


@pytest.mark.parametrize(
    "spec", [replace(SPEC, name="b"), replace(SPEC, environment="test")], ids=["update", "replace"]
)
def test_the_very_credential_is_not_touched(spec: Any) -> None:
    plan = Scene((wanted(spec=spec),), (record(),), own_key="id-a-1").plan()
    assert errors(plan) == ["own-credential"]


def test_the_very_credential_may_stay_as_it_is() -> None:
    assert Scene((wanted(),), (record(),), own_key="id-a-1").plan().empty


# an end that the service granted, and nobody asked for


@pytest.mark.parametrize("recorded", [None, BORN + 3650 * DAY])
def test_a_recorded_end_beyond_the_span_is_not_taken_for_the_policys(recorded: Any) -> None:
    """Older states hold such ends: what was granted was not compared then with what was asked for."""
    change = spanned(30, 30, recorded).only()
    assert step(change, "update").spec.expires_at == BORN + 30 * DAY


def test_an_adopted_key_keeps_the_end_that_it_was_given() -> None:
    current = generation(
        spec=replace(SPEC, expires_at=NOW + 30 * DAY), marker=None, created_at=BORN - 900 * DAY
    )
    assert Scene((wanted(expires_in=30 * DAY),), (record(current=current, expires_in=30 * DAY),)).plan().empty


def test_a_meant_end_that_has_passed_ends_no_working_key() -> None:
    current = generation(spec=replace(SPEC, expires_at=NOW - DAY))
    live = live_of(current, spec=replace(SPEC, expires_at=None))
    want = wanted(expires_in=9 * DAY, rotation=Rotation(overlap=DAY))
    change = Scene((want,), (record(current=current, expires_in=9 * DAY),), {"toy": (live,)}).only()
    assert (change.action, ops(change)) == ("rotate", ["mint"])
    assert "id-a-1 was to expire on 2026-11-19T12:00:00Z" in change.reason


def test_what_was_granted_otherwise_is_told_as_the_services_doing() -> None:
    current = generation(otherwise=("scopes",))
    live = live_of(current, spec=replace(SPEC, scopes=("read", "write")))
    change = Scene((wanted(),), (record(current=current),), {"toy": (live,)}).only()
    assert "toy granted scopes otherwise than keyform last asked for" in change.reason


def test_a_disabled_key_is_not_followed_by_another_because_its_end_was_not_granted() -> None:
    current = generation(spec=replace(SPEC, expires_at=NOW - DAY))
    live = live_of(current, spec=replace(SPEC, expires_at=None), status=DISABLED)
    change = Scene(
        (wanted(expires_in=9 * DAY),), (record(current=current, expires_in=9 * DAY),), {"toy": (live,)}
    )
    assert change.only().action == "update"


def test_a_rollback_to_a_key_of_a_longer_span_is_left_in_peace() -> None:
    current = generation(spec=replace(SPEC, expires_at=BORN + 90 * DAY))
    state = record(current=current, expires_in=30 * DAY, rolled_back_at=NOW)
    assert Scene((wanted(expires_in=30 * DAY),), (state,)).plan().empty
