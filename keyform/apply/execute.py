"""Carrying out the steps of a plan: projects first, then keys, several addresses at once.

The steps of one address are taken in order and stop at the first that fails; other addresses go on.
Worker threads do the work; everything that is reported comes from the thread that called.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from keyform.apply.effects import Effects
from keyform.apply.failing import Failing
from keyform.apply.gating import Gating
from keyform.apply.intents import Intent
from keyform.apply.journal import JournalWriter
from keyform.apply.order import Chain, Waiting, leaves, waves
from keyform.apply.seen import Seen
from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, error
from keyform.doubt import Doubt
from keyform.engine import plan as pl
from keyform.engine.events import Event
from keyform.engine.plan import Change, Step
from keyform.engine.sight import ServiceView
from keyform.errors import KeyformError, Pending, StoreError, Taken
from keyform.state import State

Report = Callable[[dict[str, Any]], None]

_NOBODY_WAITED_FOR = Waiting()
HELD_BACK = "held back: a mint failed in this run, and what is revoked may be what it was to replace"


@dataclass(slots=True)
class Results:
    """What has come of a run so far."""

    events: list[tuple[int, Event]] = field(default_factory=list)
    done: int = 0
    failed: list[Diagnostic] = field(default_factory=list)
    skipped: int = 0
    held: int = 0
    doubts: list[Doubt] = field(default_factory=list)


class Executor:
    """Runs chains. ``intents`` are the mints that the journal already knows, by step number."""

    def __init__(
        self,
        ws: Workspace,
        journal: JournalWriter,
        state: State,
        views: Mapping[str, ServiceView],
        intents: Mapping[int, Intent],
        seen: Seen,
        gating: Gating,
    ) -> None:
        self._ws = ws
        self._journal = journal
        self._intents = intents
        self._effects = Effects(ws, journal, state, views, seen)
        self._failing = Failing(ws)
        self._gating = gating
        self._stop = threading.Event()
        self._projects = {(p.service, p.id): p.address for p in ws.desired.projects}

    def run(
        self,
        todo: tuple[Chain, ...],
        parallelism: int,
        report: Report,
        stop: threading.Event,
        waiting: Waiting = _NOBODY_WAITED_FOR,
    ) -> Results:
        """Run wave after wave. ``stop`` lets what is in flight finish and skips the rest; what has to be
        ``waiting`` is skipped too."""
        results = Results()
        self._stop = stop
        declared = {want.address for want in self._ws.desired.keys}
        mints: set[int] = set()
        for wave in waves(todo, declared):
            done = {index for index, _ in results.events}
            undone = {
                chain.address
                for chain in todo
                if chain.address.startswith("projects.") and not done.issuperset(chain.numbers())
            }
            held_back = {}
            for chain in wave:
                why = waiting.why(chain) or self._behind(chain, undone)
                if why is None and mints - done and leaves(chain, declared):
                    why = HELD_BACK
                if why is not None:
                    held_back[chain.address] = why
            self._run_wave(wave, held_back, parallelism, report, stop, results)
            mints.update(index for chain in wave for index, _ in chain.steps(pl.MINT))
        return results

    def _behind(self, chain: Chain, undone: Collection[str]) -> str | None:
        """Why a chain that mints has to wait: a key is not made in a project that is not as declared."""
        for _, step in chain.steps(pl.MINT) if undone else ():
            project = step.spec.project if step.spec is not None else None
            address = self._projects.get((step.service or "", project or ""))
            if address in undone:
                return f"held back: {address} comes before its keys, and is not done"
        return None

    def _run_wave(
        self,
        wave: tuple[Chain, ...],
        held_back: Mapping[str, str],
        parallelism: int,
        report: Report,
        stop: threading.Event,
        results: Results,
    ) -> None:
        def take(message: Any) -> None:
            if isinstance(message, tuple):
                results.events.append(message)
            elif message is not None:
                _count(message, results)
                report(message)

        def blocked(chain: Chain) -> str | None:
            return held_back.get(chain.address)

        by_hand = [chain for chain in wave if any(change.by_hand for change, _ in chain.changes)]
        alone = [chain for chain in wave if chain not in by_hand]
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        if alone:
            with ThreadPoolExecutor(min(parallelism, len(alone)), thread_name_prefix="apply") as pool:
                for chain in alone:
                    pool.submit(self._run_chain, chain, blocked(chain), stop, _together(told))
                left = len(alone)
                while left:
                    for message in told.get():
                        left -= message is None
                        take(message)
        # A person does one thing at a time, and nothing is reported into the middle of a question.
        for chain in by_hand:
            self._run_chain(chain, blocked(chain), stop, take)

    def _run_chain(
        self, chain: Chain, blocked: str | None, stop: threading.Event, tell: Callable[[Any], None]
    ) -> None:
        """Skips everything if ``blocked`` says why. Always tells None last, so that the caller never waits
        for a chain that died."""
        begun = False
        try:
            for change, steps in chain.changes:
                if blocked is None and not begun and stop.is_set():
                    blocked = "interrupted"
                if blocked is None:
                    blocked = self._without_store(steps, tell)
                if blocked is not None:
                    self._skip(steps)
                    tell({**_about("skipped", change), "why": blocked})
                    continue
                begun = True
                if not self._run_change(change, steps, tell):
                    blocked = f"an earlier change of {chain.address} failed"
        finally:
            tell(None)

    def _without_store(self, steps: tuple[tuple[int, Step], ...], tell: Callable[[Any], None]) -> str | None:
        """Why a mint is not begun: a store that it needs has failed in this run."""
        why, told = self._failing.given_up(_stores(steps))
        for diagnostic in told:
            tell({"type": "warning", "diagnostic": diagnostic.as_json()})
        return why

    def _skip(self, steps: tuple[tuple[int, Step], ...]) -> None:
        for index, _ in steps:
            if index in self._intents:
                self._journal.void(self._intents[index].marker)

    def _run_change(
        self, change: Change, steps: tuple[tuple[int, Step], ...], tell: Callable[[Any], None]
    ) -> bool:
        started = self._ws.clock.monotonic()
        gains = {"privilege": change.privilege, "privilege_words": list(change.privilege_words)}
        tell({**_about("start", change), "reason": change.reason, **(gains if change.privilege else {})})
        key_id, made, held = change.key_id, False, 0
        try:
            for index, step in steps:
                if (hold := self._gating.holds(change, step)) is not None:
                    held += 1
                    tell({"type": "warning", "diagnostic": hold.as_json()})
                    continue
                event, warnings = self._effects.take(index, step, self._intents.get(index))
                for diagnostic in warnings:
                    tell({"type": "warning", "diagnostic": diagnostic.as_json()})
                tell((index, event))
                if event.generation is not None:
                    key_id, made = event.generation.id, made or step.op == pl.MINT
        except Exception as problem:
            if isinstance(problem, Pending) and self._stop.is_set():
                tell({**_about("skipped", change), "why": "interrupted"})
                return False
            cause = problem.__cause__ or problem  # a mint that was undone says so, because of it
            if isinstance(cause, StoreError) and not isinstance(cause, Taken):
                self._failing.suspect(_stores(steps))
            diagnostics = _explained(problem, change)
            tell(
                {
                    **_about("failed", change),
                    **({"key_id": key_id} if made else {}),
                    "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
                    "problems": diagnostics,
                }
            )
            return False
        if held == len(steps):
            tell({**_about("held", change), "key_id": key_id})
            return True
        seconds = round(self._ws.clock.monotonic() - started, 3)
        tell({**_about("done", change), "key_id": key_id, "seconds": seconds})
        return True


def _stores(steps: tuple[tuple[int, Step], ...]) -> set[str]:
    return {place.store for _, step in steps if step.op == pl.MINT for place in step.places}


def _together(told: queue.SimpleQueue[Any]) -> Callable[[Any], None]:
    """Hands messages on in bundles, since each one handed on wakes the thread that reports: a bundle ends
    where a change begins and where the chain ends."""
    held: list[Any] = []

    def tell(message: Any) -> None:
        held.append(message)
        if message is None or (isinstance(message, dict) and message["type"] == "start"):
            told.put(tuple(held))
            held.clear()

    return tell


def _about(kind: str, change: Change) -> dict[str, Any]:
    return {"type": kind, "address": change.address, "action": change.action}


def _count(message: dict[str, Any], results: Results) -> None:
    if message["type"] == "done":
        results.done += 1
    elif message["type"] == "skipped":
        results.skipped += 1
    elif message["type"] == "held":
        results.held += 1
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
