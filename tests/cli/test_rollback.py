"""``keyform rollback`` and ``keyform plan --rollback``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Keyform

Edit = Callable[[str, str], None]


@pytest.fixture
def rotated(keyform: Keyform, one_key: Path, edit: Edit) -> Keyform:
    """Generation 2 is current, and generation 1 in its overlap."""
    edit("    secret: backend\n", "    secret: backend\n    rotation: {overlap: 3d}\n")
    for command in (("apply",), ("rotate", "backend")):
        assert keyform(*command, "--auto-approve").code == 0
    return keyform


def test_it_shows_the_plan_and_says_what_was_done(rotated: Keyform) -> None:
    done = rotated("rollback", "backend", "--reason", "new key lacks a quota", "--auto-approve")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert "↺ keys.backend roll back to an older generation at sandbox" in words
    assert "asked for: new key lacks a quota; generation 1 is current again" in words
    assert "Plan: 1 to roll back." in words
    assert done.out.splitlines()[-1] == "Rollback complete: 1 rolled back."
    assert rotated("plan", "--detailed-exitcode").code == 0


def test_it_can_be_reviewed_as_a_plan(rotated: Keyform) -> None:
    assert rotated("plan", "--rollback", "backend", "--out", "p").code == 0
    assert rotated("apply", "p").out == "Apply complete: 1 rolled back.\n"
    again = rotated("plan", "--rollback", "backend", "--format", "markdown")
    assert (again.code, "1 to roll back" in again.out) == (0, True)


def test_refused_it_says_why_and_changes_nothing(rotated: Keyform, folder: Path) -> None:
    for kept in folder.rglob("*.before"):
        kept.unlink()
    refused = rotated("rollback", "backend", "--auto-approve")
    assert refused.code == 1
    assert "keys.backend cannot be rolled back: nobody gives the secret of generation 1" in refused.err
    assert "keyform rotate keys.backend" in refused.err


def test_it_needs_an_approval_and_stands_alone(rotated: Keyform) -> None:
    refused = rotated("rollback", "backend")
    assert (refused.code, "keyform plan --rollback ADDR --out FILE" in refused.err) == (1, True)
    both = rotated("plan", "--rollback", "backend", "--rotate", "backend")
    assert (both.code, "exclude each other" in both.err) == (1, True)
    assert rotated("plan", "--rollback", "backend", "--now").code == 1
