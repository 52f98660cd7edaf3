"""Rate limits, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from keyform.reference.limiter import RateLimit

from .conftest import Clock, Service, refusal

START = 1_900_000_000
Starter = Callable[..., Service]


def told(answer: httpx.Response) -> tuple[int, int, int]:
    """Limit, remaining, and seconds from the start of the test to the reset."""
    limit, remaining, reset = (
        answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")
    )
    return int(limit), int(remaining), int(reset) - START


def test_a_burst_is_spent_and_flows_back_at_the_sustained_rate(start: Starter, clock: Clock) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=3))
    assert [told(service.http.get("/v1/whoami")) for _ in range(3)] == [(60, 2, 1), (60, 1, 2), (60, 0, 3)]
    clock.move(0.25)
    refused = service.http.get("/v1/whoami")
    assert refusal(refused) == (429, "rate_limited")
    assert told(refused) == (60, 0, 3)
    assert refused.headers["Retry-After"] == "1"
    clock.move(0.75)
    assert told(service.http.get("/v1/whoami")) == (60, 0, 4)
    clock.move(1000)
    assert told(service.http.get("/v1/whoami")) == (60, 2, 1002)


def test_waiting_as_long_as_retry_after_says_is_enough_and_no_shorter_wait_is(
    start: Starter, clock: Clock
) -> None:
    service = start(limit=RateLimit(per_minute=7, burst=1))  # one request in 8.571… seconds
    for _ in range(20):
        assert service.http.get("/v1/whoami").status_code == 200
        refused = service.http.get("/v1/whoami")
        assert refused.headers["Retry-After"] == "9"
        clock.move(8.5)
        assert service.http.get("/v1/whoami").status_code == 429
        clock.move(0.5)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/keys", 200),
        ("POST", "/v1/keys", 422),
        ("GET", "/v1/keys/unknown", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/keys", 405),
    ],
)
def test_every_answer_counts_and_says_so(start: Starter, method: str, path: str, status: int) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=10))
    answer = service.http.request(method, path)
    assert (answer.status_code, told(answer)) == (status, (60, 9, 1))


def test_a_request_over_the_limit_is_not_carried_out(start: Starter, clock: Clock) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=1))
    service.minted()
    assert refusal(service.create()) == (429, "rate_limited")
    clock.move(1)
    assert len(service.http.get("/v1/keys").json()["data"]) == 1


def test_each_credential_has_a_bucket_of_its_own(start: Starter) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=2))
    _, secret = service.minted(kind="account", scopes=["keys:manage"])
    assert told(service.client(secret).get("/v1/whoami")) == (60, 1, 1)
    assert told(service.http.get("/v1/whoami")) == (60, 0, 2)
    refused = service.client("root_wrong").get("/v1/whoami")
    assert refusal(refused) == (401, "invalid_api_key")
    assert "X-RateLimit-Limit" not in refused.headers


def test_a_service_without_a_limit_says_nothing_of_one(service: Service) -> None:
    assert not [name for name in service.http.get("/v1/keys").headers if name.startswith("x-ratelimit")]


def test_verify_counts_against_the_keys_own_limit(start: Starter, clock: Clock) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=10))
    _, secret = service.minted(rate_limit={"limit": 2, "per_seconds": 600})
    _, unlimited = service.minted()
    assert told(service.verify(secret)) == (1, 1, 300)
    refused = service.verify(secret, scope="events:write")
    assert refusal(refused) == (403, "insufficient_scope")
    assert told(refused) == (1, 0, 600)
    over = service.verify(secret)
    assert refusal(over) == (429, "rate_limited")
    assert over.headers["Retry-After"] == "300"
    assert "X-RateLimit-Limit" not in service.verify(unlimited).headers
    clock.move(300)
    assert service.verify(secret).status_code == 200


def test_a_clock_that_steps_back_takes_nothing_away(start: Starter, clock: Clock) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=2))
    service.http.get("/v1/whoami")
    clock.move(-3600)
    assert told(service.http.get("/v1/whoami"))[1] == 0
    clock.move(3601)
    assert service.http.get("/v1/whoami").status_code == 200


def test_threads_share_one_bucket(start: Starter) -> None:
    service = start(limit=RateLimit(per_minute=60, burst=40))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.http.get("/v1/whoami").status_code, range(100)))
    assert sorted(answers) == [200] * 40 + [429] * 60


@pytest.mark.parametrize(("per_minute", "burst"), [(0, 1), (1, 0), (-1, 5)])
def test_a_limit_lets_something_through(per_minute: int, burst: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RateLimit(per_minute=per_minute, burst=burst)
