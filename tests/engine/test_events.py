"""Events: the state is their sum, and the journal holds each as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from keyform.engine.events import Event, fold
from keyform.model import RateLimit, Rotation
from keyform.state import ProjectRecord, State
from keyform.terms import Terms
from tests.engine.scene import DAY, NOW, SPEC, generation, place, record

FIRST, SECOND = generation(number=1), generation(number=2)
STATE = State(
    "l",
    4,
    "run",
    {"keys.a": record(current=FIRST)},
    {"projects.w": ProjectRecord("projects.w", "toy", "w", ())},
)
TERMS = Terms(90 * DAY, "team", ("x",), True, Rotation(60 * DAY, overlap=DAY))

EVENTS = {
    "minted": Event("minted", "keys.a", "toy", SECOND, terms=TERMS, revoke_at=NOW),
    "minted after one that is gone": Event("minted", "keys.a", "toy", SECOND, terms=Terms()),
    "minted first": Event("minted", "keys.b", "toy", generation("b"), terms=Terms()),
    "adopted": Event("adopted", "keys.b", "toy", generation("b", fingerprint=None, marker=None), terms=TERMS),
    "updated": Event(
        "updated", "keys.a", spec=replace(SPEC, name="n", rate_limit=RateLimit(1, 2)), terms=TERMS
    ),
    "recorded": Event("recorded", "keys.a", terms=TERMS),
    "relocated": Event("relocated", "keys.a", places=(place("x", on_revoke="keep"),)),
    "erased": Event("erased", "keys.a", places=(place("x"),)),
    "revoked": Event("revoked", "keys.a", "toy", key_id="id-a-1"),
    "forgotten": Event("forgotten", "keys.a"),
    "renamed": Event("renamed", "keys.z", before="keys.a"),
    "origins": Event("origins", "projects.w", "toy", project="w", origins=("https://a.example",)),
    "no origins": Event("origins", "projects.w", "toy", project="w", origins=()),
    "project_forgotten": Event("project_forgotten", "projects.w"),
    "readdressed": Event("readdressed", "services.toy", where="toy at prod"),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_an_event_is_read_back_as_it_was(event: Event) -> None:
    assert Event.from_json(json.loads(json.dumps(event.as_json()))) == event


def after(*events: Event, state: State = STATE) -> dict[str, Any]:
    return dict(fold(state, events).keys)


def test_a_mint_deposes_the_one_before() -> None:
    found = after(EVENTS["minted"])["keys.a"]
    assert found.current == SECOND
    assert found.deposed == (replace(FIRST, revoke_at=NOW),)
    assert (found.expires_in, found.owner, found.tags, found.protect) == (90 * DAY, "team", ("x",), True)


def test_a_mint_after_one_that_is_gone_drops_it() -> None:
    found = after(EVENTS["minted after one that is gone"])["keys.a"]
    assert (found.current, found.deposed) == (SECOND, ())


def test_a_mint_of_a_new_address() -> None:
    assert after(EVENTS["minted first"])["keys.b"].current == generation("b")


def test_an_update_changes_the_spec_and_the_terms() -> None:
    found = after(EVENTS["updated"])["keys.a"]
    assert (found.current.spec.name, found.owner) == ("n", "team")
    assert after(replace(EVENTS["updated"], terms=None))["keys.a"].owner is None


def test_a_relocation_changes_the_places_of_the_current_one() -> None:
    (kept,) = after(EVENTS["relocated"])["keys.a"].current.places
    assert (kept.path, kept.on_revoke) == ("x", "keep")


def test_a_relocation_leaves_the_old_places_to_be_erased() -> None:
    here, there = (place("here"),), (place("there", on_revoke="keep"),)
    moves = [Event("relocated", "keys.a", places=places) for places in (there, here)]
    assert after(moves[0])["keys.a"].current.leftovers == FIRST.places
    back = {(left.path, left.on_revoke) for left in after(*moves)["keys.a"].current.leftovers}
    assert back == {(FIRST.places[0].path, "delete"), ("there", "delete")}
    erased = after(*moves, Event("erased", "keys.a", places=(*FIRST.places, *there)))["keys.a"].current
    assert (erased.places, erased.leftovers) == (here, ())


def test_an_adopted_secret_leaves_nothing_when_it_moves() -> None:
    adopted = after(EVENTS["adopted"], replace(EVENTS["relocated"], address="keys.b"))["keys.b"].current
    assert adopted.leftovers == ()


def test_an_event_of_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="minted2"):
        Event.from_json({"kind": "minted2", "address": "keys.a"})


def test_revoking_the_current_one_alone_ends_the_record() -> None:
    assert after(EVENTS["revoked"]) == {}


def test_revoking_an_old_one_leaves_the_current_one() -> None:
    found = after(EVENTS["minted"], EVENTS["revoked"])["keys.a"]
    assert (found.current, found.deposed) == (SECOND, ())


def test_revoking_the_current_one_first_keeps_the_old_one_known() -> None:
    found = after(EVENTS["minted"], Event("revoked", "keys.a", "toy", key_id="id-a-2"))["keys.a"]
    assert (found.current.id, found.deposed) == ("id-a-1", ())


def test_renaming() -> None:
    assert after(EVENTS["renamed"])["keys.z"] == replace(STATE.keys["keys.a"], address="keys.z")
    assert after(Event("renamed", "keys.z", before="keys.unknown")) == STATE.keys


def test_projects() -> None:
    assert fold(STATE, [EVENTS["origins"]]).projects["projects.w"].allowed_origins == ("https://a.example",)
    assert fold(STATE, [EVENTS["project_forgotten"]]).projects == {}


def test_serial_run_and_lineage_are_the_writers_business() -> None:
    folded = fold(STATE, EVENTS.values())
    assert (folded.lineage, folded.serial, folded.run) == ("l", 4, "run")


@pytest.mark.parametrize("name", [n for n in EVENTS if n not in ("minted first", "adopted")])
def test_an_event_of_an_address_that_is_unknown_by_now_is_harmless(name: str) -> None:
    fold(State("l"), [EVENTS[name]])


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_an_event_that_is_folded_twice_says_the_same(event: Event) -> None:
    """A generation must never come to stand behind itself, or it would be revoked as its own predecessor."""
    once = fold(STATE, [event])
    assert fold(once, [event]) == once


def test_folding_leaves_its_argument_alone() -> None:
    before = dict(STATE.keys)
    fold(STATE, EVENTS.values())
    assert before == STATE.keys


def test_two_keys_with_one_id_at_two_services_are_two() -> None:
    there = replace(generation(number=2, service="other"), id="id-a-1")
    events = [Event("minted", "keys.a", "other", there, terms=Terms(), revoke_at=NOW)]
    both = after(*events)["keys.a"]
    assert [(g.service, g.id) for g in both.generations()] == [("toy", "id-a-1"), ("other", "id-a-1")]
    left = after(*events, Event("revoked", "keys.a", "toy", key_id="id-a-1"))["keys.a"]
    assert (left.current, left.deposed) == (there, ())


def taking(kind: str) -> Event:
    if kind == "relocated":
        return Event("relocated", "keys.b", places=(place("a"),))
    return Event("minted", "keys.b", "toy", generation("b", 2, places=(place("a"),)), terms=Terms())


@pytest.mark.parametrize("kind", ["minted", "relocated"])
def test_a_place_that_another_key_takes_is_no_longer_the_first_ones(kind: str) -> None:
    state = replace(STATE, keys={**STATE.keys, "keys.b": record("b")})
    found = after(taking(kind), state=state)
    assert found["keys.a"].current.places == ()
    assert found["keys.b"].current.places == (place("a"),)


def test_a_taken_place_follows_a_rename() -> None:
    state = replace(STATE, keys={**STATE.keys, "keys.b": record("b")})
    found = after(taking("minted"), Event("renamed", "keys.c", before="keys.b"), state=state)
    assert (found["keys.a"].current.places, found["keys.c"].current.places) == ((), (place("a"),))


UNSEEN = record("b", current=generation("b", fingerprint=None))


def test_a_secret_that_was_never_seen_takes_no_place() -> None:
    state = replace(STATE, keys={**STATE.keys, "keys.b": UNSEEN})
    assert after(taking("relocated"), state=state)["keys.a"].current.places == (place("a"),)
