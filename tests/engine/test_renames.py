"""A key that was renamed without `moved`, and keys that trade places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keyform.diagnostics import Diagnostic
from keyform.model import DesiredKey, Removal
from tests.engine.scene import SPEC, Scene, codes, errors, place, record, wanted


def told(scene: Scene, code: str) -> list[Diagnostic]:
    return [d for d in scene.plan().diagnostics if d.code == code]


NEW = wanted("b", spec=replace(SPEC, name="b"))


@pytest.mark.parametrize(
    ("new", "alike"),
    [
        (wanted("b", spec=replace(SPEC, name="a")), True),
        (wanted("b", places=(place("a"),)), True),
        (NEW, False),
        (wanted("b", spec=replace(SPEC, name="a", environment="test")), False),
    ],
)
def test_a_new_key_that_looks_like_a_removed_one(new: DesiredKey, alike: bool) -> None:
    found = told(Scene((new,), (record(),)), "looks-renamed")
    assert len(found) == alike
    if alike:
        assert found[0].severity == "note"
        assert "`moved: [{from: a, to: b}]`" in found[0].detail


def test_a_protected_key_that_looks_renamed() -> None:
    scene = Scene((wanted("b", places=(place("a"),)),), (record(protect=True),))
    (found,) = told(scene, "protected")
    assert "`moved: [{from: a, to: b}]`" in found.detail


def test_a_removal_on_purpose_is_no_rename() -> None:
    scene = Scene(
        (wanted("b", spec=replace(SPEC, name="a")),),
        (record(),),
        desired={"removals": (Removal("keys.a", True),)},
    )
    assert codes(scene.plan()) == []


def test_two_keys_that_trade_places_need_a_third() -> None:
    scene = Scene(
        (wanted("a", places=(place("b"),)), wanted("b", places=(place("a"),))), (record("a"), record("b"))
    )
    found = told(scene, "place-in-use")
    assert len(found) == 2
    assert all("a third place" in d.detail for d in found)


def test_a_place_that_is_left_at_the_same_time_needs_two_applies() -> None:
    scene = Scene(
        (wanted("a", places=(place("b"),)), wanted("b", places=(place("c"),))), (record("a"), record("b"))
    )
    (found,) = told(scene, "place-in-use")
    assert "Apply the change of keys.b first" in found.detail
    assert errors(scene.plan()) == ["place-in-use"]
