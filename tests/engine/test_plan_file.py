"""The plan file: what is written is read back, and what was altered is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from keyform.engine.plan import Plan, digest_of
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError
from keyform.model import (
    Credits,
    DesiredProject,
    Import,
    LiveKey,
    LiveProject,
    Move,
    RateLimit,
    Refill,
    Removal,
    Rotation,
    digest,
)
from keyform.state import ProjectRecord
from tests.engine.scene import (
    BORN,
    DAY,
    NOW,
    SPEC,
    Scene,
    generation,
    live_of,
    place,
    record,
    wanted,
)


def rich_plan() -> Plan:
    """One with every action and nearly every kind of step."""
    scene = Scene(
        (
            wanted("new", expires_in=90 * DAY, owner="team", tags=("x",), protect=True),
            wanted("limited", spec=replace(SPEC, credits=Credits(9, Refill(5, "monthly", 3)))),
            wanted(
                "updated",
                spec=replace(
                    SPEC,
                    name="u",
                    rate_limit=RateLimit(5, 60),
                    credits=Credits(9, Refill(5, "daily")),
                    metadata=(("a", "b"),),
                ),
            ),
            wanted("replaced", spec=replace(SPEC, name="replaced", environment="test")),
            wanted("rotated", rotation=Rotation(every=DAY, overlap=3 * DAY)),
            wanted("imported"),
            wanted("moved", spec=replace(SPEC, name="before"), places=(place("before"),)),
            wanted("placed", places=(place("elsewhere", on_revoke="keep"),)),
            wanted("gone"),
            wanted("terms", owner="team"),
            wanted("same"),
        ),
        (
            *(
                record(n)
                for n in ("updated", "replaced", "rotated", "before", "placed", "gone", "terms", "same")
            ),
            record("revoked"),
            record("forgotten"),
        ),
        projects=(DesiredProject("projects.web", "toy", "web", ("https://a.example",)),),
        project_records=(ProjectRecord("projects.old", "toy", "old", ()),),
        desired={
            "imports": (Import("keys.imported", "k1"),),
            "moves": (Move("keys.before", "keys.moved"),),
            "removals": (Removal("keys.forgotten", False),),
        },
    )
    scene.live = {
        "toy": (
            *(live_of(r.current) for r in scene.records if r.address != "keys.gone"),
            LiveKey("k1", replace(SPEC, name="other"), created_at=BORN),
        )
    }
    return scene.plan(allow_mass_change=True)


def refresh_plan() -> Plan:
    drifted = live_of(generation("a"), spec=replace(SPEC, name="x", expires_at=NOW + DAY))
    scene = Scene(
        (),
        (record("a"), record("b")),
        live={"toy": (drifted,)},
        project_records=(ProjectRecord("projects.web", "toy", "web", ()),),
        live_projects=(LiveProject("web", ("https://a.example",)),),
    )
    return scene.plan(mode="refresh-only")


@pytest.mark.parametrize(
    "plan", [rich_plan(), refresh_plan(), Scene().plan()], ids=["rich", "refresh", "empty"]
)
def test_a_plan_is_read_back_as_it_was(plan: Plan) -> None:
    loaded = load_plan(dump_plan(plan), "plan.json")
    assert loaded == plan
    assert digest_of(loaded) == digest_of(plan)
    assert dump_plan(loaded) == dump_plan(plan)
    assert [c.steps for c in loaded.changes] == [c.steps for c in plan.changes]


def test_the_rich_plan_has_every_action() -> None:
    counts = rich_plan().summary
    assert [action for action, count in counts.items() if not count] == ["refresh"]


def test_a_plan_with_a_diagnostic_is_read_back() -> None:
    plan = Scene((), (record(protect=True),)).plan()
    assert load_plan(dump_plan(plan), "p") == plan
    assert load_plan(dump_plan(plan), "p").failed


def test_any_altered_byte_is_refused() -> None:
    """Every 97th byte, so that each part of the file is hit. White space between tokens means nothing."""
    data = dump_plan(rich_plan())
    for at in range(0, len(data), 97):
        if data[at : at + 1].isspace():
            continue
        altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(PlanError):
            load_plan(altered, "plan.json")


def test_an_altered_plan_says_so() -> None:
    data = dump_plan(rich_plan()).replace(b'"keys.new"', b'"keys.bad"')
    with pytest.raises(PlanError, match="altered"):
        load_plan(data, "plan.json")


def test_a_plan_of_a_newer_version_is_refused() -> None:
    data = dump_plan(Scene().plan()).replace(b'"version": 1', b'"version": 2')
    with pytest.raises(PlanError, match="reads up to 1") as told:
        load_plan(data, "plan.json")
    assert "Upgrade" in told.value.diagnostics[0].detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b'{"format": "keyform-state"}',
        b"[" * 100_000,
        b'{"format": "keyform-plan"}',
        b'{"format": "keyform-plan", "version": "1"}',
        b'{"format": "keyform-plan", "version": 1, "x": "\\ud800"}',
    ],
    ids=[
        "empty",
        "bytes",
        "null",
        "list",
        "number",
        "state",
        "deep",
        "no version",
        "text version",
        "surrogate",
    ],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError):
        load_plan(data, "plan.json")


@pytest.mark.parametrize(
    "damage",
    [
        {"changes": 7},
        {"changes": [{}]},
        {"steps": [{"op": "mint"}]},
        {"steps": [{"op": "mint", "address": "keys.a", "change": 99}]},
        {"summary": None},
        {"created_at": "yesterday"},
        {"unmanaged": []},
        {"diagnostics": [{}]},
    ],
)
def test_a_plan_that_is_whole_by_its_digest_and_still_no_plan_is_refused(damage: dict[str, object]) -> None:
    body = {**json.loads(dump_plan(rich_plan())), **damage}
    del body["digest"]
    data = json.dumps({**body, "digest": digest(body)}).encode()
    with pytest.raises(PlanError, match="damaged"):
        load_plan(data, "plan.json")
