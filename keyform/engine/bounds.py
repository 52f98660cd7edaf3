"""What bounds the use of a key: when it ends, how often it may be used at once, and how often at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from keyform.engine.turns import GAIN, LOSS, SIDEWAYS, Reach, Turn
from keyform.model import DAILY, Credits, RateLimit, format_duration, instant


def _end(reach: Reach, now: datetime) -> datetime | None:
    """When a key ends that is minted now; None for never."""
    return reach.spec.expires_at if reach.expires_in is None else now + reach.expires_in


def end_words(reach: Reach) -> str:
    if reach.expires_in is not None:
        return f"{format_duration(reach.expires_in)} after it is minted"
    return instant(reach.spec.expires_at) if reach.spec.expires_at else "never"


def expiry_turns(before: Reach, after: Reach, now: datetime, renewed: bool) -> Iterator[Turn]:
    old, new = before.spec.expires_at, after.spec.expires_at
    if renewed:
        if before.expires_in == after.expires_in and (after.expires_in is not None or old == new):
            return
        old, new = _end(before, now), _end(after, now)
        was, becomes = end_words(before), end_words(after)
    elif old != new:
        was, becomes = (instant(end) if end else "never" for end in (old, new))
    elif (old is None or None not in (before.expires_in, after.expires_in)) and (
        before.expires_in != after.expires_in
    ):
        old, new = _end(before, now), _end(after, now)
        was, becomes = end_words(before), end_words(after)
    if old == new:
        return
    if new is None:
        yield Turn(GAIN, f"lives on past its end ({was}): never expires", True)
    elif old is None:
        yield Turn(LOSS, f"ends {becomes}; it never expired before")
    elif new > old:
        yield Turn(GAIN, f"lives longer: ends {becomes}, was {was}")
    else:
        yield Turn(LOSS, f"lives shorter: ends {becomes}, was {was}")


def rate_turns(old: RateLimit | None, new: RateLimit | None) -> Iterator[Turn]:
    if old == new:
        return
    if new is None:
        yield Turn(GAIN, f"can now be used without a rate limit of its own, was {rate_words(old)}")
    elif old is None:
        yield Turn(LOSS, f"can now be used {rate_words(new)}, had no rate limit of its own")
    else:
        at_once = new.limit - old.limit
        in_the_long_run = new.limit * old.per_seconds - old.limit * new.per_seconds
        words = f"can now be used {rate_words(new)}, was {rate_words(old)}"
        yield from _bounded((at_once, in_the_long_run), words)


def _bounded(growth: Iterable[int], words: str) -> Iterator[Turn]:
    up, down = any(by > 0 for by in growth), any(by < 0 for by in growth)
    if up or down:
        yield Turn(SIDEWAYS if up and down else GAIN if up else LOSS, words)


def rate_words(limit: RateLimit | None) -> str:
    if limit is None:
        return "without a limit"
    return f"{_times(limit.limit)} in {format_duration(timedelta(seconds=limit.per_seconds))}"


def credit_turns(old: Credits | None, new: Credits | None) -> Iterator[Turn]:
    if old == new:
        return
    if new is None:
        yield Turn(GAIN, "can now be used without end: no credits bound its use any more", True)
    elif old is None:
        yield Turn(LOSS, f"can now be used {use_words(new)}, was without end")
    else:
        had, has = _refilled(old), _refilled(new)
        growth = (new.remaining - old.remaining, has[0] - had[0], has[1] - had[1])
        yield from _bounded(growth, f"can now be used {use_words(new)}, was {use_words(old)}")


def _refilled(credits: Credits) -> tuple[int, int]:
    """How much comes back, and how often; nothing at all where there is no refill."""
    refill = credits.refill
    return (0, 0) if refill is None else (refill.amount, 2 if refill.interval == DAILY else 1)


def use_words(credits: Credits) -> str:
    refill = credits.refill
    return _times(credits.remaining) + (f" and {refill.amount:,} more {refill.interval}" if refill else "")


def _times(count: int) -> str:
    return f"{count:,} time{'' if count == 1 else 's'}"
