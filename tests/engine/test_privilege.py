"""Which direction each change of a plan has: from what the live key can do to what it will be able to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyform.engine.holding import Earlier, Holdings
from keyform.engine.options import DESTROY, REFRESH_ONLY, Options
from keyform.engine.plan import (
    CREATE,
    IMPORT,
    MOVES,
    NARROWS,
    REPLACE,
    ROLLBACK,
    ROTATE,
    UPDATE,
    WIDENS,
    Change,
)
from keyform.engine.planner import make_plan
from keyform.model import (
    DISABLED,
    EXPIRED,
    Credits,
    DesiredProject,
    Import,
    KeySpec,
    LiveProject,
    Move,
    Removal,
    Rotation,
)
from keyform.profile import Profile
from keyform.services.profiles import load_profile
from keyform.state import ProjectRecord
from tests.engine.scene import DAY, NOW, Scene, generation, live_of, record, wanted

FOUND = load_profile("embedded", Path())
assert FOUND is not None
EMBEDDED: Profile = FOUND
SPEC = KeySpec("secret", "live", None, "a", scopes=("events:write",))
MORE = replace(SPEC, scopes=("events:write", "projects:write"))
POWER = "powerful: can now create projects and change their allowed origins (projects:write)"
ONCE = "can no longer create projects and change their allowed origins (projects:write)"
PUBLIC = replace(SPEC, kind="public", project="web")
A, B = "https://a.example", "https://b.example"


def scene(want: KeySpec | None, have: KeySpec | None, live: KeySpec | None = None, **parts: Any) -> Scene:
    """A key that is declared as ``want``, recorded as ``have`` and live as ``live`` or else as recorded."""
    of_key = parts.pop("of_key", {})
    of_record = parts.pop("of_record", {})
    of_live = parts.pop("of_live", {})
    made = generation(spec=have) if have else None
    if made and (live or of_live):
        parts["live"] = {"toy": (replace(live_of(made), spec=live or have, **of_live),)}
    return Scene(
        (wanted(spec=want, **of_key),) if want else (),
        (record(current=made, **of_record),) if made else (),
        profile=EMBEDDED,
        **parts,
    )


def only(it: Scene, **options: Any) -> Change:
    (change,) = it.plan(**options).changes
    return change


def told(change: Change) -> tuple[str, str | None, tuple[str, ...]]:
    return change.action, change.privilege, change.privilege_words


def test_a_new_key_widens_from_nothing() -> None:
    change = only(scene(MORE, None))
    assert (change.action, change.privilege) == (CREATE, WIDENS)
    assert change.privilege_words[0] == POWER.replace("can now", "can")
    assert "can send events (events:write)" in change.privilege_words


def test_an_update_is_told_by_what_it_brings() -> None:
    assert told(only(scene(MORE, SPEC))) == (UPDATE, WIDENS, (POWER,))
    assert told(only(scene(SPEC, MORE))) == (UPDATE, NARROWS, (ONCE,))
    assert told(only(scene(replace(SPEC, name="b"), SPEC))) == (UPDATE, None, ())


def test_a_replacement_is_told_by_what_it_brings() -> None:
    test = replace(SPEC, environment="test")
    assert told(only(scene(SPEC, test))) == (REPLACE, WIDENS, ("powerful: was test, is live now",))
    assert told(only(scene(test, SPEC))) == (REPLACE, NARROWS, ("was live, is test now",))


def test_what_is_lost_is_lost_only_when_the_old_generation_has_ended() -> None:
    test = replace(SPEC, environment="test")
    change = only(scene(test, SPEC, of_key={"rotation": Rotation(overlap=2 * DAY)}))
    assert change.privilege == NARROWS
    lost, until = change.privilege_words
    assert lost == "was live, is test now"
    assert until == "but until id-a-1 has ended, that one still can: it lives on for 2d"
    gated = Rotation(overlap=2 * DAY, revoke_when_unused_for=DAY)
    change = only(scene(test, SPEC, of_key={"rotation": gated}))
    assert "for 2d, and until it has not been used for 1d" in change.privilege_words[-1]


def test_what_only_gains_needs_no_word_of_the_old_generation() -> None:
    test = replace(SPEC, environment="test")
    change = only(scene(SPEC, test, of_key={"rotation": Rotation(overlap=2 * DAY)}))
    assert (change.privilege, len(change.privilege_words)) == (WIDENS, 1)


def test_a_key_that_moves_to_another_service_can_do_other_things() -> None:
    change = only(replace(scene(SPEC, SPEC, of_key={"service": "other"}), services=("toy", "other")))
    assert (change.action, change.privilege) == (REPLACE, MOVES)
    assert "works at other, and no longer at toy" in change.privilege_words
    assert "can send events (events:write)" in change.privilege_words


# drift


def test_what_was_widened_outside_is_narrowed_again() -> None:
    it = scene(SPEC, SPEC, MORE)
    change = only(it)
    assert (change.drift, *told(change)) == (True, UPDATE, NARROWS, (ONCE,))
    assert told(only(it, mode=REFRESH_ONLY))[1:] == (WIDENS, (POWER,))


def test_what_was_narrowed_outside_is_widened_again() -> None:
    it = scene(MORE, MORE, SPEC)
    assert told(only(it)) == (UPDATE, WIDENS, (POWER,))
    assert told(only(it, mode=REFRESH_ONLY))[1:] == (NARROWS, (ONCE,))


def test_a_wider_declaration_of_what_somebody_widened_already_gives_nothing_more() -> None:
    change = only(scene(replace(MORE, name="b"), SPEC, MORE))
    assert (change.action, change.privilege) == (UPDATE, None)


def test_a_key_that_was_revoked_outside_comes_back_from_nothing() -> None:
    change = only(replace(scene(SPEC, SPEC), live={}))
    assert (change.action, change.privilege) == (CREATE, WIDENS)
    assert "works again: it was revoked or deleted at toy outside keyform" in change.privilege_words


def test_a_disabled_key_that_is_replaced_works_again() -> None:
    change = only(scene(replace(SPEC, environment="test"), SPEC, of_live={"status": DISABLED}))
    assert (change.action, change.privilege) == (REPLACE, MOVES)
    assert change.privilege_words == ("works again: id-a-1 is disabled at toy", "was live, is test now")


def test_use_of_credits_from_outside_changes_no_word() -> None:
    unkey = load_profile("unkey", Path())
    assert unkey is not None
    have = KeySpec(name="a", scopes=("x",))
    plans = [
        replace(
            scene(replace(have, credits=Credits(5)), have, replace(have, credits=Credits(left))),
            profile=unkey,
        ).plan()
        for left in (9, 3)
    ]
    (first,), (second,) = (plan.changes for plan in plans)
    assert first.seen == second.seen
    assert (first.privilege, first.privilege_words) == (second.privilege, second.privilege_words)


# ends


def policy(days: int | None) -> dict[str, Any]:
    return {"expires_in": days * DAY if days else None}


def ending(days: int) -> KeySpec:
    return replace(SPEC, expires_at=NOW + days * DAY)


def test_a_rotation_that_is_due_leaves_what_the_key_can_do() -> None:
    due = Rotation(every=5 * DAY, overlap=DAY)
    it = scene(SPEC, ending(20), of_key={"rotation": due, **policy(30)}, of_record=policy(30))
    assert told(only(it)) == (ROTATE, None, ())
    expired = scene(SPEC, ending(-1), of_key=policy(30), of_record=policy(30), of_live={"status": EXPIRED})
    assert told(only(expired)) == (ROTATE, None, ())


def test_another_span_changes_the_end_in_place() -> None:
    longer = only(scene(SPEC, ending(20), of_key=policy(90), of_record=policy(30)))
    assert (longer.action, longer.privilege) == (UPDATE, WIDENS)
    assert longer.privilege_words[0].startswith("lives longer: ends 2027-02-")
    for_ever = only(scene(SPEC, ending(20), of_key=policy(None), of_record=policy(30)))
    assert (for_ever.privilege, len(for_ever.privilege_words)) == (WIDENS, 1)
    assert for_ever.privilege_words[0].endswith("never expires")
    shorter = only(scene(SPEC, SPEC, of_key=policy(90)))
    assert (shorter.action, shorter.privilege) == (UPDATE, NARROWS)


def test_an_end_that_was_put_off_outside_is_a_widening_of_the_live_key() -> None:
    it = scene(SPEC, ending(20), ending(300), of_key=policy(30), of_record=policy(30))
    assert told(only(it))[1] == NARROWS
    assert told(only(it, mode=REFRESH_ONLY))[1] == WIDENS
    due = Rotation(every=5 * DAY)
    rotated = scene(
        SPEC, ending(20), ending(300), of_key={"rotation": due, **policy(30)}, of_record=policy(30)
    )
    assert told(only(rotated))[1:2] == (NARROWS,)


# what is revoked, forgotten, adopted and moved


def test_a_revocation_narrows() -> None:
    for change in (only(scene(None, SPEC)), only(scene(SPEC, SPEC), mode=DESTROY)):
        assert told(change)[1:] == (NARROWS, ("can no longer be used: it is revoked",))


def test_an_old_generation_that_ends_narrows_and_is_told_apart() -> None:
    old = replace(generation(number=1, spec=SPEC), revoke_at=NOW - DAY)
    it = Scene(
        (wanted(spec=SPEC),),
        (record(current=generation(number=2, spec=SPEC), deposed=(old,)),),
        profile=EMBEDDED,
    )
    assert told(only(it))[1:] == (NARROWS, ("its old generation 1 can no longer be used",))


def test_a_key_that_is_let_go_or_renamed_can_do_what_it_could() -> None:
    spared = scene(None, SPEC, desired={"removals": (Removal("keys.a", revoke=False),)})
    assert told(only(spared))[1:] == (None, ())
    moved = scene(None, SPEC, desired={"moves": (Move("keys.a", "keys.b"),)})
    named = wanted("b", spec=SPEC, places=generation().places)
    (change,) = replace(moved, keys=(named,)).plan().changes
    assert told(change)[1:] == (None, ())


@pytest.mark.parametrize(("live", "way"), [(SPEC, None), (MORE, NARROWS), (replace(SPEC, scopes=()), WIDENS)])
def test_an_import_is_told_by_what_it_changes_of_the_live_key(live: KeySpec, way: str | None) -> None:
    it = scene(SPEC, None, desired={"imports": (Import("keys.a", "theirs"),)})
    it = replace(it, live={"toy": (replace(live_of(generation()), id="theirs", spec=live),)})
    change = only(it)
    assert (change.action, change.privilege) == (IMPORT, way)


def test_what_keyform_alone_keeps_leaves_what_the_key_can_do() -> None:
    change = only(scene(SPEC, SPEC, of_key={"owner": "me", "tags": ("x",)}))
    assert told(change) == (UPDATE, None, ())


@pytest.mark.parametrize(
    ("old", "way"), [(ending(5), None), (replace(ending(5), scopes=MORE.scopes), WIDENS)]
)
def test_a_rollback_is_told_by_what_the_older_generation_can_do(old: KeySpec, way: str | None) -> None:
    deposed = replace(generation(number=1, spec=old), revoke_at=NOW + DAY)
    scene_of = Scene(
        (wanted(spec=replace(SPEC, scopes=old.scopes), expires_in=30 * DAY),),
        (record(current=generation(number=2, spec=ending(25)), deposed=(deposed,), expires_in=30 * DAY),),
        profile=EMBEDDED,
    )
    given = Holdings(earlier={("toy", deposed.id): Earlier(deposed.places)})
    sight = replace(scene_of.sight(), stores=given)
    (change,) = make_plan(sight, Options(rollback=("keys.a",))).changes
    assert (change.action, change.privilege) == (ROLLBACK, way)


# projects


def project(*origins: str) -> DesiredProject:
    return DesiredProject("projects.web", "toy", "web", origins)


@pytest.mark.parametrize(
    ("before", "after", "way", "words"),
    [
        ((A,), (A, B), WIDENS, (f"its keys can now be used from {B}",)),
        ((A, B), (A,), NARROWS, (f"its keys can no longer be used from {B}",)),
        (
            (A,),
            (B,),
            MOVES,
            (f"its keys can now be used from {B}", f"its keys can no longer be used from {A}"),
        ),
    ],
)
def test_the_origins_of_a_project_are_what_its_keys_can_be_used_from(
    before: tuple[str, ...], after: tuple[str, ...], way: str, words: tuple[str, ...]
) -> None:
    it = Scene(
        projects=(project(*after),),
        project_records=(ProjectRecord("projects.web", "toy", "web", before),),
        live_projects=(LiveProject("web", before),),
        profile=EMBEDDED,
    )
    assert told(only(it))[1:] == (way, words)
    outside = replace(it, live_projects=(LiveProject("web", after),))
    assert told(only(outside, mode=REFRESH_ONLY))[1:] == (way, words)


def test_a_key_without_origins_of_its_own_goes_by_those_of_its_project() -> None:
    own = replace(PUBLIC, allowed_origins=(A,))
    it = replace(
        scene(PUBLIC, own),
        projects=(project(A, B),),
        project_records=(ProjectRecord("projects.web", "toy", "web", (A, B)),),
        live_projects=(LiveProject("web", (A, B)),),
    )
    assert told(only(it)) == (UPDATE, WIDENS, (f"can now be used from {B}",))


def test_a_project_that_is_let_go_leaves_its_origins() -> None:
    it = Scene(
        project_records=(ProjectRecord("projects.web", "toy", "web", (A,)),),
        live_projects=(LiveProject("web", (A,)),),
        profile=EMBEDDED,
    )
    assert told(only(it))[1:] == (None, ())


def test_the_summary_counts_the_directions() -> None:
    it = Scene(
        (wanted("a", spec=SPEC), wanted("b", spec=replace(MORE, name="b"))),
        (
            record("b", current=generation("b", spec=replace(SPEC, name="b"))),
            record("c", current=generation("c", spec=replace(SPEC, name="c"))),
        ),
        profile=EMBEDDED,
        now=NOW + timedelta(seconds=1),
    )
    summary = it.plan().summary
    assert (summary["widens"], summary["narrows"], summary.get("moves")) == (2, 1, None)
    unchanged = scene(SPEC, SPEC).plan().summary
    assert not {"widens", "narrows", "moves"} & set(unchanged)
