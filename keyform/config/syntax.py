"""What a YAML parser could not read, in words that say what to do."""

from __future__ import annotations

import yaml

from keyform.config.problems import Problems, Spot


def syntax_problem(failure: yaml.YAMLError, text: str, file: str, problems: Problems) -> None:
    """Record a failure of the YAML parser."""
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
    column = mark.column
    problem = getattr(failure, "problem", None) or "the file ends unexpectedly"
    detail = "Check the indentation, the quotes and the brackets around this place."
    if "\t" in indent or "\\t" in problem or "tab " in problem:
        column = indent.find("\t") if "\t" in indent else column
        problem, detail = "a tab is used where YAML takes only spaces", "Indent with spaces."
    elif "${" in line:
        detail = 'A template needs quotes in YAML: "${env:NAME}".'
    problems.error(
        "yaml-syntax", Spot(file, mark.line + 1, column + 1), f"this is not valid YAML: {problem}", detail
    )
