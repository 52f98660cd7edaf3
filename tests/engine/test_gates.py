"""When an old generation ends: overlap, gate, and the last day of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keyform.engine.gates import ago
from keyform.engine.plan import Plan
from keyform.engine.vetting import vet
from keyform.model import Rotation
from tests.engine.scene import (
    DAY,
    NOW,
    PROFILE,
    Scene,
    codes,
    errors,
    generation,
    live_of,
    ops,
    record,
    wanted,
)

MINUTE = timedelta(minutes=1)
GATE = Rotation(every=60 * DAY, overlap=DAY, revoke_when_unused_for=7 * DAY)
LIMIT = replace(GATE, revoke_within=14 * DAY)


def scene(rotation: Rotation, *, replaced: timedelta, used: timedelta | None, **profile: object) -> Scene:
    """Generation 1 was replaced and used that long ago; its overlap of a day is over."""
    old = generation(number=1, revoke_at=NOW - replaced + DAY, replaced_at=NOW - replaced)
    current = generation(number=2)
    seen = NOW - used if used is not None else None
    return Scene(
        (wanted(rotation=rotation),),
        (record(current=current, deposed=(old,)),),
        live={"toy": (live_of(old, last_used_at=seen), live_of(current))},
        profile=replace(PROFILE, **profile),
    )


def test_one_in_use_is_held_and_the_plan_says_when_it_was_used() -> None:
    plan = scene(GATE, replaced=3 * DAY, used=3 * MINUTE).plan()
    assert plan.changes == ()
    (told,) = plan.diagnostics
    assert (told.severity, told.code, told.address) == ("note", "held", "keys.a")
    assert told.summary == (
        "keys.a generation 1 is held: used 3 minutes ago (2026-11-20T11:57:00Z), and it must be unused for 7d"
    )
    assert "`rotation.revoke_within` would set a time" in told.detail


def test_the_lag_of_last_used_is_allowed_for() -> None:
    lag = {"last_used_lag": 5 * MINUTE}
    assert codes(scene(GATE, replaced=9 * DAY, used=7 * DAY + 4 * MINUTE, **lag).plan()) == ["held"]
    over = scene(GATE, replaced=9 * DAY, used=7 * DAY + 5 * MINUTE, **lag).plan()
    assert [change.action for change in over.changes] == ["revoke"]


def test_held_it_is_said_when_it_ends_at_the_latest() -> None:
    (told,) = scene(LIMIT, replaced=3 * DAY, used=3 * MINUTE).plan().diagnostics
    assert "and 2026-12-01T12:00:00Z at the latest, used or not (`revoke_within`)" in told.detail


def test_when_it_was_held_for_long_enough_it_ends_used_or_not() -> None:
    (change,) = scene(LIMIT, replaced=14 * DAY, used=3 * MINUTE).plan().changes
    assert (change.action, change.key_id) == ("revoke", "id-a-1")
    assert change.reason == (
        "the overlap of generation 1 ended 2026-11-07T12:00:00Z; revoked although used 3 minutes ago "
        "(2026-11-20T11:57:00Z): `revoke_within` 14d is over"
    )


def test_one_that_nobody_uses_ends_without_a_word_of_it() -> None:
    (change,) = scene(LIMIT, replaced=14 * DAY, used=8 * DAY).plan().changes
    assert change.reason == "the overlap of generation 1 ended 2026-11-07T12:00:00Z"


def test_a_state_that_does_not_say_when_it_was_replaced() -> None:
    """Then the minting of its successor is that moment: 10 days ago in these scenes."""
    old = generation(number=1, revoke_at=NOW - DAY)
    current = generation(number=2)
    live = (live_of(old, last_used_at=NOW), live_of(current))
    records = (record(current=current, deposed=(old,)),)
    for span, action in ((10 * DAY, ["revoke"]), (11 * DAY, [])):
        want = wanted(rotation=replace(LIMIT, revoke_within=span))
        plan = Scene((want,), records, live={"toy": live}).plan()
        assert [change.action for change in plan.changes] == action


def without_overlap(used: timedelta) -> Scene:
    current = generation()
    want = wanted(rotation=Rotation(every=5 * DAY, revoke_when_unused_for=DAY))
    live = {"toy": (live_of(current, last_used_at=NOW - used),)}
    return Scene((want,), (record(current=current),), live=live)


def test_without_an_overlap_the_gate_alone_keeps_the_old_one() -> None:
    change = without_overlap(MINUTE).only()
    assert ops(change) == ["mint"]
    assert change.reason.endswith(
        "id-a-1 lives on beside the new key: used 1 minute ago (2026-11-20T11:59:00Z), and it must be unused "
        "for 1d"
    )
    assert ops(without_overlap(2 * DAY).only()) == ["mint", "revoke"]


def test_a_saved_plan_of_either_is_one_that_planning_could_make() -> None:
    for used in (MINUTE, 2 * DAY):
        assert list(vet(without_overlap(used).plan(), without_overlap(used).sight(), None)) == []


def unshown(scene: Scene) -> Plan:
    return replace(scene, profile=replace(PROFILE, shows_last_used=False)).plan()


def test_where_no_last_use_is_shown_the_plan_says_once_that_time_decides() -> None:
    rotation = Rotation(every=5 * DAY, overlap=DAY)
    two = Scene(tuple(wanted(n, rotation=rotation) for n in "ab"), (record("a"), record("b")))
    plan = unshown(two)
    assert [c.action for c in plan.changes] == ["rotate", "rotate"]
    (told,) = plan.diagnostics
    assert (told.severity, told.code) == ("note", "time-decides")
    assert told.summary.startswith("toy does not show when a key was last used")
    assert codes(two.plan()) == []


def test_it_is_said_of_an_overlap_that_is_over_too_and_of_nothing_else() -> None:
    over = scene(Rotation(every=60 * DAY, overlap=DAY), replaced=3 * DAY, used=None)
    assert codes(unshown(over)) == ["time-decides"]
    for quiet in (
        Scene((wanted(rotation=Rotation(every=5 * DAY)),), (record(),)),
        Scene((wanted(),)),
        Scene((), (record(),)),
    ):
        assert codes(unshown(quiet)) == []


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(0), "just now"),
        (-MINUTE, "just now"),
        (timedelta(seconds=1), "1 second ago"),
        (59 * MINUTE, "59 minutes ago"),
        (60 * MINUTE, "1 hour ago"),
        (25 * 60 * MINUTE, "25 hours ago"),
        (2 * DAY, "2 days ago"),
    ],
)
def test_how_long_ago(span: timedelta, words: str) -> None:
    assert ago(span) == words


def test_nothing_here_is_an_error() -> None:
    assert errors(unshown(without_overlap(MINUTE))) == []


def test_a_gate_that_is_taken_away_is_told_with_the_use_that_it_would_have_seen() -> None:
    here = scene(replace(GATE, revoke_when_unused_for=None), replaced=3 * DAY, used=3 * MINUTE)
    (known,) = here.records
    gated = replace(here, records=(replace(known, rotation=GATE),))
    old = next(change for change in gated.plan().changes if change.action == "revoke")
    assert old.reason == (
        "the overlap of generation 1 ended 2026-11-18T12:00:00Z; revoked although used 3 minutes ago "
        "(2026-11-20T11:57:00Z): `revoke_when_unused_for` was taken away"
    )
