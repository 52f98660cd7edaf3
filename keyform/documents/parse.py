"""YAML text to plain dictionaries and lists, without positions.

The parser's events are read in one loop: no recursion, no node objects, and aliases are shared instead
of copied, so that neither nesting nor aliases can exhaust the process. Positions are needed only for
messages and are looked up afterwards (``locate``).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from keyform.documents.problems import Problems, Spot, brief
from keyform.documents.scalars import DATE, SPECIAL_STARTS, plain_scalar
from keyform.documents.sensitive import is_sensitive
from keyform.documents.syntax import syntax_problem
from keyform.model import SourceRef

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

DEEPEST = 64
MOST_NODES = 2_000_000
"""Nodes after alias expansion; a long text counts once more for every 64 characters."""

_TIMES = ("expires_at", "until")
_STANDARD = "tag:yaml.org,2002:"
_COLLECTION_TAGS = frozenset({None, "!", _STANDARD + "map", _STANDARD + "seq"})
_MERGE: Any = object()
_NO_KEY: Any = object()


class _Stop(Exception):
    """The file cannot be read any further; the reason has been recorded."""


def parse(
    text: str, file: str, problems: Problems, *, most_nodes: int = MOST_NODES, number_names: bool = False
) -> Any:
    """The one document of a YAML text, None when it is empty or cannot be read.

    Everything wrong with it is recorded; after a syntax error ``file`` is among the broken files.
    ``most_nodes`` bounds what aliases expand to; with ``number_names`` whole numbers may be names, as texts.
    """
    try:
        with collector_paused():
            return _Composer(text, file, problems, most_nodes, number_names).document()
    except _Stop:
        problems.broken_files.add(file)
    except yaml.YAMLError as failure:
        problems.broken_files.add(file)
        syntax_problem(failure, text, file, problems, Loader)
    return None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Half of the time of reading YAML is the garbage collector walking what has just been made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Composer:
    def __init__(self, text: str, file: str, problems: Problems, most_nodes: int, number_names: bool) -> None:
        self._next: Callable[[], Any] = Loader(text).get_event
        self._file = file
        self._problems = problems
        self._most_nodes = most_nodes
        self._number_names = number_names
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open_anchors: set[str] = set()
        self._merges: dict[int, list[Any]] = {}

    def document(self) -> Any:
        """Read the events of one document into a tree."""
        next_event, special, most_nodes = self._next, SPECIAL_STARTS, self._most_nodes
        documents = nodes = 0
        root: Any = None
        container: Any = None
        key: Any = _NO_KEY
        stack: list[tuple[Any, Any, str | None, int]] = []
        while True:
            event = next_event()
            kind = type(event)
            nodes += 1
            if kind is ScalarEvent:
                value: Any = event.value
                if not event.implicit[0]:
                    if event.tag is not None:
                        value = self._tagged(event)
                elif not value or value[0] in special:
                    value, surprise = plain_scalar(value)
                    # A day is right in some of these, and refused in others; quotes would not mend it.
                    if surprise and not (surprise == DATE and key in _TIMES):
                        self._surprise(event, key, surprise)
                elif value == "<<" and type(container) is dict and key is _NO_KEY:
                    key = _MERGE
                    continue
                if len(event.value) > 64:
                    nodes += len(event.value) >> 6
                if event.anchor is not None:
                    self._anchors[event.anchor] = (value, 1 + (len(event.value) >> 6))
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if event.tag not in _COLLECTION_TAGS:
                    self._refuse_tag(event)
                if type(container) is dict and key is _NO_KEY:
                    self._stop(
                        "bad-name",
                        event,
                        "a name here is a list or a mapping; it must be text",
                        'If this was meant to be a template, put quotes around it: "${env:NAME}".',
                    )
                if len(stack) >= DEEPEST:
                    self._stop(
                        "too-deep",
                        event,
                        f"nested deeper than {DEEPEST} levels",
                        "No keyform setting is nested this deep.",
                    )
                if event.anchor is not None:
                    self._open_anchors.add(event.anchor)
                    self._anchors.pop(event.anchor, None)
                stack.append((container, key, event.anchor, nodes))
                container, key = ({} if kind is MappingStartEvent else []), _NO_KEY
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value = container
                if self._merges and kind is MappingEndEvent:
                    self._merge_into(value)
                container, key, anchor, before = stack.pop()
                if anchor is not None:
                    self._open_anchors.discard(anchor)
                    self._anchors[anchor] = (value, nodes - before)
            elif kind is AliasEvent:
                value, size = self._aliased(event)
                nodes += size
            elif kind is StreamEndEvent:
                return root
            else:
                if kind is DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        self._stop(
                            "several-documents",
                            event,
                            "a second YAML document starts here",
                            "Put each document into a file of its own, or remove the `---`.",
                        )
                continue
            if nodes > most_nodes:
                self._stop(
                    "too-many-nodes",
                    event,
                    f"more than {most_nodes:,} values once its aliases are expanded",
                    "Write it without nested aliases (`*name`)"
                    + (", or split the configuration." if most_nodes == MOST_NODES else "."),
                )
            # A complete value: it is a name, the value of a name, an item of a list, or the document.
            if type(container) is dict:
                if key is _NO_KEY:
                    key = self._name(value, event)
                    if key in container:
                        self._duplicate(key, event, stack)
                        key = (key,)  # a tuple: the value is read and dropped
                    continue
                if key is _MERGE:
                    self._remember_merge(container, value, event)
                elif type(key) is not tuple:
                    container[key] = value
                key = _NO_KEY
            elif container is not None:
                container.append(value)
            else:
                root = value

    def _spot(self, event: Any) -> Spot:
        mark = event.start_mark
        return Spot(self._file, mark.line + 1, mark.column + 1)

    def _stop(self, code: str, event: Any, summary: str, detail: str) -> NoReturn:
        self._problems.error(code, self._spot(event), summary, detail)
        raise _Stop

    def _name(self, value: Any, event: Any) -> str:
        if type(value) is str:
            return value
        if type(value) is int and self._number_names:
            return str(event.value)
        text = brief(getattr(event, "value", ""))
        self._problems.error(
            "bad-name",
            self._spot(event),
            f"the name `{text}` is not text" if text else "a name is empty",
            f'Put quotes around it: "{text}".' if text else "Write the name before the colon.",
        )
        return getattr(event, "value", "") or str(value)

    def _surprise(self, event: Any, key: Any, taken_for: str) -> None:
        hidden = type(key) is str and is_sensitive(key)
        quoted = brief(event.value)
        text = "this value" if hidden else f"`{quoted}`"
        hint = "Put quotes around it." if hidden else f'Put quotes around it: "{quoted}"'
        if taken_for == "true or false" and not hidden:
            hint += f", or write `{str(event.value.lower() in ('yes', 'on')).lower()}`"
        self._problems.error(
            "ambiguous-value",
            self._spot(event),
            f"{text} is ambiguous: some YAML programs read it as {taken_for}, others as text",
            hint if hint.endswith(".") else hint + ".",
        )

    def _tagged(self, event: Any) -> Any:
        kind = (event.tag or "").removeprefix(_STANDARD)
        if event.tag in ("!", _STANDARD + "str"):
            return event.value
        if kind not in ("int", "float", "bool", "null") or event.tag == kind:
            self._refuse_tag(event)
        return plain_scalar(event.value)[0]

    def _refuse_tag(self, event: Any) -> NoReturn:
        # What the tag would have made of the value is not known, so nothing more can be said about it.
        self._stop("tag", event, f"YAML tags are not supported: `{brief(event.tag)}`", "Remove the tag.")

    def _aliased(self, event: Any) -> tuple[Any, int]:
        name = event.anchor
        if name in self._open_anchors:
            self._stop(
                "recursive-alias",
                event,
                f"the alias `*{name}` stands inside its own anchor `&{name}`",
                "Write the value out.",
            )
        if name not in self._anchors:
            self._stop(
                "unknown-alias",
                event,
                f"there is no anchor `&{name}` above this alias",
                "Anchors work within one file, from top to bottom.",
            )
        return self._anchors[name]

    def _remember_merge(self, container: dict[str, Any], value: Any, event: Any) -> None:
        sources = value if type(value) is list else [value]
        if not all(type(source) is dict for source in sources):
            self._problems.error(
                "bad-merge",
                self._spot(event),
                "`<<` takes a mapping, or a list of mappings",
                "Point it at an anchor of a mapping: `<<: *name`.",
            )
            return
        self._merges.setdefault(id(container), []).extend(sources)

    def _merge_into(self, container: dict[str, Any]) -> None:
        for source in self._merges.pop(id(container), ()):
            for name, value in source.items():
                container.setdefault(name, value)

    def _duplicate(self, key: str, event: Any, stack: list[Any]) -> None:
        path = tuple(len(frame[0]) if type(frame[0]) is list else frame[1] for frame in stack[1:])
        if any(type(part) not in (str, int) for part in path):
            path = ()
        self._problems.error(
            "duplicate-name",
            self._spot(event),
            f"`{brief(key)}` is written twice",
            "Remove one of the two.",
            also=("The first is at", SourceRef(self._file, (*path, key))),
        )
