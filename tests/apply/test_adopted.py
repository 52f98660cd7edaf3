"""Adopted keys, whose secret keyform never had: shown as such, and captured by their first rotation."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from keyform.engine.options import Options
from keyform.model import KeySpec, Place
from keyform.report.state import record_text, state_text
from keyform.report.style import Style
from tests.apply.outside import declare
from tests.world import World, inspect

PLACES = "secret: [a, {store: second, path: a2}]"
STORES = "stores: {local: {type: age}, second: {type: age, path: .keyform/second}}\ndefaults: {store: local}"


@pytest.fixture
def adopted(tmp_path: Path) -> World:
    """A key that somebody made by hand, adopted into two places."""
    world = World(tmp_path).write(declare(rest=STORES))
    with closing(world.service()) as service:
        spec = KeySpec(kind="secret", environment="live", name="a", scopes=("events:read",))
        theirs = service.create(spec, "somebody/1").key
    fields = f"scopes: [events:read], {PLACES}, rotation: {{overlap: 2d}}"
    text = declare(a=fields, rest=STORES)
    world.write(text + f"imports: [{{key: a, id: {theirs.id}}}]\n").apply()
    return world.write(text)


def test_every_plan_says_that_keyform_never_had_its_secret(adopted: World) -> None:
    plan = adopted.plan()
    assert plan.changes == ()
    (told,) = plan.diagnostics
    assert (told.severity, told.code, told.address) == ("note", "secret-unknown", "keys.a")
    assert told.summary == (
        "keys.a: adopted, and keyform never had its secret; the first rotation captures it"
    )
    assert "`keyform rotate keys.a`" in told.detail


def test_the_state_is_shown_like_that_too(adopted: World) -> None:
    state = adopted.state()
    assert "never seen; the first rotation captures it" in state_text(state, "here", Style(width=200))
    assert "its first rotation captures its secret" in record_text(state.keys["keys.a"], Style())


def test_once_rotated_no_rotation_captures_the_old_one(adopted: World) -> None:
    adopted.apply(Options(rotate=("keys.a",)))
    state = adopted.state()
    (line,) = (text for text in state_text(state, "here", Style(width=200)).splitlines() if "(old," in text)
    assert line.endswith("never seen")
    told = record_text(state.keys["keys.a"], Style())
    assert "unknown: the key was adopted, and keyform never had its secret" in told
    assert "captures" not in told


def test_its_first_rotation_captures_it_into_every_declared_place(adopted: World) -> None:
    theirs = adopted.state().keys["keys.a"].current.id
    outcome = adopted.apply(Options(rotate=("keys.a",)))
    assert not outcome.failed
    assert "keyform never had the secret of" in outcome.plan.changes[0].reason
    record = adopted.state().keys["keys.a"]
    assert ([g.number for g in record.generations()], record.deposed[0].id) == ([1, 2], theirs)
    live = adopted.live()
    assert theirs in live
    with adopted.open() as ws:
        for place in (Place("local", "a"), Place("second", "a2")):
            secret = ws.store(place.store).get(place)
            assert secret is not None
            assert adopted.works(secret, live[record.current.id])
    assert adopted.plan().diagnostics == ()
    adopted.clock.move(days=3)
    adopted.apply()
    assert list(adopted.live()) == [record.current.id]
    assert not inspect(adopted)


def test_there_is_nothing_to_roll_back_to(adopted: World) -> None:
    adopted.apply(Options(rotate=("keys.a",)))
    plan = adopted.plan(Options(rollback=("keys.a",)))
    assert [d.code for d in plan.diagnostics] == ["no-rollback"]
    assert "keyform never had the secret of generation 1" in plan.diagnostics[0].summary


def test_another_place_of_a_secret_that_keyform_never_had_copies_nothing(adopted: World) -> None:
    kept = " and ".join(map(str, adopted.state().keys["keys.a"].current.places)).replace(" and ", ", ")
    text = (adopted.folder / "keyform.yaml").read_text().replace(PLACES, "secret: elsewhere")
    (change,) = adopted.write(text).plan().changes
    assert "keyform never had it, so nothing is copied to local:elsewhere" in change.reason
    assert f"what somebody put at {kept} stays there" in change.reason
    assert not adopted.apply().failed
