import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyform.report.diagnostics import diagnostics_text
from keyform.report.safe import columns, json_text, padded, quoted, visible
from keyform.report.style import Style
from keyform.report.text import plan_text

from .hostile import HOSTILE
from .plans import hostile_plan

DANGEROUS = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def dangers(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in DANGEROUS]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_terminal_would_obey_becomes_a_visible_escape(text: str) -> None:
    assert dangers(visible(text)) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\U000e0041", "\\U000e0041"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\ud800", "\\ud800"),
        ("日本語 é 🎉 ไทย", "日本語 é 🎉 ไทย"),
        ("plain", "plain"),
        ("e\u0301", "e\u0301"),
    ],
)
def test_the_escape_names_the_character_and_plain_text_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(codec=None)))
def test_no_text_at_all_gets_through(text: str) -> None:
    assert dangers(visible(text)) == []


@given(st.text(max_size=8), st.text(max_size=8))
def test_two_values_never_look_the_same_in_quotes(one: str, other: str) -> None:
    assert (quoted(one) == quoted(other)) == (one == other)


@given(
    st.recursive(st.text(st.characters(codec=None)), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_json_for_a_terminal_is_the_same_value_without_dangers(value: object) -> None:
    text = json_text(json.dumps(value, indent=1, ensure_ascii=False))
    assert json.loads(text) == json.loads(json.dumps(value))
    assert [c for c in dangers(text) if c != "\n"] == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_plan_has_its_own_lines_and_nothing_else(text: str) -> None:
    style = Style(width=10_000)
    shown = plan_text(hostile_plan(text), style)
    assert [c for c in dangers(shown) if c != "\n"] == []
    # A reason that is blank takes no line; all else does, whatever it is.
    blank = 0 if text.strip() else 18
    assert shown.count("\n") + blank == plan_text(hostile_plan("plain"), style).count("\n")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_diagnostics_are_shown_safely(text: str) -> None:
    shown = diagnostics_text(hostile_plan(text).diagnostics, Style())
    assert [c for c in dangers(shown) if c != "\n"] == []


def test_columns_count_wide_characters_twice_and_marks_not_at_all() -> None:
    assert [columns(text) for text in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]
    assert padded("日", 4) == "日  "
