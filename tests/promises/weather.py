"""What befalls an apply: services, stores and states that break, and a process that dies at any effect. The
dead have no effects any more, whatever thread they would come from."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx

from keyform.apply import Wrapping
from keyform.errors import KeyformError, StateError, StoreError
from keyform.model import Place
from keyform.reference.faults import FaultRule, Faults

WRITES = "POST|DELETE|PUT|PATCH"
WRITTEN = ("put", "delete", "write", "append", "clear", "lock", "unlock")
READ_BY_POST = ("listKeys", "verify", "verifyKey", "whoami", "login")


class Killed(BaseException):
    """The process is dead: no handler of keyform's catches it."""


class World(Protocol):
    """What the weather acts on, and who looks on meanwhile."""

    def seen_write(self, request: httpx.Request) -> None:
        """A request that changes something is about to be carried out."""

    def after_request(self, request: httpx.Request) -> None:
        """It has been, and its answer is under way."""

    def after_store(self, place: Place) -> None:
        """A place was written or emptied."""

    def struck(self, what: str, times: int = 1) -> None:
        """Something went wrong."""

    def done(self, what: str) -> None:
        """Something was done, in words."""


class Breaking:
    """Calls of a port that fail: some in a row, before or after their effect."""

    def __init__(self, begins: int, length: int, after: bool) -> None:
        self._begins, self._length, self._after = begins, length, after
        self._count = 0

    def fails(self) -> bool | None:
        """Of one more call: None when it does not, else whether its effect comes first."""
        self._count += 1
        return self._after if self._begins <= self._count < self._begins + self._length else None


SOUND = Breaking(0, 0, False)


class Run:
    """One apply under it. ``dies_at`` numbers the effect at which the process dies, 0 for none; ``after``:
    when that effect has come about."""

    def __init__(
        self,
        world: World,
        way: httpx.BaseTransport,
        *,
        dies_at: int = 0,
        after: bool = False,
        stores: Breaking = SOUND,
        states: Breaking = SOUND,
        wires: Breaking = SOUND,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = world
        self.way = way
        self.dead = False
        self._turn = threading.RLock()
        self.effects = 0
        self._dies_at, self._after = dies_at, after
        self._stores, self._states, self._wires = stores, states, wires
        self._tick = tick
        self._backends: list[Any] = []

    def wrapping(self) -> Wrapping:
        def backend(inner: Any) -> Any:
            self._backends.append(inner)
            return Port(self, inner, self._states, StateError)

        return Wrapping(
            transport=lambda inner: Wire(self),
            store=lambda inner: Port(self, inner, self._stores, StoreError),
            backend=backend,
        )

    @contextmanager
    def mortal(self) -> Iterator[None]:
        """What runs in here may die; then the operating system lets go of what the process held."""
        try:
            yield
        except Killed:
            assert self.dead
        finally:
            if self.dead:
                for backend in self._backends:
                    backend._lock._drop()

    def alive(self) -> None:
        if self.dead:
            raise Killed

    def effect(self, act: Callable[[], Any], look: Callable[[], None] = lambda: None) -> Any:
        """An effect on the world; ``look`` is what others do right after it."""
        with self._turn:
            self.alive()
            self.effects += 1
            mine = self.effects == self._dies_at
            if mine and not self._after:
                self._die()
            result = act()
            self._tick()
            look()
            if mine:
                self._die()
            return result

    def carried(self, request: httpx.Request) -> httpx.Response:
        """A request on its way, unless the way is broken."""
        after = self._wires.fails()
        if after is False:
            raise httpx.ConnectError("broken by the test", request=request)
        answer = self.way.handle_request(request)
        if after:
            raise httpx.ReadError("broken by the test", request=request)
        return answer

    def _die(self) -> None:
        self.dead = True
        self.world.done("killed")
        self.world.struck("killed")
        raise Killed


class Wire(httpx.BaseTransport):
    """keyform's way to the services."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        run = self._run
        run.alive()
        if request.method == "GET" or request.url.path.endswith(READ_BY_POST):
            return run.carried(request)

        def act() -> httpx.Response:
            run.world.done(f"{request.method} {request.url.path}")
            run.world.seen_write(request)
            answer = run.carried(request)
            run.world.done(f"answered {answer.status_code}")
            return answer

        answer: httpx.Response = run.effect(act, lambda: run.world.after_request(request))
        return answer


class Port:
    """A store, a state backend or its journal."""

    def __init__(self, run: Run, inner: Any, breaking: Breaking, error: type[KeyformError]) -> None:
        self._run, self._inner, self._breaking, self._error = run, inner, breaking, error

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name == "journal":
            return Port(self._run, value, self._breaking, self._error)
        if name in WRITTEN:
            return lambda *args: self._write(name, value, args)
        if name in ("get", "look", "probe"):
            return lambda *args: self._call(value, args)
        return value

    def _write(self, name: str, value: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        stored = name in ("put", "delete")
        what = json.loads(args[0].splitlines()[-1])["record"] if name == "append" else ""
        self._run.world.done(f"{name} {args[0] if stored else what}")
        if name in ("lock", "unlock"):
            return self._run.effect(lambda: value(*args))
        look = (lambda: self._run.world.after_store(args[0])) if stored else (lambda: None)
        return self._run.effect(lambda: self._call(value, args), look)

    def _call(self, value: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._run.alive()
        after = self._breaking.fails()
        if after is None:
            return value(*args)
        self._run.world.done(f"{value.__name__} fails {'after' if after else 'before'} its effect")
        self._run.world.struck(f"{self._error.__name__} {'after' if after else 'before'} its effect")
        if after:
            value(*args)
        raise self._error("broken by the test", "Wait for better weather.")


def some_weather(chance: random.Random, services: tuple[str, ...], out: dict[str, int]) -> list[FaultRule]:
    """What the network and the services do wrong in one run. ``out``: for how many runs more each service
    that is out will be so, which this counts down."""
    for service in list(out):
        out[service] -= 1
        if out[service] <= 0:
            del out[service]
    if chance.random() < 0.03:
        out[chance.choice(services)] = chance.randint(1, 4)
    rules = [
        FaultRule(chance.choice(["status", "drop_request"]), path=f"^/{service}/", times=None)
        for service in out
    ]

    def strikes(often: float, action: str, method: str = ".*", **more: Any) -> None:
        if chance.random() < often:
            path = f"^/{chance.choice(services)}/"
            after, times = chance.randint(0, 4), chance.randint(1, 6)
            rules.append(FaultRule(action, method, path, after=after, times=times, **more))

    strikes(0.08, "status", status=429, retry_after=chance.randint(1, 40))
    strikes(0.12, "drop_answer", WRITES)
    strikes(0.05, "drop_request", WRITES)
    strikes(0.05, "status", WRITES, status=500, carry_out=True)
    strikes(0.03, "garbage")
    strikes(0.03, "half_page")
    return rules


def some_breaking(chance: random.Random, often: float) -> Breaking:
    """A port that breaks now and then."""
    begins, length, after = chance.randint(1, 40), chance.randint(1, 5), chance.random() < 0.5
    return Breaking(begins, length, after) if chance.random() < often else SOUND


def struck_by(faults: Faults, rules: list[FaultRule]) -> Iterator[tuple[str, int]]:
    """How often each kind of rule has struck."""
    for rule, seen in zip(rules, faults.seen(), strict=True):
        times = (
            max(0, seen - rule.after) if rule.times is None else max(0, min(seen - rule.after, rule.times))
        )
        if times:
            kind = {429: "throttled", 500: "failed after success"}.get(rule.status, "outage")
            yield (kind if rule.action == "status" else rule.action.replace("_", " ")), times
