"""``keyform calendar``, and what ``schedule`` makes plans say."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import jsonschema
from icalendar import Calendar

from keyform.apply.ahead import calendar_now
from keyform.schemas_location import schema_text
from tests.world import START, MovedClock, World

from .conftest import Keyform

KEYS = """\
version: 1
schedule: every 24h
services: {{sandbox: {{type: embedded}}}}
keys:
  backend:
    service: sandbox
    kind: secret
    environment: live
    scopes: ["events:write"]
    secret: backend
{fields}
"""


def declare(folder: Path, *fields: str) -> None:
    (folder / "keyform.yaml").write_text(KEYS.format(fields="\n".join(f"    {line}" for line in fields)))


def entries(keyform: Keyform, clock: MovedClock, *argv: str) -> list[tuple[str, str, int, bool]]:
    ran = keyform("calendar", "--format", "json", *argv, clock=clock)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    jsonschema.validate(found, json.loads(schema_text("calendar.schema.json")))
    return [(e["at"][:16], e["event"], e["generation"], e["outage"]) for e in found["entries"]]


def test_what_it_foretells_comes_true(folder: Path) -> None:
    declare(folder, "expires_in: 30d", "rotation: {every: 20d, before_expiry: 5d, overlap: 2d}")
    world = World(folder)
    world.apply()
    with world.open() as ws:
        foretold, _, whole = calendar_now(ws, START + timedelta(days=80))
    assert whole
    assert [entry.event for entry in foretold.entries] == ["rotates", "revokes"] * 3 + ["rotates"]
    for entry in foretold.entries:
        world.clock.move(seconds=(entry.at - world.clock.now()).total_seconds() - 1)
        assert world.plan().empty
        world.clock.move(seconds=2)
        (change,) = world.plan().changes
        assert change.action == ("rotate" if entry.event == "rotates" else "revoke")
        assert change.generation == entry.generation
        assert world.apply().done == 1


def test_every_event_of_a_policy(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "expires_in: 30d", "rotation: {before_expiry: 10d, overlap: 72h}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    assert entries(keyform, clock, "--until", "45d") == [
        ("2026-12-10T12:00", "rotates", 2, False),
        ("2026-12-13T12:00", "revokes", 1, False),
        ("2026-12-30T12:00", "rotates", 3, False),
        ("2027-01-02T12:00", "revokes", 2, False),
    ]
    clock.move(days=21)
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    clock.move(days=5)
    # The old generation is overdue; what is due already is due now.
    assert entries(keyform, clock, "--until", "1d") == [("2026-12-16T12:00", "revokes", 1, False)]


def test_a_key_that_nothing_renews_is_an_outage(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "expires_in: 30d")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    assert entries(keyform, clock, "--until", "1y") == [("2026-12-20T12:00", "expires", 1, True)]
    text = keyform("calendar", clock=clock).out
    assert "expires !" in text
    assert "1 key expires before anything renews it (marked !)." in text
    assert entries(keyform, clock, "--until", "2026-12-01T00:00:00Z") == []


def test_an_old_generation_that_expires_by_itself_is_no_outage(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "expires_in: 30d", "rotation: {before_expiry: 1d, overlap: 5d}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    assert entries(keyform, clock, "--until", "40d") == [
        ("2026-12-19T12:00", "rotates", 2, False),
        ("2026-12-20T12:00", "expires", 1, False),
    ]


def test_it_writes_nothing_and_tells_of_keys_that_are_not_minted(keyform: Keyform, folder: Path) -> None:
    declare(folder, "expires_in: 30d")
    ran = keyform("calendar", clock=MovedClock())
    assert ran.code == 0
    assert "1 declared key is not minted yet, and not in it." in ran.out
    assert not (folder / ".keyform" / "state.json").exists()


def test_icalendar_is_read_by_its_library_and_keeps_its_uids(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "expires_in: 30d", "rotation: {every: 20d, overlap: 2d}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0

    def events() -> dict[str, tuple[str, str]]:
        ran = keyform("calendar", "--format", "ics", clock=clock)
        assert ran.code == 0
        found = Calendar.from_ical(ran.out)
        return {str(e["uid"]): (str(e["summary"]), str(e.decoded("dtstart"))) for e in found.walk("VEVENT")}

    first = events()
    assert ("keys.backend rotates", "2026-12-10 12:00:00+00:00") in first.values()
    clock.move(days=1)
    assert first.items() <= events().items()


def test_an_end_that_cannot_be(keyform: Keyform, folder: Path) -> None:
    declare(folder)
    for until, words in (
        ("3x", "`3x` is not a duration"),
        ("0d", "no time at all"),
        ("2020-01-01T00:00:00Z", "is in the past"),
        ("tomorrow", "is no time"),
    ):
        ran = keyform("calendar", "--until", until, clock=MovedClock())
        assert ran.code == 1
        assert words in ran.err


def test_a_plan_warns_of_a_key_that_would_not_live_until_the_next_run(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "expires_in: 30d", "rotation: {before_expiry: 12h}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    assert "expires-before-next-run" not in keyform("plan", "--format", "json", clock=clock).out
    clock.move(days=29, hours=6)  # 18 hours before it expires: not due, and the next run comes too late
    ran = keyform("plan", clock=clock)
    assert ran.code == 0
    assert "keys.backend expires 2026-12-20T12:00:00Z, before the next run" in ran.err
    failed = keyform("plan", "--fail-on", "expiry", clock=clock)
    assert failed.code == 1
    assert "1 key expires before the next run: keys.backend" in failed.err
    clock.move(hours=7)  # due: this run rotates it
    last = keyform("plan", "--fail-on", "expiry", clock=clock)
    assert (last.code, "before the next run" in last.err) == (0, False)


def test_failing_on_expiry_needs_a_schedule(keyform: Keyform, folder: Path) -> None:
    declare(folder)
    path = folder / "keyform.yaml"
    path.write_text(path.read_text().replace("schedule: every 24h\n", ""))
    ran = keyform("plan", "--fail-on", "expiry", clock=MovedClock())
    assert ran.code == 1
    assert "Add a `schedule`, like `schedule: every 24h`." in ran.err


def test_what_this_plan_mints_counts_too(keyform: Keyform, folder: Path) -> None:
    declare(folder, "expires_in: 12h")
    ran = keyform("plan", clock=MovedClock())
    assert "keys.backend expires 2026-11-21T00:00:00Z, before the next run" in ran.err


def test_more_rotations_than_are_written_out_are_told(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "rotation: {every: 1h, overlap: 30m}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    whole = json.loads(keyform("calendar", "--until", "10d", "--format", "json", clock=clock).out)
    assert whole["cut"] == []
    ran = keyform("calendar", "--until", "30d", "--format", "json", clock=clock)
    found = json.loads(ran.out)
    jsonschema.validate(found, json.loads(schema_text("calendar.schema.json")))
    assert found["cut"] == [{"address": "keys.backend", "at": "2026-12-07T04:00:00Z"}]
    assert sum(entry["event"] == "rotates" for entry in found["entries"]) == 400
    told = "Not written out, beyond 400 rotations of a key: keys.backend after 2026-12-07T04:00:00Z."
    assert told in keyform("calendar", "--until", "30d", clock=clock).out
    assert told in keyform("calendar", "--until", "30d", "--format", "ics", clock=clock).err


def test_a_key_that_was_revoked_elsewhere_is_minted_by_the_next_apply(keyform: Keyform, folder: Path) -> None:
    declare(folder, "rotation: {every: 20d, overlap: 2d}")
    world = World(folder)
    world.apply()
    (live,) = world.live().values()
    with closing(world.service()) as service:
        service.revoke(live.id)
    with world.open() as ws:
        found, _, _ = calendar_now(ws, START + timedelta(days=25))
    assert [(e.at, e.event, e.generation) for e in found.entries] == [
        (START, "rotates", 2),
        (START + timedelta(days=20), "rotates", 3),
        (START + timedelta(days=22), "revokes", 2),
    ]
    assert f"{live.id} is no longer at sandbox" in found.entries[0].why
    assert found.entries[1].why.startswith("generation 2 is due: every 20d, and it was minted")


def test_an_old_key_is_told_with_the_time_that_it_was_given(keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    declare(folder, "rotation: {overlap: 2d}")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    assert keyform("rotate", "backend", "--auto-approve", clock=clock).code == 0
    declare(folder, "rotation: {overlap: 9d}")
    assert "its overlap of 2d is over" in keyform("calendar", clock=clock).out
