import pytest

from keyform.diagnostics import error, note, warning
from keyform.model import Location
from keyform.report.diagnostics import diagnostics_text
from keyform.report.style import Style


def excerpt(snippet: str, column: int, width: int = 80) -> tuple[str, str]:
    """The source line as shown, and the character that the caret stands under."""
    found = error("x", "y", location=Location("keyform.yaml", 12, column), snippet=snippet)
    _, source, caret = diagnostics_text([found], Style(width=width)).splitlines()
    assert caret.endswith("^")
    return source, caret


def test_place_line_caret_and_what_to_do() -> None:
    found = error(
        "unknown-field",
        "unknown field `scope`",
        "Did you mean `scopes`?",
        location=Location("keyform.yaml", 12, 5),
        snippet="    scope: [a]",
    )
    assert diagnostics_text([found], Style()) == (
        "keyform.yaml:12:5: error: unknown field `scope`\n"
        "   12 |     scope: [a]\n"
        "      |     ^\n"
        "  Did you mean `scopes`?\n"
    )


@pytest.mark.parametrize(
    ("snippet", "column", "before"),
    [
        ("abc: x", 1, 0),
        ("\t\tx: 1", 3, 8),
        ("日本: x", 5, 6),
        ("e\u0301: x", 5, 3),
        ("\x1b: x", 4, 6),
        ("short", 99, 5),
        ("", 1, 0),
    ],
)
def test_the_caret_stands_under_its_column(snippet: str, column: int, before: int) -> None:
    _, caret = excerpt(snippet, column)
    assert caret.index("^") == len("   12 | ") + before


def test_a_long_line_is_cut_around_the_place() -> None:
    source, caret = excerpt("a" * 500 + "HERE" + "b" * 500, 501)
    assert len(source) <= 80
    assert source[caret.index("^") :].startswith("HERE")
    assert source.count("…") == 2


def test_all_of_them_with_a_count() -> None:
    text = diagnostics_text(
        [error("a", "one"), warning("b", "two"), error("c", "three"), note("d", "four")], Style()
    )
    assert [line for line in text.splitlines() if line] == [
        "error: one",
        "warning: two",
        "error: three",
        "note: four",
        "2 errors, 1 warning, 1 note.",
    ]


def test_one_alone_is_not_counted_and_none_is_nothing() -> None:
    assert diagnostics_text([error("a", "one")], Style()) == "error: one\n"
    assert diagnostics_text([], Style()) == ""


def test_an_address_is_named_once() -> None:
    assert diagnostics_text([error("a", "is odd", address="keys.a")], Style()) == "error: keys.a: is odd\n"
    assert (
        diagnostics_text([error("a", "keys.a is odd", address="keys.a")], Style()) == "error: keys.a is odd\n"
    )


def test_many_warnings_of_one_kind_are_told_once() -> None:
    found = [
        warning("secret-unknown", f"the secret of key_{n} is not known", "Wait.", address=f"keys.k{n}")
        for n in range(21)
    ]
    text = diagnostics_text([error("x", "first"), *found], Style())
    assert text.count("is not known") == 1
    assert "The same holds for keys.k1, keys.k2," in text
    assert "and 12 more." in " ".join(text.split())
    assert text.endswith("1 error, 21 warnings.\n")


def test_two_of_a_kind_other_remedies_and_errors_are_told_each() -> None:
    pair = [warning("x", "w", "Do.", address=f"keys.{n}") for n in "ab"]
    other = warning("x", "w", "Do something else.", address="keys.c")
    errors = [error("x", "e", "Do.", address=f"keys.{n}") for n in "abcd"]
    text = diagnostics_text([*pair, other, *errors], Style())
    assert "The same holds" not in text
    assert len(text.split("\n\n")) == 8


def test_a_second_place_comes_before_what_to_do() -> None:
    found = error("x", "y", "Keep one.", also=("The first is at", Location("a.yaml", 3, 4)))
    assert diagnostics_text([found], Style()) == "error: y\n  The first is at a.yaml:3:4. Keep one.\n"
    assert found.as_json()["detail"] == "The first is at a.yaml:3:4. Keep one."
