"""``--fail-on widen``: CI asks for a second approval where a key could do more than before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Keyform

Edit = Callable[[str, str], None]
WIDEN = ("--fail-on", "widen")


@pytest.fixture
def applied(keyform: Keyform, one_key: Path) -> Path:
    assert keyform("apply", "--auto-approve").code == 0
    return one_key


def test_a_plan_that_widens_is_shown_and_then_fails_with_what_to_do(
    keyform: Keyform, applied: Path, edit: Edit
) -> None:
    edit('["events:write"]', '["events:write", "projects:write"]')
    plain, failed = keyform("plan"), keyform("plan", *WIDEN)
    assert (plain.code, failed.code) == (0, 1)
    assert failed.out == plain.out
    words = "WIDENS: powerful: can now create projects and change their allowed origins"
    assert words in " ".join(failed.out.split())
    assert "1 change lets a key do more than before, or something else: keys.backend" in failed.err
    assert "second approval" in failed.err


def test_a_plan_that_narrows_or_says_nothing_of_privilege_passes(
    keyform: Keyform, applied: Path, edit: Edit
) -> None:
    edit('["events:write"]', '["events:write", "projects:write"]')
    assert keyform("apply", "--auto-approve").code == 0
    edit('["events:write", "projects:write"]', '["events:write"]')
    narrowed = keyform("plan", *WIDEN, "--detailed-exitcode")
    assert (narrowed.code, narrowed.err) == (2, "")
    assert "narrows: can no longer create projects" in " ".join(narrowed.out.split())
    assert keyform("apply", "--auto-approve").code == 0
    edit("name: Backend", "name: Frontend")
    renamed = keyform("plan", *WIDEN)
    assert renamed.code == 0
    assert "narrows" not in renamed.out


def test_what_loses_something_and_gains_something_else_fails_too(
    keyform: Keyform, applied: Path, edit: Edit
) -> None:
    edit('["events:write"]', '["events:read"]')
    moved = keyform("plan", *WIDEN)
    assert moved.code == 1
    assert "MOVES: can now read single events" in moved.out


def test_a_saved_plan_is_kept_and_can_be_asked_again(
    keyform: Keyform, applied: Path, edit: Edit, folder: Path
) -> None:
    edit('["events:write"]', '["events:write", "projects:write"]')
    assert keyform("plan", "--out", "p", *WIDEN).code == 1
    asked = keyform("show", "p", *WIDEN, "--format", "json")
    assert (asked.code, keyform("show", "p").code) == (1, 0)
    plan = json.loads(asked.out)
    assert plan["summary"]["widens"] == 1
    assert plan["changes"][0]["privilege"] == "widens"
    assert keyform("apply", "p").code == 0
    assert keyform("plan", *WIDEN).code == 0


def test_there_is_nothing_to_fail_of_a_state_or_for_an_unknown_word(keyform: Keyform, applied: Path) -> None:
    assert "name its file" in keyform("show", *WIDEN).err
    assert keyform("show", *WIDEN).code == 1
    assert "'widened' is not" in keyform("plan", "--fail-on", "widened").err
