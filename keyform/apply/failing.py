"""Stores that stop working while a run is under way: nothing more is minted for them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic, warning
from keyform.errors import StoreError


class Failing:
    """The stores at which a write has failed in this run. Before the next key is minted for one of them it is
    proven again; one that fails this too gets no more. For several threads at once."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._suspect: set[str] = set()
        self._given_up: set[str] = set()
        self._turn = threading.Lock()

    def suspect(self, names: Iterable[str]) -> None:
        """A write to these stores, or to one of them, has failed."""
        with self._turn:
            self._suspect.update(names)

    def given_up(self, names: Iterable[str]) -> tuple[str | None, tuple[Diagnostic, ...]]:
        """Why nothing is minted for these stores any more, or None; and what there is to tell, once."""
        wanted = sorted(set(names))
        if not self._suspect.intersection(wanted) and not self._given_up.intersection(wanted):
            return None, ()
        with self._turn:
            told = tuple(d for name in wanted if name in self._suspect for d in self._proven_again(name))
            bad = [name for name in wanted if name in self._given_up]
        return (f"held back: the store {bad[0]} failed in this run" if bad else None), told

    def _proven_again(self, name: str) -> tuple[Diagnostic, ...]:
        if name in self._given_up:
            return ()
        try:
            self._ws.store(name).probe()
        except StoreError as problem:
            self._given_up.add(name)
            return (
                warning(
                    "store-failed",
                    f"the store {name} has stopped working, so no more keys are minted for it in this run: "
                    + "; ".join(diagnostic.summary for diagnostic in problem.diagnostics),
                    "Mend it (`keyform doctor` says what it needs) and apply again: what is done is kept.",
                ),
            )
        finally:
            # Not before: whoever finds no suspicion mints, and waits for no proof that is under way.
            self._suspect.discard(name)
        return ()
