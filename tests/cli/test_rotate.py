"""``keyform rotate`` and ``keyform plan --rotate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keyform.apply import Workspace
from keyform.clock import SystemClock
from keyform.model import Place
from keyform.registry import load_config

from .conftest import Keyform


@pytest.fixture
def applied(keyform: Keyform, one_key: Path) -> Keyform:
    assert keyform("apply", "--auto-approve").code == 0
    return keyform


def test_it_shows_the_plan_and_says_what_was_done(applied: Keyform) -> None:
    done = applied("rotate", "backend", "--reason", "offboarding", "--auto-approve")
    assert done.code == 0
    assert "rotate: a new generation at sandbox" in done.out
    assert "asked for: offboarding" in done.out
    assert done.out.splitlines()[-1] == "Rotate complete: 1 rotated."
    assert applied("plan", "--detailed-exitcode").code == 0


def test_it_needs_an_address_and_an_approval(applied: Keyform) -> None:
    assert applied("rotate").code == 1
    refused = applied("rotate", "backend")
    assert refused.code == 1
    assert "keyform plan --rotate ADDR --out FILE" in refused.err


def test_an_unknown_address_changes_nothing(applied: Keyform) -> None:
    refused = applied("rotate", "backnd", "--auto-approve")
    assert refused.code == 1
    assert "keys.backnd cannot be rotated: it is neither declared nor in the state" in refused.err
    assert "Did you mean `keys.backend`?" in refused.err


def test_no_name_is_guessed_that_is_nothing_like_it(applied: Keyform) -> None:
    refused = applied("rotate", "nope", "--auto-approve")
    assert refused.code == 1
    assert "keys.nope cannot be rotated" in refused.err
    assert "Did you mean" not in refused.err


def test_a_rotation_can_be_reviewed_as_a_plan(applied: Keyform) -> None:
    planned = applied("plan", "--rotate", "backend", "--now", "--reason", "leak 17", "--out", "p")
    assert planned.code == 0
    assert "asked for: leak 17" in planned.out
    assert "revoked as soon as the new key is stored, used or not" in " ".join(planned.out.split())
    assert applied("apply", "p").out == "Apply complete: 1 rotated.\n"


def test_controls_in_a_reason_drive_nothing(applied: Keyform) -> None:
    nasty = "a\x1b[2J\nb\u202ec"
    shown = json.loads(applied("plan", "--rotate", "backend", "--reason", nasty, "--format", "json").out)
    assert shown["changes"][0]["reason"].startswith("asked for: a\\x1b[2J b\\u202ec")
    done = applied("rotate", "backend", "--reason", nasty, "--auto-approve", "--format", "json")
    events = [json.loads(line) for line in done.out.splitlines()]
    (start,) = (event for event in events if event["type"] == "start")
    assert start["reason"].startswith("asked for: a\\x1b[2J b\\u202ec")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("plan", "--now"), "--now belongs to --rotate"),
        (("plan", "--reason", "x"), "--reason to that or to --rollback"),
        (("plan", "--rotate", "backend", "--refresh-only"), "exclude each other"),
        (("rotate", "backend", "--reason", " ", "--auto-approve"), "--reason takes 1 to 300"),
        (("rotate", "backend", "--reason", "x" * 301, "--auto-approve"), "--reason takes 1 to 300"),
    ],
)
def test_options_that_mean_nothing_are_refused(applied: Keyform, argv: tuple[str, ...], says: str) -> None:
    refused = applied(*argv)
    assert refused.code == 1
    assert says in refused.err


def test_a_reason_with_a_secret_in_it_is_refused_and_not_repeated(keyform: Keyform, one_key: Path) -> None:
    assert keyform("apply", "--auto-approve").code == 0
    with Workspace(load_config(one_key.parent, SystemClock()), SystemClock(), "test") as ws:
        secret = ws.store("local").get(Place("local", "backend"))
    assert secret is not None
    for word in (secret.reveal(), f"KEY={secret.reveal()},"):
        for verb in (("rotate", "backend", "--auto-approve"), ("plan", "--rotate", "backend")):
            ran = keyform(*verb, "--reason", f"found {word} in a log")
            assert ran.code == 1
            assert "--reason holds the secret of keys.backend" in ran.err
            assert secret.reveal() not in ran.out + ran.err
    ran = keyform("plan", "--rotate", "backend", "--reason", f"found {secret.reveal()[:-4]} in a log")
    assert "--reason holds what looks like a key of sandbox" in ran.err


def test_it_tells_nothing_of_keys_that_it_leaves_alone(keyform: Keyform, folder: Path) -> None:
    (folder / "keyform.yaml").write_text(
        "version: 1\nschedule: every 24h\n"
        "services: {sandbox: {type: embedded}}\n"
        "keys:\n"
        "  a: {service: sandbox, kind: secret, secret: a}\n"
        "  b: {service: sandbox, kind: secret, secret: b, expires_in: 12h}\n"
    )
    assert keyform("apply", "--auto-approve").code == 0
    assert "keys.b expires" in keyform("plan").err
    only = keyform("plan", "--rotate", "a")
    assert only.code == 0
    assert "keys.b expires" not in only.err
    assert "keys.b expires" in keyform("plan", "--target", "b").err
