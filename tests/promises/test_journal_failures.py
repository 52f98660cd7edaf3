"""Promise 3 where the journal or the state cannot be written: before the write came about, or after it, so
that nobody can tell. The run lives on; the next one alone makes good what it left."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from keyform.apply import Wrapping
from keyform.errors import KeyformError, StateError
from tests.conftest import Figures
from tests.promises.matrix import what_is_wrong_after_the_next_apply
from tests.world import MovedClock, World

BEFORE = """
version: 1
services: {sandbox: {type: embedded}}
keys:
  replaced: {service: sandbox, name: replaced, environment: live, secret: replaced}
  overlapped: {service: sandbox, name: overlapped, secret: overlapped}
  relocated: {service: sandbox, name: relocated, secret: old-place}
"""
AFTER = """
version: 1
services: {sandbox: {type: embedded}}
keys:
  created: {service: sandbox, name: created, secret: created}
  replaced: {service: sandbox, name: replaced, environment: test, secret: replaced}
  overlapped:
    {service: sandbox, name: overlapped, environment: test, secret: overlapped, rotation: {overlap: 1d}}
  relocated: {service: sandbox, name: relocated, secret: new-place}
"""


class Failing:
    """Of the calls of some methods, those numbered ``at`` to ``at + length`` fail, before their effect or
    ``after`` it. ``count`` says how many there were."""

    def __init__(self, at: int, length: int, after: bool) -> None:
        self.count = 0
        self._at, self._length, self._after = at, length, after

    def around(self, inner: Any) -> Any:
        return _Around(self, inner)

    def call(self, act: Any) -> Any:
        self.count += 1
        fails = self._at <= self.count < self._at + self._length
        if fails and not self._after:
            raise StateError("the disk is full", "Make room.")
        result = act()
        if fails:
            raise StateError("nobody knows what became of it", "Look.")
        return result


class _Around:
    def __init__(self, failing: Failing, inner: Any) -> None:
        self._failing, self._inner = failing, inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name == "journal":
            return _Around(self._failing, value)
        if name not in ("append", "read", "clear", "write"):
            return value
        return lambda *args: self._failing.call(lambda: value(*args))


@pytest.mark.parametrize(
    ("length", "after"),
    [(1, False), (1, True), (3, True)],
    ids=["not written", "written all the same", "several in a row"],
)
def test_a_journal_that_cannot_be_written_costs_nothing(
    tmp_path: Path, figures: Figures, length: int, after: bool
) -> None:
    source = World(tmp_path / "source", MovedClock())
    source.folder.mkdir()
    assert not source.write(BEFORE).apply().failed
    source.write(AFTER)
    failures: list[str] = []
    points = reached = 0
    while reached == points:
        points += 1
        failing = Failing(points, length, after)
        world = World(shutil.copytree(source.folder, tmp_path / f"{points}"), MovedClock())
        with suppress(KeyformError):
            world.apply(wrap=Wrapping(backend=failing.around))
        reached += failing.count >= points
        failures += what_is_wrong_after_the_next_apply(world, f"call {points}", frozenset())
        shutil.rmtree(world.folder)
    figures("a journal and a state that fail", f"{points - 1} points, {len(failures)} failures")
    assert points > 15
    assert failures == []
