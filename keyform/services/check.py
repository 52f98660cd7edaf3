"""Checking a profile file: its form by the schema, its sense by rules, each finding with its place."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from keyform.diagnostics import Diagnostic, error
from keyform.model import Location
from keyform.services.profiles import parse
from keyform.services.sense import problems_of

Path = tuple[str | int, ...]

_MOST = 50
_DEEPEST = 40


def check_profile(data: bytes, where: str) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a profile file, in the order of its lines; empty for a sound one.

    ``where`` is the file's name for messages. Reads nothing else and sends nothing.
    """
    import yaml

    try:
        root = yaml.compose(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        tree = parse(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as problem:
        return (_not_yaml(where, problem),)
    index = _Index(where, root, data.decode("utf-8", "replace").splitlines())
    found = [*index.duplicates()]
    if not found:
        found = list(_schema(index, tree))
    if not found:
        found = [index.problem(path, summary, detail) for path, summary, detail in problems_of(tree)]
    found.sort(key=lambda diagnostic: (diagnostic.location.line, diagnostic.location.column))  # type: ignore[union-attr]
    return tuple(found[:_MOST])


class _Index:
    """Where the parts of a file stand."""

    def __init__(self, name: str, root: Any, lines: list[str]) -> None:
        self._name = name
        self._root = root
        self._lines = lines

    def problem(self, path: Path, summary: str, detail: str = "") -> Diagnostic:
        """A finding at a path of the file."""
        location = self._locate(path)
        shown = ".".join(map(str, path))
        line = self._lines[location.line - 1] if 0 < location.line <= len(self._lines) else None
        return error(
            "profile",
            f"profile {self._name}: {shown}: {summary}" if shown else f"profile {self._name}: {summary}",
            detail,
            location=location,
            snippet=line,
        )

    def duplicates(self) -> Iterator[Diagnostic]:
        """Names that stand twice in one mapping, of which YAML would silently keep the last."""
        import yaml

        pending: list[tuple[Path, Any]] = [((), self._root)]
        seen: set[int] = set()
        while pending:
            path, node = pending.pop()
            if id(node) in seen or len(path) > _DEEPEST:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                pending += [((*path, n), item) for n, item in enumerate(node.value)]
            elif isinstance(node, yaml.MappingNode):
                names: set[str] = set()
                for name, value in node.value:
                    text = getattr(name, "value", "")
                    if isinstance(text, str) and text in names and text != "<<":
                        yield self.problem((*path, text), "stands twice", "Keep one of the two.")
                    if isinstance(text, str):
                        names.add(text)
                        pending.append(((*path, text), value))

    def _locate(self, path: Path) -> Location:
        import yaml

        node = mark = self._root
        for part in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = mark = node.value[part]
                continue
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            # The last one counts, as it does when YAML is read.
            found = [pair for pair in pairs if getattr(pair[0], "value", None) == str(part)]
            if not found:
                break
            mark, node = found[-1]
            if isinstance(node, yaml.ScalarNode):
                mark = node
        if mark is None:
            return Location(self._name, 1, 1)
        return Location(self._name, mark.start_mark.line + 1, mark.start_mark.column + 1)


def _not_yaml(where: str, problem: Exception) -> Diagnostic:
    mark = getattr(problem, "problem_mark", None)
    what = getattr(problem, "problem", None) or str(problem) or type(problem).__name__
    location = Location(where, mark.line + 1, mark.column + 1) if mark else Location(where, 1, 1)
    return error("profile", f"the profile {where} is not YAML: {what}", "Mend the file.", location=location)


def _schema(index: _Index, tree: Any) -> Iterator[Diagnostic]:
    try:
        named = _text_names(tree, ())
    except _BadName as bad:
        yield index.problem(bad.path, "a name is no text; quote names like on, yes, no and numbers")
        return
    for found in _validator().iter_errors(named):
        path = tuple(found.instance_path)
        yield index.problem(path, found.message, _HINTS.get(found.schema_path[-1], ""))


_HINTS = {
    "additionalProperties": "Check the spelling; docs/profiles.md lists every word.",
    "required": "Add it; docs/profiles.md says what it means.",
    "type": "Words like on, off, yes and no, and numbers, are texts only in quotes.",
}


@functools.cache
def _validator() -> Any:
    import jsonschema_rs

    from keyform.schemas_location import schema_text

    return jsonschema_rs.validator_for(json.loads(schema_text("profile.schema.json")))


class _BadName(ValueError):
    """A name in the file is no text; ``path`` is where its mapping stands."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


def _text_names(tree: Any, path: Path) -> Any:
    """The tree with numbers as names written as texts, the way that JSON has them (``404: …``)."""
    if len(path) > _DEEPEST:
        raise _BadName(path[:3])
    if isinstance(tree, dict):
        if any(type(name) not in (str, int) for name in tree):
            raise _BadName(path)
        return {str(name): _text_names(value, (*path, str(name))) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_text_names(value, (*path, n)) for n, value in enumerate(tree)]
    return tree
