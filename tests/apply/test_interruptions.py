"""Ctrl-C, locks, state conflicts, and what the next run makes of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping, states
from keyform.engine.plan import Plan
from keyform.errors import Conflict, Locked, PlanError, StateError, StoreError
from keyform.model import Place
from tests.apply.outside import (
    Hooked,
    backend,
    codes,
    crash,
    declare,
    die,
    failing,
    journal_is_empty,
    nth,
    refuse,
    requests,
    run,
    stores,
)
from tests.world import World, inspect

NAMES = tuple(f"k{n}" for n in range(12))


@pytest.mark.parametrize("parallelism", [1, 8])
def test_stop_finishes_what_is_in_flight_and_skips_the_rest(world: World, parallelism: int) -> None:
    stop = threading.Event()

    def stopping(real: Any, *args: Any) -> Any:
        stop.set()
        return real(*args)

    world.write(declare(*NAMES))
    outcome = run(world, stop=stop, parallelism=parallelism, wrap=stores(put=nth(3, stopping)))
    assert outcome.interrupted
    assert outcome.failed == ()
    assert 3 <= outcome.done < 3 + parallelism
    assert outcome.done + outcome.skipped == len(NAMES)
    assert len(world.state().keys) == outcome.done == len(world.live())
    assert journal_is_empty(world)
    assert world.told[-1]["summary"] == {"done": outcome.done, "failed": 0, "skipped": outcome.skipped}
    assert world.apply().done == outcome.skipped
    assert not inspect(world)


def test_stop_before_anything_changes_nothing(world: World) -> None:
    world.write(declare("a"))
    stop = threading.Event()
    stop.set()
    outcome = run(world, stop=stop)
    assert (outcome.interrupted, outcome.skipped) == (True, 1)
    assert world.live() == {}
    assert journal_is_empty(world)


def test_stop_at_the_last_key_is_no_interruption(world: World) -> None:
    stop = threading.Event()

    def stopping(real: Any, *args: Any) -> Any:
        stop.set()
        return real(*args)

    assert not run(world.write(declare("a")), stop=stop, wrap=stores(put=stopping)).interrupted


def test_many_at_once_with_failures_everywhere(world: World) -> None:
    names = [f"k{n}" for n in range(24)]
    world.write(declare(*names))
    store = stores(put=failing("k3", "k11"))
    service = refuse("POST", body='"name":"k7"')
    outcome = world.apply(wrap=Wrapping(transport=service.transport, store=store.store), parallelism=8)
    assert (outcome.done, outcome.skipped) == (21, 0)
    assert {d.address for d in outcome.failed if d.address} >= {"keys.k3", "keys.k7", "keys.k11"}
    assert journal_is_empty(world)
    assert world.apply(parallelism=8).done == 3
    assert not inspect(world)


def test_a_state_locked_by_another_run_is_left_alone(world: World) -> None:
    world.write(declare("a"))
    with world.open() as other, other.locked(), pytest.raises(Locked, match="locked by"):
        world.apply()
    assert world.live() == {}
    assert not world.apply().failed


def test_a_lock_that_is_broken_in_the_middle_stops_the_run_and_the_next_one_recovers(world: World) -> None:
    world.write(declare("a", "b", "c"))

    def broken(real: Any, *args: Any) -> Any:
        with world.open(Wrapping()) as other:
            holder = other.backend.holder()
            assert holder is not None
            states.unlock(other, holder.id)
        return real(*args)

    with pytest.raises(Conflict, match="broken while this run held it"):
        world.apply(wrap=stores(put=nth(2, broken)))
    assert world.state().keys == {}
    assert not world.apply().failed
    assert not inspect(world)


def test_a_lock_that_is_broken_before_the_first_write_is_what_the_run_tells(world: World) -> None:
    """Nothing goes to the store then, and the error is not that there is nothing to unlock."""
    world.write(declare("a"))

    def broken(request: httpx.Request, send: Any) -> httpx.Response:
        if request.url.path == "/v1/verify":
            with world.open(Wrapping()) as other:
                holder = other.backend.holder()
                assert holder is not None
                states.unlock(other, holder.id)
        return send(request)  # type: ignore[no-any-return]

    written = []

    def put(real: Any, *args: Any) -> Any:
        written.append(args)
        return real(*args)

    with pytest.raises(Conflict, match="broken while this run held it"):
        world.apply(wrap=Wrapping(transport=requests(broken).transport, store=stores(put=put).store))
    assert written == []
    assert not world.apply().failed
    assert not inspect(world)


def test_a_mint_that_cannot_be_settled_takes_no_other_with_it(world: World) -> None:
    """Both creates lose their answers; what is found of the one is in the state, the other stays open."""
    world.write(declare("a", "b"))

    def answer(request: httpx.Request, send: Any) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/v1/keys"):
            if b'"name":"a"' in request.read():
                raise httpx.ReadTimeout("lost", request=request)
            response = send(request)
            response.read()
        elif request.method == "DELETE":
            raise httpx.ReadTimeout("lost", request=request)
        else:
            response = send(request)
        return response  # type: ignore[no-any-return]

    outcome = world.apply(wrap=requests(answer))
    assert codes(outcome) == ["answer-lost", "answer-lost", "unsettled"]
    assert set(world.state().keys) == {"keys.b"}
    assert not world.apply().failed
    assert not inspect(world)


# an approval that takes a while


def test_what_changed_while_somebody_thought_about_the_plan_is_refused(world: World) -> None:
    world.write(declare(a="secret: a, description: one")).apply()
    world.write(declare("new", a="secret: a, description: two"))
    (key,) = world.live().values()

    def thinks(plan: Plan) -> bool:
        world.clock.move(seconds=6)
        spec = replace(key.spec, description="from the dashboard")
        world.service().update(key, spec, frozenset({"description"}))
        return True

    with pytest.raises(PlanError, match=r"keys\.a changed at sandbox"):
        world.apply(approve=thinks)
    assert len(world.live()) == 1
    assert journal_is_empty(world)


@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_long_thought_about_a_world_that_stays_is_no_trouble(world: World, seconds: int) -> None:
    world.write(declare("a")).apply()
    world.write(declare(a="secret: a, description: two"))

    def thinks(plan: Plan) -> bool:
        world.clock.move(seconds=seconds)
        return True

    assert not world.apply(approve=thinks).failed


def test_a_state_that_somebody_else_wrote_is_not_written_over(world: World) -> None:
    world.write(declare("a")).apply()
    world.write(declare("a", "b"))

    def meanwhile(real: Any, data: bytes, expect: str | None) -> Any:
        return real(data, "another version")

    with pytest.raises(Conflict):
        world.apply(wrap=backend(write=meanwhile))
    assert set(world.state().keys) == {"keys.a"}
    assert not journal_is_empty(world)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_state_that_cannot_be_written_loses_nothing(world: World) -> None:
    def full(*_: Any) -> Any:
        raise StateError("the disk is full")

    world.write(declare("a", "b"))
    with pytest.raises(StateError, match="full"):
        world.apply(wrap=backend(write=full))
    assert len(world.live()) == 2
    outcome = world.apply()
    assert outcome.plan.empty
    assert not inspect(world)


def test_a_state_that_cannot_be_written_hides_no_other_failure(world: World) -> None:
    def full(*_: Any) -> Any:
        raise StateError("the disk is full")

    def refuse(real: Any, place: Place, *rest: Any) -> Any:
        if place.path == "b":
            raise StoreError("it is not for b")
        return real(place, *rest)

    wrap = Wrapping(
        backend=lambda real: Hooked(real, {"write": full}), store=lambda real: Hooked(real, {"put": refuse})
    )
    world.write(declare("a", "b"))
    with pytest.raises(StateError) as told:
        world.apply(wrap=wrap)
    assert [d.code for d in told.value.diagnostics] == ["store", "mint-undone", "state", "uncommitted"]
    assert "(1 change)" in told.value.diagnostics[-1].summary


def test_a_journal_that_cannot_be_written_any_more_leaves_no_stray_key(world: World) -> None:
    """From some line on every append fails, in whatever step that is."""
    for at in range(1, 8):
        world.write(declare("a", "b"))
        count = [0]

        def full(real: Any, lines: bytes, at: int = at, count: list[int] = count) -> Any:
            count[0] += 1
            if count[0] >= at:
                raise StateError("the disk is full")
            return real(lines)

        try:
            outcome = world.apply(wrap=backend(append=full))
            assert at > 5 or outcome.failed, at
        except StateError:
            assert at == 1
        assert not world.apply().failed
        assert not inspect(world), at
        world.write(declare()).apply()
        assert world.live() == {}


def test_the_run_after_a_crash_says_so(world: World) -> None:
    world.write(declare("a"))
    assert crash(world, stores(put=die)) == 77
    assert world.plan().diagnostics[0].code == "recovery-pending"
    world.apply()
    told = [event["type"] for event in world.told]
    assert told[:2] == ["warning", "recovered"]
    assert codes(world.apply()) == []
