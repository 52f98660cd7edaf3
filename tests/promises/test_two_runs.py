"""Two applies at once of a key whose rotation is due: it is rotated once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.engine.options import Options
from keyform.errors import Conflict, KeyformError, Locked
from tests.apply.outside import backend, declare, journal_is_empty, nth
from tests.promises.matrix import in_child
from tests.world import World, inspect

PLAIN = Wrapping()
KEY = declare(a="secret: a, rotation: {every: 30d, overlap: 1d}")


@dataclass
class Creates:
    """Counts the creates that a run sends."""

    sent: list[str] = field(default_factory=list)

    def wrapping(self, more: Wrapping = PLAIN) -> Wrapping:
        def around(inner: httpx.BaseTransport) -> httpx.BaseTransport:
            def handle(request: httpx.Request) -> httpx.Response:
                if request.method == "POST" and request.url.path.endswith("/keys"):
                    self.sent.append(request.url.path)
                return inner.handle_request(request)

            return httpx.MockTransport(handle)

        return Wrapping(around, more.store, more.backend)


@pytest.fixture
def due(world: World) -> World:
    world.write(KEY).apply()
    world.clock.move(days=31)
    return world


def numbers(world: World) -> list[int]:
    return [g.number for g in world.state().keys["keys.a"].generations()]


def break_lock(world: World) -> None:
    with world.open(Wrapping()) as ws:
        holder = ws.backend.holder()
        assert holder is not None
        ws.backend.unlock(holder.id)


def test_the_second_one_is_told_who_is_at_it_and_mints_nothing(due: World) -> None:
    creates = Creates()
    told: list[str] = []

    def approve(plan: Any) -> bool:
        with pytest.raises(Locked) as refused:
            due.apply(wrap=creates.wrapping())
        told.extend(d.summary + d.detail for d in refused.value.diagnostics)
        return True

    assert due.apply(approve=approve).done == 1
    assert creates.sent == []
    with due.open() as ws:
        assert f"pid {os.getpid()}" in told[0] or str(os.getpid()) in told[0]
        assert ws.operation in told[0]
    assert numbers(due) == [1, 2]
    assert due.plan().changes == ()
    assert not inspect(due)


@pytest.mark.parametrize("options", [Options(), Options(rotate=("keys.a",))], ids=["due", "asked for"])
def test_one_whose_lock_was_broken_while_it_asked_refuses_before_any_mint(
    due: World, options: Options
) -> None:
    creates = Creates()

    def approve(plan: Any) -> bool:
        break_lock(due)
        assert due.apply().done == 1
        return True

    with pytest.raises(Conflict):
        due.apply(options, approve=approve, wrap=creates.wrapping())
    assert creates.sent == []
    assert numbers(due) == [1, 2]
    assert journal_is_empty(due)
    assert not inspect(due)


def test_one_whose_lock_was_broken_after_its_journal_was_begun_refuses_too(due: World) -> None:
    """The other one takes its intent, which was not sent, for nothing, and rotates by itself."""
    creates = Creates()

    def begin(append: Any, lines: bytes) -> None:
        append(lines)
        break_lock(due)
        assert due.apply().done == 1

    with pytest.raises(KeyformError):
        due.apply(wrap=creates.wrapping(backend(append=nth(1, begin))))
    assert creates.sent == []
    assert numbers(due) == [1, 2]
    assert due.plan().changes == ()
    assert journal_is_empty(due)
    assert not inspect(due)


def test_many_at_the_same_instant_rotate_it_once(due: World) -> None:
    def run() -> None:
        try:
            due.apply()
        except Locked:
            os._exit(3)

    readers = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os._exit(in_child(run))
        readers.append(pid)
    codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in readers}
    assert codes <= {0, 3}
    assert 0 in codes
    assert numbers(due) == [1, 2]
    assert not inspect(due)
