"""The journal of an apply: intents before the first mint, ``sent`` before each create, receipts after it,
events as they come true.

One JSON object a line. A *section* begins with each run (an apply, or the recovery of one); an intent
stays open until an event with its marker, a ``doubt`` or a ``void`` closes it. A section whose run is the
state's ``run`` is in the state already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from keyform.apply.copies import Copy
from keyform.apply.intents import Intent, Receipt, Sent
from keyform.doubt import Doubt
from keyform.ended import Undone
from keyform.engine.events import Event, fold
from keyform.engine.lapsed import still_due
from keyform.engine.plan import Step
from keyform.engine.remember import remembering
from keyform.engine.whereabouts import Whereabouts
from keyform.errors import StateError
from keyform.model import Place
from keyform.ports import Journal
from keyform.state import State

VERSION = 1


class JournalWriter:
    """Writes one section. Safe from several threads; every call is durable when it returns. ``open`` are
    the markers of the section's intents that nothing has closed yet, ``failed`` says that some call raised:
    what it was to write may be in the journal, or not."""

    def __init__(self, journal: Journal, run: str) -> None:
        self._journal = journal
        self.run = run
        self.open: set[str] = set()
        self.undone: list[Undone] = []
        self.failed = False

    def begin(
        self,
        lineage: str,
        plan: str | None,
        intents: Iterable[Intent],
        where: Whereabouts,
        done: Iterable[int] = (),
    ) -> None:
        """Open the section with all its intents, in one write. ``done`` are the plan's steps that an earlier,
        interrupted run took, ``where`` says where the services and stores of the run are."""
        head: dict[str, Any] = {
            "record": "begin",
            "version": VERSION,
            "run": self.run,
            "lineage": lineage,
            "plan": plan,
            "services": dict(where.services),
            "stores": dict(where.stores),
        }
        if steps := sorted(done):
            head["done"] = steps
        intents = tuple(intents)
        self._write(head, *map(_record_of, intents))
        self.open.update(intent.marker for intent in intents)

    def intent(self, intent: Intent) -> None:
        """A further intent: a mint that has to be tried again under a new marker."""
        self._write(_record_of(intent))
        self.open.add(intent.marker)

    def sent(self, marker: str, sent: Sent) -> None:
        """The create is about to be sent: from now on its key may come to be at any moment."""
        self._write({"record": "sent", "marker": marker, **sent.as_json()})

    def receipt(self, marker: str, receipt: Receipt) -> None:
        """The service answered with a key."""
        self._write({"record": "receipt", "marker": marker, **receipt.as_json()})

    def copying(self, index: int, copy: Copy) -> None:
        """Step ``index`` is about to copy a secret."""
        self._write({"record": "copying", "index": index, **copy.as_json()})

    def void(self, *markers: str) -> None:
        """The intents came to nothing: no live key carries their markers."""
        self._write(*({"record": "void", "marker": marker} for marker in markers))
        self.open.difference_update(markers)

    def undo(self, marker: str, undone: Undone) -> None:
        """The intent came to nothing, and a write of its secret may still be under way."""
        self._write({"record": "void", "marker": marker, "undone": undone.as_json()})
        self.open.discard(marker)
        self.undone.append(undone)

    def doubt(self, doubt: Doubt) -> None:
        """Nobody can know whether the intent's key exists; closes the intent."""
        self._write({"record": "doubt", **doubt.as_json()})
        self.open.discard(doubt.marker)

    def event(self, index: int, event: Event, marker: str | None = None) -> None:
        """Step ``index`` of the plan came true; closes the intent ``marker``."""
        record: dict[str, Any] = {"record": "event", "index": index, "event": event.as_json()}
        if marker is not None:
            record["marker"] = marker
        self._write(record)
        self.open.discard(marker or "")

    def _write(self, *records: Mapping[str, Any]) -> None:
        lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        try:
            self._journal.append(lines.encode())
        except StateError:
            self.failed = True
            raise


@dataclass(frozen=True, slots=True)
class Section:
    """One run's part of a journal. ``lapsed`` are the mints of which nothing came."""

    run: str
    lineage: str
    plan: str | None
    done: tuple[int, ...] = ()
    events: tuple[tuple[int, Event], ...] = ()
    where: Whereabouts = field(default_factory=Whereabouts)
    copying: Mapping[int, Copy] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    undone: tuple[Undone, ...] = ()
    lapsed: tuple[Step, ...] = ()

    def completed(self) -> tuple[int, ...]:
        """The plan's steps that have come true by the end of the section."""
        return (*self.done, *(index for index, _ in self.events))


@dataclass(frozen=True, slots=True)
class Replay:
    """A journal read back."""

    sections: tuple[Section, ...] = ()
    open: tuple[Intent, ...] = ()

    def section_of(self, run: str) -> Section:
        """The section of a run; an empty one where it has none."""
        return next((s for s in self.sections if s.run == run), Section(run, "", None))

    def half_copied(self) -> tuple[Copy, ...]:
        """The copies of which no event tells."""
        return tuple(
            copy
            for section in self.sections
            for index, copy in section.copying.items()
            if all(index != done for done, _ in section.events)
        )

    def begun(self) -> frozenset[Place]:
        """Places without the secret that a copy was about to bring it to: what is there now came by it."""
        copies = (copy for section in self.sections for copy in section.copying.values())
        return frozenset(place for copy in copies for place in copy.empty)

    def is_of(self, plan: str) -> bool:
        """Whether it is the journal of the plan with this digest and of no other: only then do the numbers of
        steps in it mean the steps of that plan."""
        return {section.plan for section in self.sections if section.plan is not None} == {plan}

    def missing_from(self, state: State) -> tuple[Section, ...]:
        """The sections that ``state`` does not contain yet."""
        runs = [section.run for section in self.sections]
        return self.sections[runs.index(state.run) + 1 :] if state.run in runs else self.sections

    def placed_into(self, state: State) -> State:
        """``state`` with the whereabouts that the runs worked with, where it records none."""
        for section in self.sections:
            state = replace(
                state,
                services={**section.where.services, **state.services},
                stores={**section.where.stores, **state.stores},
            )
        return state

    def folded_into(self, state: State) -> State:
        """``state`` with every event, every doubt and every mint that came to nothing, that it lacks."""
        missing = self.missing_from(state)
        state = fold(state, (event for section in missing for _, event in section.events))
        state = remembering(state, (one for section in missing for one in section.undone))
        state = still_due(state, (step for section in missing for step in section.lapsed))
        return state.doubting(doubt for section in missing for doubt in section.doubts)


def read_journal(journal: Journal, state: State) -> Replay | None:
    """What an interrupted apply left, or None. Raises ``StateError`` for a journal of another state, and
    for one that cannot be understood: nothing in a journal is ever skipped."""
    data = journal.read()
    if not data:
        return None
    heads: list[Section] = []
    events: list[list[tuple[int, Event]]] = []
    intents: dict[str, Intent] = {}
    try:
        for line in data.splitlines():
            record = json.loads(line)
            if record["record"] == "begin":
                _refuse_newer(record["version"])
            _replay(record, heads, events, intents)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as problem:
        raise StateError(
            f"the journal of an interrupted apply is damaged: {type(problem).__name__}: {problem}",
            "It was edited or its disk is failing. Keep a copy of it, compare the state with the services "
            "(`keyform plan` counts unmanaged keys), then remove it.",
        ) from None
    sections = tuple(
        replace(head, events=tuple(entries)) for head, entries in zip(heads, events, strict=True)
    )
    strange = next((s for s in sections if s.lineage != state.lineage and state.serial), None)
    if strange:
        raise StateError(
            "the journal beside the state belongs to another state",
            f"It is of lineage {strange.lineage}, the state is {state.lineage}. Put the state that the "
            "interrupted apply was working on back in place.",
        )
    return Replay(sections, tuple(intents.values()))


def _refuse_newer(version: object) -> None:
    if type(version) is not int or version > VERSION:
        raise StateError(
            f"the journal of an interrupted apply has version {version}, and this keyform reads up to "
            f"{VERSION}",
            "It was written by a newer keyform. Upgrade keyform and apply again; nothing was changed.",
        )


def _replay(
    record: Mapping[str, Any],
    heads: list[Section],
    events: list[list[tuple[int, Event]]],
    intents: dict[str, Intent],
) -> None:
    match record["record"]:
        case "begin":
            done = tuple(record.get("done", ()))
            where = Whereabouts(record["services"], record["stores"])
            heads.append(
                Section(record["run"], record["lineage"], record["plan"], done, where=where, copying={})
            )
            events.append([])
        case "intent":
            intents[record["marker"]] = Intent.from_json(record)
        case "sent":
            intents[record["marker"]] = replace(intents[record["marker"]], sent=Sent.from_json(record))
        case "receipt":
            receipt = Receipt.from_json(record)
            intents[record["marker"]] = replace(intents[record["marker"]], receipt=receipt)
        case "copying":
            copying = {**heads[-1].copying, record["index"]: Copy.from_json(record)}
            heads[-1] = replace(heads[-1], copying=copying)
        case "void":
            _lapse(record["marker"], heads, intents)
            if "undone" in record:
                undone = (*heads[-1].undone, Undone.from_json(record["undone"]))
                heads[-1] = replace(heads[-1], undone=undone)
        case "doubt":
            _lapse(record["marker"], heads, intents)
            heads[-1] = replace(heads[-1], doubts=(*heads[-1].doubts, Doubt.from_json(record)))
        case "event":
            intents.pop(record.get("marker", ""), None)
            events[-1].append((record["index"], Event.from_json(record["event"])))
        case other:
            raise ValueError(f"unknown record {other!r}")


def _lapse(marker: str, heads: list[Section], intents: dict[str, Intent]) -> None:
    """Close an intent that came to nothing."""
    intent = intents.pop(marker, None)
    if intent is not None:
        heads[-1] = replace(heads[-1], lapsed=(*heads[-1].lapsed, intent.step))


def _record_of(intent: Intent) -> dict[str, Any]:
    return {"record": "intent", **intent.as_json()}
