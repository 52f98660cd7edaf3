"""Two applies at once, step by step in a random order: the second is told who is at it; when it breaks the
lock all the same and goes on beside the first, nothing is minted twice and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import httpx

from keyform.apply import Wrapping
from keyform.errors import KeyformError, Locked
from tests.conftest import Figures
from tests.promises.matrix import CLASSIC, SHARE, UNMANAGED, Matrix, what_is_wrong_after_the_next_apply
from tests.world import World

SEED = int(os.environ.get("KEYFORM_SEED", "20261120"))
FIRST, SECOND = "first", "second"
BACKEND = ("append", "clear", "read", "write", "lock", "unlock", "check_lock")
CALLS = (*BACKEND, "put", "get", "look", "delete", "probe")


class Turns:
    """Which of the runs does its next step. A run that has just looked whether the lock is its own does what
    it looked for next: no store has a way to refuse a write by a lock that somebody broke in between."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._moved = threading.Condition()
        self._running = {FIRST}
        self._turn = FIRST
        self.steps = 0

    def begin(self, who: str) -> None:
        with self._moved:
            self._running.add(who)
            if self._turn not in self._running:
                self._next()

    def wait_until(self, steps: int) -> None:
        """Until so many steps were taken, or nobody takes any more."""
        with self._moved:
            assert self._moved.wait_for(lambda: self.steps >= steps or not self._running, 60)

    def end(self, who: str) -> None:
        with self._moved:
            self._running.discard(who)
            self._next()
            self._moved.notify_all()

    def take(self, who: str, act: Any, *, keep: bool = False) -> Any:
        with self._moved:
            assert self._moved.wait_for(lambda: self._turn == who, 60), "the runs wait for each other"
            self.steps += 1
        try:
            return act()
        finally:
            with self._moved:
                if not keep:
                    self._next()

    def _next(self) -> None:
        if self._running:
            self._turn = self._chance.choice(sorted(self._running))
            self._moved.notify_all()


class Stepping:
    """A port whose calls wait for the turn of their run."""

    def __init__(self, inner: Any, turns: Turns, who: str) -> None:
        self._inner, self._turns, self._who = inner, turns, who

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name == "journal":
            return Stepping(value, self._turns, self._who)
        if name not in CALLS:
            return value
        return lambda *args: self._turns.take(self._who, lambda: value(*args), keep=name == "check_lock")


class SteppingWire(httpx.BaseTransport):
    def __init__(self, inner: httpx.BaseTransport, turns: Turns, who: str) -> None:
        self._inner, self._turns, self._who = inner, turns, who

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = self._turns.take(self._who, lambda: self._inner.handle_request(request))
        return answer

    def close(self) -> None:
        self._inner.close()


class Pair:
    """Two runs over one folder. ``told`` is what the second was told while the first held the lock."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.turns = Turns(chance)
        self.told: list[str] = []
        self.bugs: list[BaseException] = []
        self._breaks_at = chance.randint(1, 70)

    def run(self) -> None:
        threads = [threading.Thread(target=self._alone, args=(who,)) for who in (FIRST, SECOND)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _alone(self, who: str) -> None:
        try:
            if who == SECOND:
                self._come_late()
            self.world.apply(wrap=self._wrapping(who))
        except KeyformError:
            pass
        except BaseException as bug:
            self.bugs.append(bug)
        finally:
            self.turns.end(who)

    def _come_late(self) -> None:
        """Wait for some steps of the first, ask for the lock, and break it."""
        self.turns.wait_until(self._breaks_at)
        try:
            with self.world.open(Wrapping()) as ws, ws.locked():
                pass
        except Locked as refused:
            self.told += [f"{d.summary} {d.detail}" for d in refused.diagnostics]
        with self.world.open(Wrapping()) as ws:
            holder = ws.backend.holder()
            if holder is not None:
                ws.backend.unlock(holder.id)
        self.turns.begin(SECOND)

    def _wrapping(self, who: str) -> Wrapping:
        return Wrapping(
            transport=lambda inner: SteppingWire(inner, self.turns, who),
            store=lambda inner: Stepping(inner, self.turns, who),
            backend=lambda inner: Stepping(inner, self.turns, who),
        )


def test_two_runs_in_any_order_mint_nothing_twice_and_lose_nothing(tmp_path: Path, figures: Figures) -> None:
    matrix = Matrix(tmp_path, scenario=CLASSIC)
    failures: list[str] = []
    refused = steps = 0
    pairs = 100 // SHARE
    for number in range(pairs):
        seed = f"{SEED}/{number}"
        pair = Pair(matrix.fresh(), random.Random(seed))
        pair.run()
        failures += [f"{seed}: {type(bug).__name__}: {bug}" for bug in pair.bugs]
        failures += what_is_wrong_after_the_next_apply(pair.world, seed, UNMANAGED)
        for told in pair.told:
            assert f"process {os.getpid()}" in told and "for apply" in told and "state unlock" in told
        refused += bool(pair.told)
        steps += pair.turns.steps
        shutil.rmtree(pair.world.folder)
    figures(
        "two runs at once",
        f"{pairs} pairs, {refused} told who holds the lock, {steps} steps in turn, {len(failures)} failures",
    )
    assert refused > pairs // 2
    assert failures == []
