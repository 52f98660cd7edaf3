"""What fits a narrow terminal: nothing is broken inside a word, and nothing gets lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyform.engine.plan import Change, FieldDiff, Step
from keyform.report.profile import profile_text, profiles_text
from keyform.report.safe import columns
from keyform.report.style import Style
from keyform.report.table import table
from keyform.report.text import plan_text
from keyform.report.wrap import wrap
from keyform.services.profiles import known_types, load_profile

from .plans import plan

WIDTHS = [40, 50, 65, 80, 120]
ORIGIN = "https://a-rather-long-subdomain.of-some-customer.example.com"


def narrow(width: int) -> Style:
    return Style(width=width, room=width)


def fits(text: str, width: int) -> None:
    """No line is wider than the terminal, but for a word that could not be."""
    for line in text.splitlines():
        assert columns(line) <= width or len(line.split()) == 1, line
        assert columns(line) <= width or not line.startswith(" "), line


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", known_types())
def test_what_is_known_of_a_type_fits_and_is_whole(name: str, width: int) -> None:
    profile = load_profile(name, Path())
    assert profile is not None
    text = profile_text(profile, narrow(width))
    fits(text, width)
    words = set(profile_text(profile, Style(width=10_000)).split())
    headings = {word for word in words if word.isupper()}
    shown = {word.rstrip(";") for word in text.split()}
    assert {word.rstrip(";") for word in words - headings} <= shown


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_all_types_fits(width: int) -> None:
    profiles = [profile for name in known_types() if (profile := load_profile(name, Path()))]
    text = profiles_text(profiles, narrow(width))
    fits(text, width)
    for profile in profiles:
        assert any(line.split()[:1] == [profile.type] for line in text.splitlines())
        assert all(kind in text for kind in profile.kinds)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plan_and_its_checklists_fit(width: int) -> None:
    change = Change(
        "projects.website",
        "update",
        "two origins were added to the list, and one was taken from it in the configuration",
        "analytics",
        diff=(FieldDiff("allowed_origins", ["https://old.example"], [ORIGIN, "https://new.example"]),),
        steps=(
            Step(
                "set_origins",
                "projects.website",
                "analytics",
                checklist=(
                    "Open the project.",
                    f"Add exactly: {ORIGIN}, https://new.example; and then save.",
                ),
            ),
        ),
    )
    text = plan_text(plan(change), narrow(width))
    fits(text, width)
    assert f'+ "{ORIGIN}"' in " ".join(text.split())
    assert f"2. Add exactly: {ORIGIN}, https://new.example; and then save." in " ".join(text.split())
    assert "(loses access)" in " ".join(text.split())


def test_off_a_terminal_a_row_is_one_line() -> None:
    rows = [("keys.a", "word " * 60)]
    assert len(table(("what", "found"), rows, Style(width=40)).splitlines()) == 2
    assert len(table(("what", "found"), rows, narrow(40)).splitlines()) > 5


def test_a_table_keeps_its_columns_while_each_has_room_and_becomes_blocks_then() -> None:
    rows = [("keys.a", "ok", "key_1", "a sentence that is rather long"), ("keys.b", "", "key_2", "short")]
    header = ("what", "result", "key", "found")
    assert table(header, rows, narrow(44)).splitlines() == [
        "WHAT    RESULT  KEY    FOUND",
        "keys.a  ok      key_1  a sentence that is",
        "                       rather long",
        "keys.b          key_2  short",
    ]
    assert table(header, rows, narrow(36)).splitlines() == [
        "keys.a",
        "  result: ok; key: key_1",
        "  found: a sentence that is rather",
        "    long",
        "keys.b",
        "  key: key_2; found: short",
    ]


def test_a_column_that_is_empty_is_left_out() -> None:
    assert table(("a", "b", "c"), [("1", "", "3"), ("4", "", "6")], Style()) == "A  C\n1  3\n4  6\n"


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("", 20, []),
        ("one two three", 8, ["one two", "three"]),
        ("a  b", 20, ["a  b"]),
        ("an-unbreakable-token-of-31-chars x", 20, ["an-unbreakable-token-of-31-chars", "x"]),
        ("run `keyform apply` now", 16, ["run", "`keyform apply`", "now"]),
        ("run `keyform apply --auto-approve` now", 16, ["run `keyform", "apply", "--auto-approve`", "now"]),
        ("\u6f22\u5b57\u6f22\u5b57 \u6f22\u5b57", 10, ["\u6f22\u5b57\u6f22\u5b57", "\u6f22\u5b57"]),
        ("an-unbreakable-token", 8, ["an-unbreakable-token"]),
        ("an odd ` backtick", 40, ["an odd ` backtick"]),
    ],
)
def test_lines_are_broken_between_words(text: str, room: int, lines: list[str]) -> None:
    assert wrap(text, room) == lines


def test_what_no_line_can_hold_beside_its_indent_moves_to_the_left() -> None:
    assert wrap("key 0123456789012345 ok", 18, "    ") == ["    key", "  0123456789012345", "    ok"]
    assert wrap("0123456789012345 ok", 18, "  + ", "    ") == ["  +", "  0123456789012345", "    ok"]
