"""Positions for messages, looked up only when there is a message.

A file's text is composed once more, this time with positions, and paths are followed through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import yaml

from keyform.diagnostics import Diagnostic
from keyform.documents.parse import Loader, collector_paused
from keyform.documents.problems import Problem, Problems, Spot
from keyform.documents.sensitive import ONE_ENVIRONMENT_NAME, has_password, is_sensitive, passwords_in
from keyform.model import Location, SourceRef

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_LINE_VALUE = re.compile(r"""([\w-]+)["']?[ \t]*:[ \t]+(?=[^\s])""")
_LONGEST_SNIPPET = 400

HoldsCredential = Callable[[tuple[str, ...]], bool]
"""Whether what stands under a path of names is a credential by the last of them."""


class FileIndex:
    """The positions in one file. Made from its text; ``broken`` files have lines and no paths."""

    def __init__(self, name: str, text: str, broken: bool, holds_credential: HoldsCredential) -> None:
        self._name = name
        self._holds_credential = holds_credential
        self._lines = _LINE_BREAK.split(text)
        self._root: Any = None
        self._children: dict[int, dict[str, tuple[Any, Any]]] = {}
        if not broken:
            with collector_paused():
                self._root = yaml.compose(text, Loader=Loader)
        self._masks = self._masks_of_tree() if self._root is not None else self._masks_of_lines()

    def position(self, path: tuple[str | int, ...], on_name: bool) -> Location:
        """Where ``path`` stands; where its nearest existing ancestor stands if it is not there.

        A scalar is shown where it stands, a mapping or a list where its name stands.
        """
        node, shown = self._root, self._root
        for part in path:
            step = self._step(node, part)
            if step is None:
                break
            name_node, node = step
            collection = not isinstance(node, yaml.ScalarNode)
            shown = name_node if name_node is not None and (on_name or collection) else node
        if shown is None:
            return Location(self._name, 1, 1)
        return Location(self._name, shown.start_mark.line + 1, shown.start_mark.column + 1)

    def snippet(self, line: int) -> str:
        """A line of the file (from 1) with every credential in it masked, its columns unmoved."""
        if not 1 <= line <= len(self._lines):
            return ""
        text = self._lines[line - 1]
        for start, end in sorted(self._masks.get(line - 1, ()), reverse=True):
            text = text[:start] + "*" * (end - start) + text[end:]
        return text[:_LONGEST_SNIPPET].replace("\t", " ")

    def _step(self, node: Any, part: str | int) -> tuple[Any, Any] | None:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            return None, node.value[part]
        if isinstance(node, yaml.MappingNode) and isinstance(part, str):
            return self._fields(node).get(part)
        return None

    def _fields(self, node: Any) -> dict[str, tuple[Any, Any]]:
        known = self._children.get(id(node))
        if known is None:
            known = self._children[id(node)] = {}
            merged: list[Any] = []
            for name, value in node.value:
                if isinstance(name, yaml.ScalarNode):
                    if name.value == "<<" and name.style is None:
                        merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                    known.setdefault(name.value, (name, value))
            for source in merged:
                if isinstance(source, yaml.MappingNode):
                    for field, pair in self._fields(source).items():
                        known.setdefault(field, pair)
        return known

    def _masks_of_tree(self) -> dict[int, list[tuple[int, int]]]:
        masks: dict[int, list[tuple[int, int]]] = {}
        seen: set[int] = set()
        # Each with its names, and whether it is a credential.
        pending: list[tuple[Any, tuple[str, ...], bool]] = [(self._root, (), False)]
        while pending:
            node, path, sensitive = pending.pop()
            if id(node) in seen and not sensitive:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.ScalarNode):
                if (sensitive and not ONE_ENVIRONMENT_NAME.match(node.value)) or has_password(node.value):
                    self._mask(masks, node)
            elif isinstance(node, yaml.SequenceNode):
                pending += [(item, path, sensitive) for item in node.value]
            else:
                for name, value in node.value:
                    named = name.value if isinstance(name, yaml.ScalarNode) else ""
                    inside = (*path, named)
                    pending.append((value, inside, sensitive or self._holds_credential(inside)))
        return masks

    def _mask(self, masks: dict[int, list[tuple[int, int]]], node: Any) -> None:
        start, end = node.start_mark, node.end_mark
        for line in range(start.line, min(end.line + 1, len(self._lines))):
            first = start.column if line == start.line else 0
            last = end.column if line == end.line else len(self._lines[line])
            if last > first:
                masks.setdefault(line, []).append((first, last))

    def _masks_of_lines(self) -> dict[int, list[tuple[int, int]]]:
        """Without a tree: everything after the name of a credential, and the deeper lines that follow; the
        passwords in URLs."""
        masks: dict[int, list[tuple[int, int]]] = {}
        inside: int | None = None
        for number, line in enumerate(self._lines):
            indent = len(line) - len(line.lstrip())
            if inside is not None and line.strip():
                if indent > inside:
                    masks[number] = [(indent, len(line))]
                    continue
                inside = None
            if urls := list(passwords_in(line)):
                masks[number] = urls
            for match in _LINE_VALUE.finditer(line + " x"):
                if is_sensitive(match[1]):
                    inside = indent
                    if match.end() < len(line):
                        masks.setdefault(number, []).append((match.end(), len(line)))
                    break
        return masks


class Sources:
    """The texts of files, by the names that messages use. Without ``holds_credential`` names alone tell."""

    def __init__(
        self,
        texts: Mapping[str, str],
        broken: Collection[str],
        holds_credential: HoldsCredential = lambda path: is_sensitive(path[-1]),
    ) -> None:
        self._texts = texts
        self._broken = broken
        self._holds_credential = holds_credential
        self._indexes: dict[str, FileIndex] = {}

    def locate(self, source: SourceRef, on_name: bool = False) -> tuple[Location, str]:
        """The position of a node and its line."""
        index = self.index(source.file)
        if index is None:
            return Location(source.file, 1, 1), ""
        location = index.position(source.path, on_name)
        return location, index.snippet(location.line)

    def index(self, file: str) -> FileIndex | None:
        """The positions of a file, or None when its text could not be read."""
        if file not in self._indexes:
            if file not in self._texts:
                return None
            self._indexes[file] = FileIndex(
                file, self._texts[file], file in self._broken, self._holds_credential
            )
        return self._indexes[file]


def diagnostics_of(problems: Problems, sources: Sources) -> tuple[Diagnostic, ...]:
    """Each problem once as a diagnostic with its place and line, in the order of the places."""
    found = [*problems.elsewhere, *(_diagnostic(problem, sources) for problem in problems.found)]
    unique = {(d.code, d.location, d.summary): d for d in reversed(found)}
    return tuple(
        sorted(
            unique.values(),
            key=lambda d: (d.location.file, d.location.line, d.location.column) if d.location else ("", 0, 0),
        )
    )


def _diagnostic(problem: Problem, sources: Sources) -> Diagnostic:
    location, snippet, also = None, None, None
    if isinstance(problem.where, Spot):
        location = Location(problem.where.file, problem.where.line, problem.where.column)
        index = sources.index(location.file)
        snippet = index.snippet(location.line) if index else None
    elif problem.where is not None:
        location, snippet = sources.locate(problem.where, problem.on_name)
    if problem.also is not None:
        phrase, other = problem.also
        also = (phrase, sources.locate(other, on_name=True)[0])
    return Diagnostic(
        problem.severity,
        problem.code,
        problem.summary,
        problem.detail,
        problem.address,
        location,
        snippet,
        also,
    )
