"""Checklists: what a person reads, from the built-in profiles and in general words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyform.dashboard import GENERAL
from keyform.engine.checklist import checklist
from keyform.engine.plan import ALTER, END, MINT, SET_ORIGINS, Step
from keyform.model import Credits, KeySpec, Place, Refill
from keyform.profile import ASSISTED, Profile
from keyform.services.profiles import load_profile
from keyform.terms import Terms

PLACE = (Place("local", "p"),)
HAND_OVER = "which is shown once, and give it to keyform; it goes to local:p."


def profile(name: str) -> Profile:
    found = load_profile(name, Path())
    assert found is not None
    return found.under(ASSISTED)


def minting(spec: KeySpec, days: int | None = None) -> Step:
    span = timedelta(days=days) if days is not None else None
    return Step(MINT, "keys.a", "s", generation=1, spec=spec, places=PLACE, terms=Terms(span))


CREATES = {
    "revenium": (
        KeySpec(kind="write", name="Provisioning"),
        None,
        [
            "Go to Revenium: the page Connections > SDK Setup.",
            "In the Create Key dialog, pick the scope Full Access.",
            'Name the key "Provisioning".',
            f"Copy the key (it begins with rev_sk_), {HAND_OVER}",
        ],
    ),
    "millimetric": (
        KeySpec(kind="ak", environment="live", name="Agency"),
        None,
        [
            "Go to Millimetric: its dashboard.",
            "Create an account key (ak). It needs the Business plan; Millimetric's page does not say where "
            "the button is.",
            'Give it the label "Agency".',
            "The key appears in a window, once.",
            f"Copy the key (it begins with ak_), {HAND_OVER}",
        ],
    ),
    "devtune": (
        KeySpec(kind="key", project="p1", name="BI", scopes=("actions.write", "visibility.read")),
        365,
        [
            "Go to DevTune: the API Keys page in the sidebar of the team account.",
            "Click Create API Key.",
            'Friendly name: "BI".',
            'Project: "p1".',
            "Expiration: 1 year.",
            "Select exactly these scopes: actions.write, visibility.read.",
            f"Copy the key (it begins with dtk_live_), {HAND_OVER}",
        ],
    ),
    "revkeen": (
        KeySpec(environment="sandbox", name="Shop", scopes=("checkout:write",)),
        None,
        [
            "Go to RevKeen: Dashboard > Developers > API Keys.",
            "Generate a key for the environment sandbox.",
            'Name it "Shop".',
            "Restrict it to exactly these scopes: checkout:write.",
            f"Copy the key, {HAND_OVER}",
        ],
    ),
    "climeter": (
        KeySpec(name="Meter", scopes=("events:write",)),
        None,
        [
            "Go to CLIMeter: Settings > API Keys.",
            "Create a key.",
            'Name it "Meter".',
            "Give it exactly these scopes: events:write.",
            f"Copy the key, {HAND_OVER}",
        ],
    ),
}


@pytest.mark.parametrize("name", CREATES)
def test_making_a_key(name: str) -> None:
    spec, days, lines = CREATES[name]
    assert list(checklist(profile(name), minting(spec, days), None)) == lines


def test_without_a_span_the_window_that_never_ends_is_chosen() -> None:
    lines = checklist(profile("devtune"), minting(KeySpec(kind="key", project="p1", name="BI")), None)
    assert "Expiration: No expiration." in lines
    assert "Leave the scopes broad: the key has full access to its project." in lines


def test_scopes_are_told_as_what_is_added_and_what_goes() -> None:
    old = KeySpec(name="BI", scopes=("a", "b"))
    step = Step(ALTER, "keys.a", "s", "dtk_live_0a1b#12345678", spec=replace(old, scopes=("b", "c")),
                fields=("scopes",))  # fmt: skip
    assert list(checklist(profile("devtune"), step, old))[1:] == [
        'Find the key "BI" (dtk_live_0a1b).',
        "In its row, open the Scopes dialog.",
        "Select also: c.",
        "Take away: a.",
        "Exactly these are selected then: b, c.",
    ]


def test_origins_are_told_as_what_is_added_and_who_loses_access() -> None:
    step = Step(SET_ORIGINS, "projects.web", "s", project="web", origins=("https://a.example",))
    assert list(checklist(profile("millimetric"), step, None))[1:] == [
        'Open the project "web" and find its allowed origins (allowed_origins).',
        "Add exactly: https://a.example.",
        "The list then is exactly: https://a.example.",
    ]
    assert checklist(profile("millimetric"), replace(step, origins=()), None)[-1] == "The list then is empty."


def test_a_key_without_a_name_or_a_hint_is_still_meant() -> None:
    step = Step(END, "keys.a", "s", "#12345678")
    lines = checklist(profile("climeter"), step, KeySpec())
    assert lines[1] == "Find the key whose secret keyform holds."


def test_a_profile_without_a_dashboard_has_general_words() -> None:
    plain = profile("unkey")
    assert plain.dashboard == GENERAL
    lines = checklist(plain, minting(KeySpec(name='A "b"\n', scopes=("x",))), None)
    assert lines[0] == "Go to Unkey: its dashboard."
    assert 'Name or label: "A \\"b\\"\\n".' in lines
    assert "Choose these scopes and no other: x." in lines


def test_credits_are_made_changed_and_taken_away_by_hand() -> None:
    unkey = profile("unkey")
    few = KeySpec(name="k", credits=Credits(10))
    more = KeySpec(name="k", credits=Credits(20, Refill(5, "monthly", 3)))
    assert "Credits: 10 and no refill." in checklist(unkey, minting(few), None)

    def changed(before: KeySpec, after: KeySpec) -> tuple[str, ...]:
        step = Step(ALTER, "keys.a", "s", "key_1", spec=after, fields=("credits",))
        return checklist(unkey, step, before)

    assert changed(few, more)[-1] == "Change its credits to 20, refilled by 5 monthly on day 3."
    gone = changed(more, KeySpec(name="k"))
    assert gone[-1] == "Remove its credits, so that it may be used without end."
    assert not [line for line in gone if "Change its credits" in line]
