"""Carrying out the steps of a plan: projects first, then keys, several addresses at once.

The steps of one address are taken in order and stop at the first that fails; other addresses go on.
Worker threads do the work; everything that is reported comes from the thread that called.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from keyform.apply.journal import Intent, JournalWriter
from keyform.apply.mint import granted_otherwise, mint
from keyform.apply.places import erase_secret, move_secret
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error, warning
from keyform.engine import events as ev
from keyform.engine import plan as pl
from keyform.engine.events import Event
from keyform.engine.plan import Change, Step
from keyform.engine.sight import ServiceView
from keyform.errors import KeyformError
from keyform.model import LiveKey
from keyform.state import Generation, State

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Chain:
    """The changes of one address, with the places of their steps in the plan."""

    address: str
    changes: tuple[tuple[Change, tuple[tuple[int, Step], ...]], ...]


@dataclass(slots=True)
class Results:
    """What has come of a run so far."""

    events: list[tuple[int, Event]] = field(default_factory=list)
    done: int = 0
    failed: list[Diagnostic] = field(default_factory=list)
    skipped: int = 0


def chains(changes: Iterable[Change], done: frozenset[int] = frozenset()) -> tuple[Chain, ...]:
    """The plan's changes by address, in the plan's order; steps numbered in ``done`` are left out."""
    by_address: dict[str, list[tuple[Change, tuple[tuple[int, Step], ...]]]] = {}
    index = 0
    for change in changes:
        numbered = tuple(enumerate(change.steps, index))
        index += len(change.steps)
        left = tuple(entry for entry in numbered if entry[0] not in done)
        if left:
            by_address.setdefault(change.address, []).append((change, left))
    return tuple(Chain(address, tuple(entries)) for address, entries in by_address.items())


class Executor:
    """Runs chains. ``intents`` are the mints that the journal already knows, by step number."""

    def __init__(
        self,
        ws: Workspace,
        journal: JournalWriter,
        state: State,
        views: Mapping[str, ServiceView],
        intents: Mapping[int, Intent],
    ) -> None:
        self._ws = ws
        self._journal = journal
        self._views = views
        self._intents = intents
        self._lineage = state.lineage
        self._generations: dict[tuple[str, str], Generation] = {
            (generation.service, generation.id): generation
            for record in state.keys.values()
            for generation in record.generations()
        }

    def run(
        self, todo: tuple[Chain, ...], parallelism: int, report: Report, stop: threading.Event
    ) -> Results:
        """Run projects, then keys. ``stop`` lets what is in flight finish and skips the rest."""
        results = Results()
        projects = tuple(chain for chain in todo if chain.address.startswith("projects."))
        keys = tuple(chain for chain in todo if not chain.address.startswith("projects."))
        for wave in (projects, keys):
            if wave:
                self._run_wave(wave, parallelism, report, stop, results)
        return results

    def _run_wave(
        self,
        wave: tuple[Chain, ...],
        parallelism: int,
        report: Report,
        stop: threading.Event,
        results: Results,
    ) -> None:
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with ThreadPoolExecutor(min(parallelism, len(wave)), thread_name_prefix="apply") as pool:
            for chain in wave:
                pool.submit(self._run_chain, chain, stop, told.put)
            left = len(wave)
            while left:
                message = told.get()
                if message is None:
                    left -= 1
                elif isinstance(message, tuple):
                    results.events.append(message)
                else:
                    _count(message, results)
                    report(message)

    def _run_chain(self, chain: Chain, stop: threading.Event, tell: Callable[[Any], None]) -> None:
        """Always tells None last, so that the caller never waits for a chain that died."""
        begun = False
        blocked = None
        try:
            for change, steps in chain.changes:
                if blocked is None and not begun and stop.is_set():
                    blocked = "interrupted"
                if blocked is not None:
                    self._skip(steps)
                    tell({**_about("skipped", change), "why": blocked})
                    continue
                begun = True
                if not self._run_change(change, steps, tell):
                    blocked = f"an earlier change of {chain.address} failed"
        finally:
            tell(None)

    def _skip(self, steps: tuple[tuple[int, Step], ...]) -> None:
        for index, _ in steps:
            if index in self._intents:
                self._journal.void(self._intents[index].marker)

    def _run_change(
        self, change: Change, steps: tuple[tuple[int, Step], ...], tell: Callable[[Any], None]
    ) -> bool:
        started = self._ws.clock.monotonic()
        tell(_about("start", change))
        try:
            key_id = change.key_id
            for index, step in steps:
                event, warnings = self._take(index, step)
                for diagnostic in warnings:
                    tell({"type": "warning", "diagnostic": diagnostic.as_json()})
                tell((index, event))
                if event.generation is not None:
                    key_id = event.generation.id
        except Exception as problem:
            diagnostics = _explained(problem, change)
            tell(
                {
                    **_about("failed", change),
                    "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
                    "problems": diagnostics,
                }
            )
            return False
        seconds = round(self._ws.clock.monotonic() - started, 3)
        tell({**_about("done", change), "key_id": key_id, "seconds": seconds})
        return True

    def _take(self, index: int, step: Step) -> tuple[Event, tuple[Diagnostic, ...]]:
        if step.op == pl.MINT:
            return mint(self._ws, self._journal, self._lineage, self._intents[index])
        event, warnings = self._effect(step)
        self._journal.event(index, event)
        return event, warnings

    def _effect(self, step: Step) -> tuple[Event, tuple[Diagnostic, ...]]:
        """Bring one step about. Every branch may be repeated after a crash without harm."""
        match step.op:
            case pl.ALTER:
                return self._alter(step)
            case pl.END:
                self._ws.service(step.service or "").revoke(step.key_id or "")
                return Event(ev.REVOKED, step.address, key_id=step.key_id), self._erase(step)
            case pl.DROP:
                return Event(ev.FORGOTTEN, step.address), self._erase(step)
            case pl.ADOPT:
                live = self._live(step)
                generation = Generation(
                    step.generation or 1,
                    step.service or "",
                    live.id,
                    step.spec or live.spec,
                    live.created_at or self._ws.clock.now(),
                    step.places,
                )
                self._generations[(generation.service, live.id)] = generation
                return Event(ev.ADOPTED, step.address, step.service, generation, terms=step.terms), ()
            case pl.RENAME:
                return Event(ev.RENAMED, step.address, before=step.before), ()
            case pl.RELOCATE:
                self._relocate(step)
                return Event(ev.RELOCATED, step.address, places=step.places), ()
            case pl.RECORD if step.project is not None:
                return self._origins_event(step), ()
            case pl.RECORD if step.spec is not None:
                return Event(ev.UPDATED, step.address, spec=step.spec, terms=step.terms), ()
            case pl.RECORD:
                return Event(ev.RECORDED, step.address, terms=step.terms), ()
            case pl.SET_ORIGINS:
                self._ws.service(step.service or "").set_origins(step.project or "", step.origins)
                return self._origins_event(step), ()
            case pl.DROP_PROJECT:
                return Event(ev.PROJECT_FORGOTTEN, step.address), ()
            case unknown:
                raise KeyformError(
                    f"the plan has a step {unknown!r} that this keyform does not know",
                    "It was made by another version of keyform. Plan again.",
                )

    def _alter(self, step: Step) -> tuple[Event, tuple[Diagnostic, ...]]:
        live = self._live(step)
        if step.spec is None:
            raise KeyformError(f"{step.address}: the plan's update step has no spec", "Plan again.")
        service = self._ws.service(step.service or "")
        shown = service.update(live, step.spec, frozenset(step.fields))
        # Where other scopes were granted, what the service shows from now on is drift.
        after = replace(shown.spec, scopes=step.spec.scopes)
        hidden = service.profile.fields_unseen
        if hidden:
            after = replace(after, **{name: getattr(step.spec, name) for name in hidden})
        event = Event(ev.UPDATED, step.address, spec=after, terms=step.terms)
        return event, granted_otherwise(service, step, shown)

    def _live(self, step: Step) -> LiveKey:
        """The key as the listing that the plan was checked against shows it."""
        view = self._views.get(step.service or "")
        live = view.keys.get(step.key_id or "") if view else None
        if live is not None:
            return live
        recorded = self._generations.get((step.service or "", step.key_id or ""))
        if recorded is None:
            raise KeyformError(f"{step.address}: {step.key_id} is no longer at {step.service}", "Plan again.")
        return LiveKey(recorded.id, recorded.spec, created_at=recorded.created_at)

    def _relocate(self, step: Step) -> None:
        generation = self._generations.get((step.service or "", step.key_id or ""))
        if step.sources and generation is not None and generation.fingerprint is not None:
            labels = {
                "address": step.address,
                "key_id": generation.id,
                "generation": str(generation.number),
            }
            move_secret(self._ws, step.sources, step.places, generation.fingerprint, labels)

    def _erase(self, step: Step) -> tuple[Diagnostic, ...]:
        key_id = step.key_id
        generation = self._generations.get((step.service or "", key_id or ""))
        left = erase_secret(self._ws, step.places, generation.fingerprint if generation else None)
        return tuple(
            warning(
                "value-left",
                f"{place} was left as it is: it does not hold what keyform wrote for {step.address}",
                "Look at who wrote it, and delete it by hand if it is not needed.",
                address=step.address,
            )
            for place in left
        )

    def _origins_event(self, step: Step) -> Event:
        return Event(ev.ORIGINS, step.address, step.service, project=step.project, origins=step.origins)


def _about(kind: str, change: Change) -> dict[str, Any]:
    return {"type": kind, "address": change.address, "action": change.action}


def _count(message: dict[str, Any], results: Results) -> None:
    if message["type"] == "done":
        results.done += 1
    elif message["type"] == "skipped":
        results.skipped += 1
    elif message["type"] == "failed":
        results.failed += message.pop("problems")


def _explained(problem: Exception, change: Change) -> tuple[Diagnostic, ...]:
    if isinstance(problem, KeyformError):
        return tuple(replace(d, address=d.address or change.address) for d in problem.diagnostics)
    # The text of an unexpected exception could quote anything, a secret included; its type cannot.
    return (
        error(
            "bug",
            f"{change.address}: a bug in keyform, {type(problem).__name__}",
            "Please report it. The journal knows how far this key came; apply again to go on.",
            address=change.address,
        ),
    )
