from typing import Any

import pytest

from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine.plan import INCOMPLETE_LISTING, Change, FieldDiff, Step
from keyform.model import Place
from keyform.report.style import Style
from keyform.report.text import plan_text

from .plans import plan


def shown(*changes: Change, style: Style | None = None, **rest: object) -> str:
    return plan_text(plan(*changes, **rest), style or Style())


@pytest.mark.parametrize(
    ("action", "symbol", "words"),
    [
        ("create", "+", "create at sandbox"),
        ("update", "~", "update in place at sandbox"),
        ("replace", "+/-", "replace by a new key at sandbox"),
        ("rotate", "↻", "rotate: a new generation at sandbox"),
        ("revoke", "-", "revoke at sandbox"),
        ("import", "←", "import from sandbox"),
        ("move", "→", "rename in the state"),
        ("forget", ".", "drop from the state"),
        ("refresh", "!", "take note in the state"),
    ],
)
def test_each_action_has_its_symbol_and_words(action: str, symbol: str, words: str) -> None:
    text = shown(Change("keys.a", action, "because of this", "sandbox", "key_1"))
    assert f"{symbol.rjust(4)} keys.a  {words} (key_1)\n       because of this\n" in text
    assert text.endswith(f"Plan: 1 to {action}.\n")


def test_sets_are_shown_by_element_and_a_lost_origin_is_marked() -> None:
    text = shown(
        Change(
            "keys.a",
            "update",
            "edited",
            "sandbox",
            diff=(
                FieldDiff("scopes", ["events:read", "events:write"], ["events:read", "reports:read"]),
                FieldDiff("allowed_origins", ["https://old.example"], ["https://new.example"]),
            ),
        )
    )
    assert '+ "reports:read"\n' in text
    assert '- "events:write"\n' in text
    assert '"events:read"' not in text
    assert '+ "https://new.example"\n' in text
    assert '- "https://old.example"  (loses access)' in text


def test_a_removed_allowlist_is_called_empty() -> None:
    change = Change(
        "projects.w", "update", "x", "s", diff=(FieldDiff("allowed_origins", ["https://a.example"], []),)
    )
    assert "~ allowed_origins  (nothing is left of it)" in shown(change)


@pytest.mark.parametrize(
    ("way", "first"),
    [
        ("widens", "WIDENS: can now do it; is more"),
        ("moves", "MOVES: can now"),
        ("narrows", "narrows: can now"),
    ],
)
def test_what_becomes_of_a_keys_power_stands_under_its_reason(way: str, first: str) -> None:
    words = ("can now do it", "is more")
    text = shown(Change("keys.a", "update", "because", "s", privilege=way, privilege_words=words))
    assert f"       because\n       {first}" in text
    assert text.endswith(f"1 change {way} what keys can do.\n\nPlan: 1 to update.\n")


def test_a_change_that_leaves_a_keys_power_says_nothing_of_it() -> None:
    text = shown(Change("keys.a", "update", "x", "s"))
    assert "keys can do" not in text


@pytest.mark.parametrize(
    ("ways", "sentence"),
    [
        ("widens widens", "2 changes widen what keys can do."),
        ("moves widens", "1 change widens and 1 moves what keys can do."),
        ("moves widens moves narrows", "1 change widens, 2 move and 1 narrows what keys can do."),
    ],
)
def test_directions_are_counted(ways: str, sentence: str) -> None:
    changes = (
        Change(f"keys.k{at}", "update", "x", "s", privilege=way, privilege_words=("y",))
        for at, way in enumerate(ways.split())
    )
    assert sentence in shown(*changes)


@pytest.mark.parametrize(
    ("path", "before", "after", "remark"),
    [
        ("credits.remaining", 5, 4, "sets what is left"),
        ("credits.remaining", None, 5, None),
        ("protect", True, None, "no longer protected"),
        ("scopes", ["a"], "everything", "no scopes are named"),
    ],
)
def test_what_a_field_means_is_remarked(path: str, before: Any, after: Any, remark: str | None) -> None:
    text = shown(Change("keys.a", "update", "x", "s", diff=(FieldDiff(path, before, after),)))
    assert ("(" + remark + ")" in text) if remark else "(" not in text


def test_what_is_revoked_and_deleted_is_named() -> None:
    place = Place("local", "dash/us-east")
    kept = Place("local", "kept", on_revoke="keep")
    ended = Step("revoke", "keys.a", "sandbox", "key_1", places=(place, kept))
    replaced = shown(Change("keys.a", "replace", "x", "sandbox", "key_1", steps=(ended,)))
    assert "- revokes key_1 at sandbox, last of all" in replaced
    revoked = shown(Change("keys.a", "revoke", "x", "sandbox", "key_1", steps=(ended,)))
    assert "revokes" not in revoked
    assert "- deletes the secret at local:dash/us-east" in revoked
    assert "keeps the secret at local:kept" in revoked


def test_drift_stands_apart_from_what_was_asked_for() -> None:
    text = shown(
        Change("keys.drifted", "update", "x", "sandbox", drift=True),
        Change("keys.edited", "update", "y", "sandbox"),
    )
    assert text.index("Planned changes:") < text.index("keys.edited") < text.index("Changed outside keyform")
    assert text.index("Changed outside keyform") < text.index("  !~ keys.drifted")


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("normal", "No changes. Every declared key is as declared.\n"),
        ("destroy", "Nothing to destroy. The state owns no key.\n"),
        ("refresh-only", "No changes. The services show what the state records.\n"),
    ],
)
def test_an_empty_plan_is_one_sentence(mode: str, sentence: str) -> None:
    assert shown(mode=mode) == sentence


def test_an_empty_plan_says_what_it_could_not_compare() -> None:
    unseen = warning("store-unseen", "store 'vault' could not be looked at")
    for mode in ("normal", "refresh-only"):
        text = shown(mode=mode, diagnostics=(unseen,))
        assert text.startswith("No changes in what could be read. Not every store could be looked at")
        assert "as declared" not in text
    assert "could not be" not in shown(mode="destroy", diagnostics=(unseen,))


def test_an_empty_plan_with_errors_does_not_claim_that_all_is_well() -> None:
    assert "as declared" not in shown(diagnostics=(error("x", "y"),))


def test_counts_of_unmanaged_keys_and_the_summary() -> None:
    text = shown(
        Change("keys.a", "create", "x", "sandbox"),
        Change("keys.b", "create", "x", "sandbox"),
        Change("keys.c", "revoke", "x", "sandbox"),
        unchanged=5,
        unmanaged=(("sandbox", 1), ("other", 3)),
    )
    assert "sandbox has 1 more active key that keyform does not manage" in text
    assert "other has 3 more active keys that" in text
    assert text.endswith("\n\nPlan: 2 to create, 1 to revoke; 5 unchanged.\n")


def test_colour_only_when_told_and_it_adds_nothing_but_colour() -> None:
    import re

    change = Change("keys.a", "update", "x", "sandbox", diff=(FieldDiff("scopes", ["a"], ["b"]),))
    plain, coloured = shown(change), shown(change, style=Style(colour=True))
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_without_unicode_the_symbols_are_ascii() -> None:
    changes = [Change("keys.a", action, "x", "sandbox") for action in ("rotate", "import", "move")]
    assert shown(*changes, style=Style(unicode=False)).isascii()


def test_running_text_is_wrapped_to_the_width() -> None:
    text = shown(Change("keys.a", "update", "word " * 60, "s"), style=Style(width=50))
    assert max(map(len, text.splitlines())) <= 50


def test_the_symbols_that_occur_are_explained() -> None:
    text = shown(
        Change("keys.a", "replace", "x", "s"),
        Change("keys.b", "update", "x", "s", drift=True),
        Change("keys.c", "update", "x", "s"),
    )
    assert text.startswith(
        "Symbols:\n   ~ update in place\n +/- create a new key, then revoke the old one\n"
        "   ! in front: changed outside keyform\n\n"
    )
    assert "Symbols" not in shown()


def test_without_changes_a_target_is_named() -> None:
    assert shown(targets=("keys.c",)).endswith("No changes to keys.c.\n")


@pytest.mark.parametrize(
    ("severity", "ending"), [("error", " It cannot be applied; see the errors."), ("warning", "")]
)
def test_a_plan_of_what_was_half_seen_claims_no_more_than_that(severity: str, ending: str) -> None:
    told = Diagnostic(severity, INCOMPLETE_LISTING, "half of it")
    half = plan(Change("keys.a", "revoke", "gone"), unchanged=2, diagnostics=(told,))
    assert plan_text(half, Style()).splitlines()[-1] == (
        f"Plan: 1 to revoke; 2 unchanged as far as could be read.{ending}"
    )
