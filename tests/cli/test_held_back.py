"""What is wrong with one key keeps no other from being rotated (docs/adr/0018)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from keyform.state import State, load_state
from tests.world import MovedClock, World

from .conftest import Keyform, Ran

HEAD = "version: 1\nservices: {payments: {type: embedded}}\nkeys:\n"
SHARED = 'service: payments, kind: secret, scopes: ["events:write"]'
ROTATED = (
    f"  rev: {{{SHARED}, name: R, secret: r, expires_in: 30d, "
    "rotation: {before_expiry: 5d, overlap: 2d}}\n"
)
ENDS = f"  at: {{{SHARED}, name: AT, secret: at, expires_at: 2026-12-01T00:00:00Z}}\n"
PROTECTED = f"  p: {{{SHARED}, name: P, secret: p, protect: true}}\n"

Run = Callable[..., Ran]


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def run(keyform: Keyform, clock: MovedClock) -> Run:
    return lambda *argv: keyform(*argv, clock=clock)


@pytest.fixture
def write(folder: Path) -> Callable[[str], object]:
    return lambda keys: (folder / "keyform.yaml").write_text(HEAD + keys)


def state_of(folder: Path) -> State:
    return load_state((folder / ".keyform" / "state.json").read_bytes(), "state")


def numbers(folder: Path, address: str) -> list[int]:
    return [generation.number for generation in state_of(folder).keys[address].generations()]


@pytest.fixture
def over(run: Run, write: Callable[[str], object], clock: MovedClock) -> None:
    """The end of one key has passed, and another is due for rotation."""
    write(ENDS + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    clock.move(days=26)


@pytest.mark.usefixtures("over")
def test_an_end_that_has_passed_is_told_of_that_key_alone(run: Run, folder: Path) -> None:
    planned = run("plan")
    assert planned.code == 1
    assert (
        "error: keys.at has expired: its `expires_at`, 2026-12-01T00:00:00Z, has passed, so nothing is minted"
        in " ".join(planned.err.split())
    )
    assert "Write a later `expires_at`, or remove the key." in planned.err
    assert "1 to rotate; 1 held back by an error." in planned.out
    done = run("apply", "--auto-approve")
    assert done.code == 1
    assert done.out.endswith("Apply incomplete: 1 rotated; 1 held back by an error.\n")
    assert numbers(folder, "keys.rev") == [1, 2]
    assert numbers(folder, "keys.at") == [1]
    again = run("apply", "--auto-approve")
    assert (again.code, again.out) == (1, "No changes but those that are held back; see the errors.\n")


@pytest.mark.usefixtures("over")
@pytest.mark.parametrize(
    "argv",
    [
        ("validate",),
        ("show",),
        ("calendar",),
        ("apply", "--auto-approve", "--target", "rev"),
        ("rotate", "rev", "--auto-approve"),
        ("destroy", "--auto-approve"),
    ],
)
def test_what_is_not_about_that_key_goes_well(run: Run, argv: tuple[str, ...]) -> None:
    assert run(*argv).code == 0


@pytest.mark.usefixtures("over")
def test_it_is_not_rotated_when_somebody_asks_either(run: Run, folder: Path) -> None:
    asked = run("rotate", "at", "rev", "--auto-approve")
    assert asked.code == 1
    assert "keys.at has expired" in asked.err
    assert (numbers(folder, "keys.at"), numbers(folder, "keys.rev")) == ([1], [1, 2])


@pytest.mark.usefixtures("over")
def test_a_later_end_or_its_removal_mends_it(
    run: Run, write: Callable[[str], object], folder: Path, clock: MovedClock
) -> None:
    write(ENDS.replace("2026-12-01", "2027-02-01") + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    assert run("plan", "--detailed-exitcode").code == 0
    assert state_of(folder).keys["keys.at"].current.spec.expires_at is not None
    clock.move(days=200)
    write(ROTATED)
    assert run("apply", "--auto-approve").code == 0
    assert "keys.at" not in state_of(folder).keys


def test_a_key_whose_end_has_passed_before_it_was_made_is_not_made(
    run: Run, write: Callable[[str], object], clock: MovedClock, folder: Path
) -> None:
    write(ENDS + ROTATED)
    clock.move(days=26)
    done = run("apply", "--auto-approve")
    assert done.code == 1
    assert "keys.at is not minted: its `expires_at`" in done.err
    assert list(state_of(folder).keys) == ["keys.rev"]


def test_an_edit_does_not_end_a_key_that_works(
    run: Run, write: Callable[[str], object], clock: MovedClock, folder: Path
) -> None:
    write(ENDS.replace("2026-12-01", "2027-06-01") + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    clock.move(days=26)
    write(ENDS + ROTATED)
    done = run("apply", "--auto-approve")
    assert done.code == 1
    assert "keys.at would expire at once" in done.err
    assert len(World(folder, clock).live("payments")) == 3  # it, and both generations of the other


def test_plans_say_ahead_that_a_key_ends_for_good(
    run: Run, write: Callable[[str], object], clock: MovedClock, folder: Path
) -> None:
    write(ENDS.replace("2026-12-01", "2027-01-01") + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    clock.move(days=20)
    assert "for good" not in run("plan").err
    clock.move(days=9)
    told = run("plan")
    assert told.code == 0
    assert "warning: keys.at expires 2027-01-01T00:00:00Z, for good" in told.err
    assert "Give it a later `expires_at`" in " ".join(told.err.split())
    file = folder / "keyform.yaml"
    file.write_text(file.read_text() + "schedule: every 30d\n")
    told = run("plan")
    assert "keys.at expires 2027-01-01T00:00:00Z, before the next run" in " ".join(told.err.split())
    about = told.err[told.err.index("keys.at expires") :]
    assert "Give it a later `expires_at`" in " ".join(about.split())
    assert "rotate keys.at" not in told.err


def test_a_plan_promises_no_overlap_that_an_expiry_cuts_short(
    run: Run, write: Callable[[str], object], clock: MovedClock
) -> None:
    write(ROTATED.replace("overlap: 2d", "overlap: 8d"))
    assert run("apply", "--auto-approve").code == 0
    clock.move(days=26)
    shown = " ".join(run("plan").out.split())
    assert "lives on beside the new key until it expires 2026-12-20T12:00:00Z" in shown
    assert "before its overlap of 8d is over" in shown
    assert "for 8d" not in shown


@pytest.fixture
def vanished(run: Run, write: Callable[[str], object], clock: MovedClock, folder: Path) -> None:
    """A protected key was revoked elsewhere, and another is due for rotation."""
    write(PROTECTED + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    gone = state_of(folder).keys["keys.p"].current.id
    with closing(World(folder, clock).service("payments")) as service:
        service.revoke(gone)
    clock.move(days=26)


@pytest.mark.usefixtures("vanished")
def test_a_protected_key_that_has_vanished_holds_up_no_other(run: Run, folder: Path) -> None:
    done = run("apply", "--auto-approve")
    assert done.code == 1
    assert "keys.p is protected" in done.err
    assert "no longer at payments" in " ".join(done.err.split())
    assert numbers(folder, "keys.rev") == [1, 2]
    assert numbers(folder, "keys.p") == [1]
    assert run("rotate", "p", "--auto-approve").code == 1
    assert numbers(folder, "keys.p") == [1]


@pytest.mark.usefixtures("vanished")
def test_a_saved_plan_does_the_rest_and_ends_with_an_error_as_well(run: Run, folder: Path) -> None:
    assert run("plan", "--out", "p.json").code == 1
    plan = json.loads((folder / "p.json").read_text())
    assert plan["held_back"] == ["keys.p"]
    assert [change["address"] for change in plan["changes"]] == ["keys.rev"]
    done = run("apply", "p.json")
    assert (done.code, done.out) == (1, "Apply incomplete: 1 rotated; 1 held back by an error.\n")
    assert "keys.p is protected" in done.err
    assert numbers(folder, "keys.rev") == [1, 2]


@pytest.mark.usefixtures("vanished")
def test_the_event_stream_tells_of_it(run: Run) -> None:
    for _ in range(2):  # the second time there is nothing else to do
        done = run("apply", "--auto-approve", "--format", "json")
        assert done.code == 1
        (told,) = [event for event in map(json.loads, done.out.splitlines()) if event["type"] == "error"]
        assert [(one["code"], one["address"]) for one in told["diagnostics"]] == [("protected", "keys.p")]


@pytest.mark.usefixtures("vanished")
def test_a_protected_key_that_is_no_longer_declared_stops_all(
    run: Run, write: Callable[[str], object], folder: Path
) -> None:
    write(ROTATED)
    refused = run("apply", "--auto-approve")
    assert refused.code == 1
    assert "keys.p is protected and would be revoked" in refused.err
    assert numbers(folder, "keys.rev") == [1]


def test_destroy_is_all_or_nothing(run: Run, write: Callable[[str], object], folder: Path) -> None:
    write(PROTECTED + ROTATED)
    assert run("apply", "--auto-approve").code == 0
    assert run("destroy", "--auto-approve").code == 1
    assert set(state_of(folder).keys) == {"keys.p", "keys.rev"}
