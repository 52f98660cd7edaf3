"""How long the schedule of a key rests after a rollback."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keyform.engine.calendar import calendar
from keyform.engine.due import held_back_until, next_rotation
from keyform.model import Rotation
from tests.engine.scene import DAY, NOW, Scene, codes, generation, live_of, record, wanted

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("overlap", "ends", "until"),
    [
        (3 * DAY, None, NOW + 3 * DAY),
        (HOUR, None, NOW + DAY),
        (3 * DAY, NOW + 9 * DAY, NOW + 3 * DAY),
        (3 * DAY, NOW + 2 * DAY, NOW + DAY),
        (3 * DAY, NOW + HOUR, NOW + HOUR - DAY),
    ],
)
def test_for_an_overlap_and_a_day_at_least_but_not_into_its_last_day(
    overlap: timedelta, ends: object, until: object
) -> None:
    assert held_back_until(Rotation(overlap=overlap), NOW, ends) == until  # type: ignore[arg-type]


def test_what_comes_later_anyway_comes_when_it_did() -> None:
    policy = Rotation(every=30 * DAY, overlap=DAY)
    due = next_rotation(policy, NOW, None, rolled_back=NOW)
    assert due is not None
    assert due == next_rotation(policy, NOW, None)


def test_the_plan_is_silent_about_what_is_not_due() -> None:
    current = generation(number=1)
    kept = replace(record(current=current), rolled_back_at=NOW)
    for every, told in ((5 * DAY, ["held-back"]), (50 * DAY, [])):
        want = wanted(rotation=Rotation(every=every, overlap=DAY))
        plan = Scene((want,), (kept,), live={"toy": (live_of(current),)}).plan()
        assert (plan.changes, codes(plan)) == ((), told)


def test_the_calendar_knows_when_it_rotates_again_and_which_number_comes_next() -> None:
    current, newer = generation(number=1), generation(number=2, revoke_at=NOW + DAY)
    kept = replace(record(current=current, deposed=(newer,)), rolled_back_at=NOW)
    want = wanted(rotation=Rotation(every=5 * DAY, overlap=3 * DAY))
    found = calendar(Scene((want,), (kept,)).sight(), NOW + 9 * DAY)
    assert [(e.event, e.generation, (e.at - NOW).days) for e in found.entries] == [
        ("revokes", 2, 1),
        ("rotates", 3, 3),
        ("revokes", 1, 6),
        ("rotates", 4, 8),
    ]


def test_the_calendar_says_until_when_one_in_use_is_held_at_most() -> None:
    old = generation(number=1, revoke_at=NOW + DAY, replaced_at=NOW - DAY)
    current = generation(number=2)
    gate = Rotation(overlap=2 * DAY, revoke_when_unused_for=7 * DAY, revoke_within=4 * DAY)
    live = {"toy": (live_of(old, last_used_at=NOW), live_of(current))}
    scene = Scene((wanted(rotation=gate),), (record(current=current, deposed=(old,)),), live=live)
    (entry,) = calendar(scene.sight(), NOW + 9 * DAY).entries
    assert (entry.event, entry.at) == ("revokes", NOW + 3 * DAY)
    assert entry.why == (
        "its overlap of 2d is over, if it has not been used for 7d; 4d after it was replaced, used or not"
    )
