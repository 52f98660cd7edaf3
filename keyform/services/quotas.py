"""How much a key may be used, out of an answer: its rate limit and its credits."""

from __future__ import annotations

from typing import Any

from keyform.model import Credits, RateLimit, Refill
from keyform.services.fields import (
    Reader,
    Unintelligible,
    conditions,
    nothing,
    place_of,
    whole,
    words_back,
)
from keyform.services.paths import compile_path
from keyform.services.speech import Speech


def rate_limit_reader(entry: Any) -> Reader:
    """A rate limit, or None; with ``where``, the first of a list that meets the conditions."""
    path, more = place_of(entry)
    if path is None:
        return nothing
    get, limit_of = compile_path(path), compile_path(more.get("limit", "limit"))
    counts = conditions(more["where"]) if "where" in more else None
    unit, per = (1000, more["per_ms"]) if "per_ms" in more else (1, more.get("per_seconds", "per_seconds"))
    span_of = compile_path(per) if isinstance(per, str) else (lambda raw: per)

    def read(raw: Any) -> RateLimit | None:
        value = get(raw)
        if counts is not None and type(value) is list:
            value = next((one for one in value if counts(one)), None)
        if value is None:
            return None
        limit, span = limit_of(value), span_of(value)
        if type(limit) is int and type(span) is int:
            return RateLimit(limit, span // unit)
        raise Unintelligible("a key whose rate_limit is no limit")

    return read


def credits_reader(entry: Any, speech: Speech) -> Reader:
    """What is left of the credits, and their refill; None where use has no end."""
    path, more = place_of(entry)
    if path is None:
        return nothing
    get, remaining_of = compile_path(path), compile_path(more.get("remaining", "remaining"))
    refill_at, words = place_of(more.get("refill", "refill"))
    refill_of = compile_path("refill" if refill_at is None else refill_at)
    amount_of, interval_of, day_of = (
        compile_path(words.get(word, word)) for word in ("amount", "interval", "refill_day")
    )
    back = words_back(speech, "intervals")

    def read(raw: Any) -> Credits | None:
        value = get(raw)
        remaining = remaining_of(value)
        if value is None or (type(value) is dict and remaining is None):
            return None
        refill = refill_of(value)
        amount, interval, day = amount_of(refill), interval_of(refill), day_of(refill)
        if type(remaining) is int and (refill is None or (amount is None and refill_at == "")):
            return Credits(remaining)
        numbers = type(remaining) is int and type(amount) is int and (day is None or type(day) is int)
        if numbers and type(interval) is str:
            return Credits(remaining, Refill(amount, whole(back.get(interval, interval)), day))
        raise Unintelligible("a key whose credits are no credits")

    return read
