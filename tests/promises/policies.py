"""What the keys of the simulated year declare about their lives, and at which services they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta


def days(number: float) -> timedelta:
    return timedelta(days=number)


@dataclass(frozen=True)
class Policy:
    """What is declared about the life of a key, and for how long a client may go on with a secret it has."""

    every: timedelta | None = None
    ahead: timedelta | None = None
    span: timedelta | None = None
    overlap: timedelta = timedelta(0)
    gate: timedelta | None = None
    within: timedelta | None = None

    @property
    def patience(self) -> timedelta:
        """With a gate, a client that keeps using an old key may take any time, or until the deadline;
        without, the overlap."""
        return (self.within or self.overlap) * 0.9 if self.within or not self.gate else days(12)

    def text(self) -> str:
        rotation = {
            "every": self.every,
            "before_expiry": self.ahead,
            "overlap": self.overlap,
            "revoke_when_unused_for": self.gate,
            "revoke_within": self.within,
        }
        said = ", ".join(f"{name}: {hours(span)}" for name, span in rotation.items() if span)
        lives = f", expires_in: {hours(self.span)}" if self.span else ""
        return lives + (f", rotation: {{{said}}}" if said else "")


def hours(span: timedelta) -> str:
    return f"{span // timedelta(hours=1)}h" if span % days(1) else f"{span.days}d"


FORTNIGHTLY = Policy(every=days(14), overlap=days(3))
OFTEN = Policy(every=days(4), overlap=timedelta(hours=12))
BY_ITSELF = Policy(every=days(4), overlap=days(3))
ABRUPT = Policy(every=days(9))
GATED = Policy(every=days(6), overlap=days(1), gate=days(1))
WATCHED = Policy(every=days(21), overlap=timedelta(hours=6), gate=days(2))
DEADLINE = Policy(every=days(8), overlap=timedelta(hours=12), gate=days(1), within=days(4))
AHEAD = Policy(ahead=days(20), span=days(30), overlap=days(2))
WINDOW = Policy(ahead=days(30), span=days(60), overlap=days(1), gate=days(1))
BOTH = Policy(every=days(5), ahead=days(3), span=days(20), overlap=days(2))
EXPIRES = Policy(span=days(30))
FOR_EVER = Policy()

SHARES: dict[str, tuple[str, int, int, tuple[Policy, ...]]] = {
    "revenium": ("kind: write", 8, 3, (FORTNIGHTLY, OFTEN, ABRUPT, FOR_EVER)),
    "revkeen": ("scopes: [customers:read]", 8, 3, (OFTEN, FORTNIGHTLY, ABRUPT, FOR_EVER)),
    "cart": ("kind: {kind}", 2, 2, (FORTNIGHTLY, BY_ITSELF)),
    "millimetric": ("kind: pk, project: web", 9, 3, (GATED, WATCHED, ABRUPT, DEADLINE)),
    "climeter": ('scopes: ["tools:read"]', 6, 2, (FORTNIGHTLY, OFTEN, FOR_EVER)),
    "devtune": ("project: acme, scopes: [visibility.read]", 9, 4, (AHEAD, DEADLINE, WINDOW, EXPIRES)),
    "unkey": ("scopes: [documents.read]", 8, 3, (GATED, AHEAD, BOTH)),
}
"""By service: what a key is, how many there are in the whole fleet and in the small one, and policies."""

SOMEWHERE = tuple(service for service in SHARES if service != "cart")  # which is at RevKeen


def policies(whole: bool) -> Iterator[tuple[str, Policy]]:
    """The policy of each declared key."""
    for service, (_, many, few, some) in SHARES.items():
        for number in range(many if whole else few):
            yield f"keys.{service}-{number}", some[number % len(some)]
