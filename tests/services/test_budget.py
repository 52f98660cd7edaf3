"""The rate budget, against the reference service's own limiter on the same moved clock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from keyform.errors import Refused
from keyform.model import KeySpec
from keyform.reference.faults import FaultRule
from keyform.services.budget import Allowance, Budget

SPEC = KeySpec(kind="secret", environment="live", name="key", scopes=("events:write",))


def mint(world: Any, number: int) -> None:
    world.service.create(SPEC, f"lineage/{number}")


@pytest.mark.parametrize("threads", [1, 10])
@pytest.mark.parametrize(("per_minute", "burst"), [(60, 10), (60, 1), (6000, 10), (7, 3)])
def test_an_apply_uses_the_whole_limit_and_is_hardly_ever_refused(
    make_world: Callable[..., Any], threads: int, per_minute: int, burst: int
) -> None:
    world = make_world(limit=(per_minute, burst))
    count = 120
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: mint(world, number), range(count)))
    least = (count - burst) * 60 / per_minute
    assert world.record.statuses.count(201) == count
    assert world.record.statuses.count(429) == 0
    assert least <= world.clock.monotonic() <= 1.1 * least


@pytest.mark.parametrize("threads", [1, 10])
def test_a_bucket_that_somebody_else_drained_costs_one_refusal(
    make_world: Callable[..., Any], connect: Callable[..., Any], threads: int
) -> None:
    world = make_world(limit=(60, 10))
    other = connect("http://localhost:1", wrap=lambda _: world.record)
    mint(world, 0)
    for _ in range(9):
        other.own_key()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: mint(world, number), range(1, 51)))
    assert world.record.statuses.count(429) <= threads
    if threads == 1:
        assert world.record.statuses.count(429) == 1
    assert world.clock.monotonic() <= 1.1 * 50


def test_every_thread_waits_after_a_refusal(make_world: Callable[..., Any]) -> None:
    world = make_world()
    world.strike(FaultRule("status", path="/v1/keys", status=429, retry_after=30))
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda number: mint(world, number), range(20)))
    assert world.record.statuses.count(429) == 1
    assert world.record.statuses.index(429) == 0
    assert 30 <= world.clock.monotonic() < 31


def test_a_service_without_a_limit_is_never_waited_for(make_world: Callable[..., Any]) -> None:
    world = make_world()
    for number in range(50):
        mint(world, number)
    assert world.clock.monotonic() == 0


def test_a_date_in_retry_after_is_understood(answering: Callable[..., Any], clock: Any) -> None:
    answers = [
        httpx.Response(429, headers={"Retry-After": "Thu, 01 Jan 2026 00:00:07 GMT"}, json={}),
        httpx.Response(200, json={"key_id": None}),
    ]
    answering(lambda request: answers.pop(0)).own_key()
    assert 7 <= clock.monotonic() < 8


@pytest.mark.parametrize("asked", ["1000000000", "Fri, 01 Jan 2027 00:00:00 GMT"])
def test_an_absurd_wait_is_an_error_at_once(answering: Callable[..., Any], clock: Any, asked: str) -> None:
    service = answering(lambda request: httpx.Response(429, headers={"Retry-After": asked}, json={}))
    with pytest.raises(Refused, match=r"429.*asks to wait \d+ s"):
        service.own_key()
    assert clock.monotonic() == 0


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e9", "nan", "٣", "9" * 40])
def test_rate_headers_that_make_no_sense_are_passed_over(
    answering: Callable[..., Any], clock: Any, value: str
) -> None:
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After")
    headers = [(name.encode(), value.encode()) for name in names]
    service = answering(lambda request: httpx.Response(200, headers=headers, json={"key_id": None}))
    for _ in range(3):
        service.own_key()
    assert clock.monotonic() == 0


def test_an_answer_that_arrives_late_does_not_lift_the_bound(clock: Any) -> None:
    budget = Budget(clock)
    budget.leave(budget.enter(), Allowance(per_minute=60, remaining=9))
    late = budget.enter()
    for left in range(7, -1, -1):
        budget.leave(budget.enter(), Allowance(per_minute=60, remaining=left))
    budget.leave(late, Allowance(per_minute=60, remaining=8))  # served first, heard last
    budget.enter()
    assert clock.monotonic() >= 1


def test_a_request_without_an_answer_counts_as_spent(clock: Any) -> None:
    budget = Budget(clock)
    budget.leave(budget.enter(), Allowance(per_minute=60, remaining=1))
    budget.leave(budget.enter(), None)
    budget.enter()
    assert clock.monotonic() >= 1


def test_a_full_bucket_does_not_fill_on_while_a_request_is_on_its_way(clock: Any) -> None:
    budget = Budget(clock)
    budget.leave(budget.enter(), Allowance(per_minute=60, remaining=9))
    clock.sleep(100)
    slow = budget.enter()
    clock.sleep(5)
    budget.leave(slow, Allowance(per_minute=60, remaining=9))  # served just before it was heard
    for left in range(8, -1, -1):
        budget.leave(budget.enter(), Allowance(per_minute=60, remaining=left))
    assert clock.monotonic() == 105
    budget.enter()
    assert clock.monotonic() >= 106
