import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from keyform.engine.plan import Change, FieldDiff
from keyform.report.changes import DONE
from keyform.report.markdown import plan_markdown
from keyform.report.safe import code_span, fenced, visible
from keyform.report.state import state_markdown
from keyform.report.table import markdown_table
from keyform.state import ProjectRecord, State

from .hostile import HOSTILE
from .plans import hostile_plan, plan

EXPECTED = {"h2", "h3", "h4", "p", "strong", "code", "pre", "details", "summary"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


class Tags(HTMLParser):
    """The elements of a page, and its text outside code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.plain = ""
        self.code: list[str] = []
        self._inside = 0

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)
        if tag == "code":
            self._inside += 1
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag == "code"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.code[-1] += data
        else:
            self.plain += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")


def rendered(markdown: str) -> Tags:
    page = Tags()
    page.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown))
    return page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_plan_renders_to_the_expected_elements_only(text: str) -> None:
    page = rendered(plan_markdown(hostile_plan(text), "sha256:" + "a" * 64))
    calm = rendered(plan_markdown(hostile_plan("plain"), "sha256:" + "a" * 64))
    assert set(page.tags) <= EXPECTED
    assert page.tags == calm.tags
    # Outside code there are keyform's own words only, so nothing to link or to mention.
    assert page.plain == calm.plain


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.strip(" ") and visible(t) == t])
def test_a_code_span_shows_the_text_itself(text: str) -> None:
    page = rendered(f"before {code_span(text)} after")
    assert page.tags == ["p", "code"]
    assert page.code == [text]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_fenced_block_holds_every_line(text: str) -> None:
    page = rendered("\n".join([*fenced([text, "last"]), "", "after"]))
    assert page.tags == ["pre", "code", "p"]
    assert page.code[0].endswith("\nlast\n")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_table_cell_stays_one_cell(text: str) -> None:
    page = rendered(markdown_table(("one", "two"), [(code_span(text), code_span(text))]))
    assert set(page.tags) <= TABLE | {"code"}
    assert page.tags.count("td") == 2


def test_an_empty_state_is_said_to_own_nothing() -> None:
    assert "It owns no key yet." in state_markdown(State.fresh(), "a | `file`")


def test_the_summary_comes_first_and_the_digest_last() -> None:
    lines = plan_markdown(plan(Change("keys.a", "create", "declared", "sandbox"), unchanged=4), "sha256:abc")
    assert lines.splitlines()[2] == "**1 to create; 4 unchanged.**"
    assert lines.splitlines()[-1] == "Plan `sha256:abc`, state serial 7."


def test_long_groups_are_folded_and_short_ones_are_not() -> None:
    def page(count: int) -> Tags:
        found = [Change(f"keys.k{n}", "create", "declared", "sandbox") for n in range(count)]
        return rendered(plan_markdown(plan(*found), "sha256:abc"))

    assert "details" not in page(3).tags
    assert page(300).tags.count("details") == 1
    assert "keys.k299" in page(300).code[0]


def test_a_plan_too_long_for_a_comment_says_what_it_leaves_out() -> None:
    found = [
        Change(f"keys.k{n}", "create", "declared", "sandbox", diff=(FieldDiff("name", None, "n" * 50),))
        for n in range(5000)
    ]
    text = plan_markdown(plan(*found), "sha256:abc")
    assert len(text) < 65_536
    left = re.search(r"(\d+) more are left out here", text)
    assert left
    assert text.count("+ keys.k") == 5000 - int(left[1])


def test_projects_stand_beside_keys_and_without_them() -> None:
    state = replace(
        State.fresh(), projects={"projects.w": ProjectRecord("projects.w", "s", "w", ("https://a.example",))}
    )
    text = state_markdown(state, "file")
    assert "| `projects.w` | `s` | `https://a.example` |" in text
    assert "owns no key" not in text


def test_how_many_there_are_to_create_is_said_once() -> None:
    text = plan_markdown(plan(*(Change(f"keys.k{n}", "create", "x", "s") for n in range(40))), "sha256:x")
    assert text.count("40 to create") == 1


def gaining(name: str, action: str, way: str | None, *words: str) -> Change:
    return Change(f"keys.{name}", action, "x", "s", privilege=way, privilege_words=words)


def test_what_keys_gain_stands_first() -> None:
    text = plan_markdown(
        plan(
            gaining("new", "create", "widens", "can read"),
            gaining("less", "update", "narrows", "can no longer write"),
            gaining("same", "update", None),
            gaining("other", "update", "moves", "was a, is b now"),
            gaining("more", "update", "widens", "powerful: can now write", "never expires"),
        ),
        "sha256:x",
    )
    top, _, rest = text.partition("### Planned changes")
    assert "**2 changes widen, 1 moves and 1 narrows what keys can do.**" in top
    order = [
        "! keys.more  WIDENS",
        "!   powerful: can now write",
        "!   never expires",
        "! keys.other  MOVES",
        "!   was a, is b now",
        "! keys.new  WIDENS",
        "!   can read",
    ]
    assert [line for line in top.split("\n") if line.startswith("!")] == order
    assert "keys.less" not in top
    update = rest.partition("#### Update")[2]
    found = [update.index(f"keys.{name}  ") for name in ("more", "other", "less", "same")]
    assert found == sorted(found)
    assert "    WIDENS: powerful: can now write; never expires" in update
    assert "    narrows: can no longer write" in update


def test_many_that_gain_are_counted_above_and_shown_below() -> None:
    text = plan_markdown(plan(*(gaining(f"k{n}", "update", "widens", "more") for n in range(12))), "sha256:x")
    top, _, rest = text.partition("### Planned changes")
    assert "! and 2 more, below" in top
    assert rest.count("WIDENS: more") == 12


def test_a_plan_by_which_nothing_is_gained_says_nothing_above() -> None:
    text = plan_markdown(plan(gaining("less", "update", "narrows", "no more")), "sha256:x")
    assert "what keys can do" not in text


@pytest.mark.parametrize("action", DONE)
def test_every_action_has_its_section(action: str) -> None:
    text = plan_markdown(plan(gaining("a", action, None)), "sha256:x")
    assert f"#### {action.capitalize()}\n\n```diff\n" in text
    assert " keys.a  " in text
