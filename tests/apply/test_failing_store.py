"""A store that stops working in the middle of a run: no more keys are minted that could not be kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.apply.failing import Failing
from keyform.errors import StoreError
from keyform.ports import Store
from tests.world import World, inspect

KEYS = 40

NAMES = [f"k{number:02}" for number in range(KEYS)]
TEXT = f"""\
version: 1
services: {{sandbox: {{type: embedded}}}}
stores: {{local: {{type: age, path: a}}, other: {{type: age, path: b}}}}
defaults: {{store: local}}
keys:
  many:
    for_each: [{", ".join(NAMES)}]
    service: sandbox
    kind: read
    secret: "many/${{each.key}}"
  apart: {{service: sandbox, kind: read, secret: {{store: other, path: apart}}}}
"""


class Dying:
    """A store whose writes fail from the ``after``-th on; those of its canary too, unless it ``recovers``."""

    def __init__(self, inner: Store, after: int, *, recovers: bool = False) -> None:
        self._inner, self._after, self._recovers = inner, after, recovers
        self._lock = threading.Lock()
        self.writes = self.probes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def _dead(self) -> bool:
        return self.writes >= self._after and not (self._recovers and self.writes > self._after)

    def probe(self) -> None:
        self.probes += 1
        if self._dead and not self._recovers:
            raise StoreError(f"Store {self._inner.name!r} refused the token", "Log in again.")
        self._inner.probe()

    def put(self, *args: Any, **more: Any) -> Any:
        with self._lock:
            dead = self._dead
            self.writes += 1
        if dead:
            raise StoreError(f"Store {self._inner.name!r} refused the token", "Log in again.")
        return self._inner.put(*args, **more)


@pytest.mark.parametrize("parallelism", [1, 4])
def test_nothing_more_is_minted_for_a_store_that_has_died(tmp_path: Path, parallelism: int) -> None:
    world = World(tmp_path).write(TEXT)
    stores: list[Dying] = []

    def wrap(store: Store) -> Store:
        if store.name != "local":
            return store
        stores.append(Dying(store, 5))
        return stores[-1]  # type: ignore[return-value]  # it passes on what it does not change

    outcome = world.apply(wrap=Wrapping(store=wrap), parallelism=parallelism)
    (dying,) = stores
    assert dying.writes <= 5 + parallelism
    assert outcome.done == 5 + 1  # and the one of the other store
    assert outcome.skipped >= KEYS - 5 - parallelism
    assert dying.probes == 2
    warned = [e["diagnostic"] for e in world.told if e["type"] == "warning"]
    assert [d["code"] for d in warned].count("store-failed") == 1
    why = {e["why"] for e in world.told if e["type"] == "skipped"}
    assert why == {"held back: the store local failed in this run"}
    found = inspect(world)
    assert not (found.stray or found.lost or found.doubled)
    assert world.apply().done == KEYS - 5
    assert world.plan().empty


def test_a_store_that_passes_its_proof_again_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path).write(TEXT)
    stores: list[Dying] = []

    def wrap(store: Store) -> Store:
        stores.append(Dying(store, 5, recovers=True))
        return stores[-1]  # type: ignore[return-value]  # it passes on what it does not change

    outcome = world.apply(wrap=Wrapping(store=wrap))
    assert (outcome.done, outcome.skipped) == (KEYS, 0)
    assert [d.code for d in outcome.failed if d.code == "mint-undone"] == ["mint-undone"]


def test_nobody_mints_while_a_store_is_being_proven_again() -> None:
    """The proof takes its time, and until it is over a second thread must not take the store for sound."""
    begun, go_on = threading.Event(), threading.Event()

    class Refusing:
        def probe(self) -> None:
            begun.set()
            go_on.wait()
            raise StoreError("it refused the token")

    class Stores:
        def store(self, name: str) -> Refusing:
            return Refusing()

    failing = Failing(Stores())  # type: ignore[arg-type]  # nothing else of a workspace is asked for
    failing.suspect(["vault"])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(failing.given_up, ["vault"])
        begun.wait()
        second = pool.submit(failing.given_up, ["vault"])
        early = wait([second], timeout=0.2).done
        go_on.set()
        assert not early
        assert first.result()[0] == second.result()[0] == "held back: the store vault failed in this run"
        assert [len(done.result()[1]) for done in (first, second)] == [1, 0]
