"""What a YAML parser could not read: the place that has to be mended, and what to do there."""

from __future__ import annotations

from typing import Any

import yaml

from keyform.documents.problems import Problems, Spot

_GENERAL = "Check the indentation, the quotes and the brackets around this place."
_BRACKETS = {"while parsing a flow sequence": "[", "while parsing a flow mapping": "{"}
_CLOSING = {"[": "]", "{": "}"}

Finding = tuple[Any, str, str]
"""A mark, what is wrong there, and what to do."""


def syntax_problem(failure: yaml.YAMLError, text: str, file: str, problems: Problems, loader: Any) -> None:
    """Record a failure of the YAML parser. ``loader`` is the class that failed."""
    mark = getattr(failure, "problem_mark", None) or getattr(failure, "context_mark", None)
    if mark is None:
        offset = getattr(failure, "position", 0) or 0
        before = text[:offset]
        spot = Spot(file, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
        character = getattr(failure, "character", None)
        code = character if isinstance(character, int) else ord(character) if character else 0
        problems.error(
            "control-character",
            spot,
            f"the control character U+{code:04X} is not allowed in YAML",
            "Remove it, or write it as an escape in double quotes.",
        )
        return
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    problem = getattr(failure, "problem", None) or "the file ends unexpectedly"
    column = mark.column
    if "\t" in indent or "\\t" in problem or "tab " in problem:
        column = indent.find("\t") if "\t" in indent else column
        problem, detail = "a tab is used where YAML takes only spaces", "Indent with spaces."
    elif (found := _never_closed(failure, mark)) or (found := _before(failure, mark, problem, text, loader)):
        mark, problem, detail = found
        column = mark.column
    elif "cannot start any token" in problem:
        problem = "a text without quotes cannot begin with this character"
        detail = "Put quotes around the text."
    else:
        detail = 'A template needs quotes in YAML: "${env:NAME}".' if "${" in line else _GENERAL
    problems.error(
        "yaml-syntax", Spot(file, mark.line + 1, column + 1), f"this is not valid YAML: {problem}", detail
    )


def _never_closed(failure: Any, mark: Any) -> Finding | None:
    """What was opened on an earlier line; the parser notices only where that cannot go on any more."""
    opened, context = getattr(failure, "context_mark", None), getattr(failure, "context", None) or ""
    if opened is None or opened.line == mark.line:
        return None
    if bracket := _BRACKETS.get(context):
        what = f"this `{bracket}` is not closed before line {mark.line + 1}"
        return opened, what, f"Put a `{_CLOSING[bracket]}` after its last entry."
    if context == "while scanning a quoted scalar":
        return opened, "this quote is never closed", "Put the same quote at the end of the text."
    if context == "while scanning a simple key":
        return opened, "there is no `:` after this name", "Write `name: value`, with a space in between."
    return None


def _before(failure: Any, mark: Any, problem: str, text: str, loader: Any) -> Finding | None:
    """A text that began on an earlier line and swallowed what follows it."""
    token = _last_text(text, mark, loader)
    if token is None:
        return None
    start, lines_apart = token.start_mark, mark.line - token.start_mark.line
    if problem.startswith("mapping values are not allowed"):
        first = text.split("\n")[start.line][: start.column].strip(" -") == ""
        if first and lines_apart:
            what = "there is no `:` after this name"
            return start, what, "Write `name: value`, or `name:` above fields that are indented further."
        if lines_apart:
            return mark, "this line is indented further than the one above", "Give both the same indentation."
        return mark, "a second `: ` in one line", "Put quotes around a text that holds a colon and a space."
    if lines_apart and token.style in ('"', "'") and token.end_mark.line == mark.line:
        what = f"this quote is closed only on line {mark.line + 1}"
        return start, what, "Put the same quote at the end of the text."
    if not lines_apart and token.style in ('"', "'") and "expected key" in problem:
        return mark, "something follows a closing quote", "Put all of the text inside the quotes."
    return None


def _last_text(text: str, mark: Any, loader: Any) -> Any:
    """The last scalar that begins before ``mark``."""
    tokens, last = loader(text), None
    try:
        while (token := tokens.get_token()) is not None and token.start_mark.index < mark.index:
            if isinstance(token, yaml.ScalarToken):
                last = token
    except yaml.YAMLError:
        pass
    return last
