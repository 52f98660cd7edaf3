"""Token buckets, counted in whole numbers so that no rounding ever costs or gives a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A sustained rate and a burst: `per_minute` requests a minute, `burst` requests at once."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_minute < 1 or self.burst < 1:
            raise ValueError("a rate limit needs at least 1 request per minute and a burst of at least 1")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said. reset: Unix seconds. retry_after: seconds, 0 when the request was allowed."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    retry_after: int

    def headers(self) -> dict[str, str]:
        """The X-RateLimit-* headers, and Retry-After on a refusal."""
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }
        if not self.allowed:
            headers["Retry-After"] = str(self.retry_after)
        return headers


class Limiter:
    """Buckets by credential, shared by all threads of this process. clock: Unix time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[Hashable, tuple[int, int]] = {}

    def take(self, who: Hashable, *, amount: int, per_seconds: int, burst: int) -> Allowance:
        """Take one request from the bucket of `who`: `amount` per `per_seconds`, `burst` at once."""
        # One request is worth `token` units and `amount` units flow in per microsecond.
        token = per_seconds * _MICROSECONDS
        full = burst * token
        bucket = (who, amount, per_seconds, burst)
        with self._lock:
            now = round(self._clock() * _MICROSECONDS)
            level, seen = self._buckets.get(bucket, (full, now))
            # A clock that steps back must not drain a bucket.
            level = min(full, level + max(0, now - seen) * amount)
            allowed = level >= token
            if allowed:
                level -= token
            self._buckets[bucket] = (level, max(now, seen))
        return Allowance(
            allowed=allowed,
            limit=_divide_up(amount * 60, per_seconds),
            remaining=level // token,
            reset=_divide_up(now + _divide_up(full - level, amount), _MICROSECONDS),
            retry_after=0 if allowed else _divide_up(token - level, amount * _MICROSECONDS),
        )


def _divide_up(number: int, by: int) -> int:
    return -(-number // by)
