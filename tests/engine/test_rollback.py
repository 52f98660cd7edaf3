"""How long the schedule of a key rests after a rollback."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

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
