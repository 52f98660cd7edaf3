"""What answers say of the rate limit, in whichever headers a service uses."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyform.services.budget import Allowance
from keyform.services.paths import compile_path
from keyform.services.speech import span_seconds

_UNSAID_WAIT = 1.0  # after a 429 that does not say how long
_NUMBER = re.compile(r"(?:after|in)\s+(\d{1,6}(?:\.\d{1,3})?)|^(\d{1,6})$")


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """Names of the headers. ``per``: seconds that ``limit`` counts for. ``reset`` says when the limit is
    back, as Unix time or, with ``reset_is`` ``seconds``, from now. ``wait_at``: paths in an error's body
    where a number of seconds to wait may stand, or a text that holds one ("retry after 5 seconds")."""

    limit: str | None = "X-RateLimit-Limit"
    remaining: str | None = "X-RateLimit-Remaining"
    reset: str | None = None
    reset_is: str = "epoch_s"
    per: float = 60.0
    wait_at: tuple[str, ...] = ()

    @staticmethod
    def of(tree: Mapping[str, Any]) -> LimitHeaders:
        """From a profile's ``rate_limit_headers``; what it does not name is not looked at."""
        if not tree:
            return LimitHeaders()
        return LimitHeaders(
            tree.get("limit"),
            tree.get("remaining"),
            tree.get("reset"),
            tree.get("reset_is", "epoch_s"),
            float(span_seconds(tree.get("per", "1m"))),
            tuple(tree.get("wait_at", ())),
        )

    def read(self, status: int, headers: Mapping[str, str], pause: float | None, longest: float) -> Allowance:
        """What an answer says. A wait beyond all patience is the failed call's affair."""
        limit = seconds(headers.get(self.limit)) if self.limit else None
        remaining = seconds(headers.get(self.remaining)) if self.remaining else None
        wait = None
        if status == 429 and (pause is None or pause <= longest):
            wait = _UNSAID_WAIT if pause is None else pause
        return Allowance(
            limit * 60 / self.per if limit else None, None if remaining is None else int(remaining), wait
        )

    def wait(self, status: int, headers: Mapping[str, str], body: Any, now: datetime) -> float | None:
        """Seconds to wait by the body of a refusal, or by the header that says when the limit is back."""
        for path in self.wait_at:
            found = compile_path(path)(body)
            if type(found) in (int, float) and found >= 0:
                return float(found)
            match = _NUMBER.search(found) if type(found) is str else None
            if match:
                return float(match[1] or match[2])
        reset = seconds(headers.get(self.reset)) if self.reset and status == 429 else None
        if reset is None:
            return None
        return reset if self.reset_is == "seconds" else max(0.0, reset - now.timestamp())


@functools.lru_cache(maxsize=256)
def seconds(text: str | None) -> float | None:
    """A non-negative number of seconds or requests; None for anything else."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 13 else None
