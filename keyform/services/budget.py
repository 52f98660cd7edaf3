"""The client's side of a rate limit: ask before sending, so that the service need not refuse.

The service is taken to keep a token bucket. :class:`Budget` keeps a lower bound of what is in it: the
tokens that every request sent so far leaves, whatever the order in which the service sees them. A
request goes out when that bound is at least one, so a client that is alone with its credential is
never refused. What the answers say lifts the bound when it has fallen behind, and lowers it when
somebody else spends from the same bucket.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from keyform.ports import Clock

_log = logging.getLogger(__name__)

# The bound refills a little slower than the service says, so that clocks that run apart cannot turn it
# into an overestimate. Nothing is lost: the surplus shows up in what the answers say is remaining.
_CAUTION = 0.99
_A_LITTLE = 0.0001


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one answer says of the limit.

    ``per_minute``: sustained requests; ``remaining``: requests that could be sent right after it; None
    where the answer says nothing. ``wait``: seconds to wait, for a refused request; else None.
    """

    per_minute: float | None = None
    remaining: int | None = None
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """Permission for one request: its number, and how many were under way when it was given."""

    number: int
    under_way: int


class Budget:
    """The rate budget of one credential, shared by all threads that use it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = threading.Lock()  # whoever waits for tokens holds it; the others queue behind
        self._changed = threading.Condition()
        self._known = False  # an answer was seen; until then one request goes at a time
        self._per_second: float | None = None
        self._capacity = 1.0
        self._level = 1.0
        self._at = clock.monotonic()
        self._not_before = self._at
        self._number = 0
        self._under_way = 0

    def enter(self) -> Ticket:
        """Wait until one more request is within the budget. :meth:`leave` must follow."""
        with self._turn:
            while True:
                with self._changed:
                    while self._must_hear_first():
                        self._changed.wait()
                    wait = self._wait()
                    if wait <= 0:
                        ticket = Ticket(self._number, self._under_way)
                        self._number += 1
                        self._under_way += 1
                        self._level -= 1
                        return ticket
                _log.debug("waiting %.3f s for the rate limit", wait)
                self._clock.sleep(wait)

    def leave(self, ticket: Ticket, seen: Allowance | None) -> None:
        """The request is over. ``seen`` is what its answer said, or None if no answer came."""
        with self._changed:
            self._refill()
            self._under_way -= 1
            if seen is not None:
                self._known = True
                self._learn(ticket, seen)
            self._changed.notify_all()

    def _must_hear_first(self) -> bool:
        """Whether no time, only an answer, can make room for one more request."""
        room = self._capacity - self._under_way if self._per_second is not None else 1
        return self._under_way > 0 and (not self._known or room < 1)

    def _wait(self) -> float:
        """Seconds until a request may go; 0 for now."""
        self._refill()
        wait = self._not_before - self._at
        if self._per_second is not None and self._level < 1:
            wait = max(wait, (1 - self._level) / self._per_second + _A_LITTLE)
        return wait

    def _refill(self) -> None:
        now = self._clock.monotonic()
        if self._per_second is not None:
            # A full bucket does not fill on while a request is still on its way to it.
            full = self._capacity - self._under_way
            self._level = min(self._level + (now - self._at) * self._per_second, full)
        self._at = now

    def _learn(self, ticket: Ticket, seen: Allowance) -> None:
        if seen.per_minute is not None:
            self._per_second = seen.per_minute / 60 * _CAUTION
        if seen.wait is not None:
            # Refused: by the end of the wait there is a token for one of those under way.
            self._not_before = max(self._not_before, self._at + seen.wait)
            self._level = 1 - self._under_way - seen.wait * (self._per_second or 0)
        elif seen.remaining is not None:
            # Any request under way when this one left, or sent since, may have come after it.
            others = ticket.under_way + self._number - ticket.number - 1
            self._capacity = max(self._capacity, seen.remaining + 1)
            self._level = min(max(self._level, seen.remaining - others), seen.remaining + 1)
