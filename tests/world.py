"""A folder with a configuration, an embedded key service and an age store, for the tests of whole runs."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyform.apply import Outcome, Workspace, Wrapping, apply, plan_now
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.errors import Refused
from keyform.model import ACTIVE, LiveKey, Place, Secret, fingerprint_matches
from keyform.ports import Service
from keyform.registry import load_config
from keyform.state import State

NORMALLY = Options()
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class MovedClock:
    """A clock that stands still until it is moved; sleeping moves it, by a microsecond at least."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.slept = 0.0

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        return (self.now() - START).total_seconds()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(microseconds=math.ceil(seconds * 1_000_000))
            self.slept += seconds

    def move(self, **span: float) -> None:
        """Let time pass: ``move(days=3)``."""
        with self._lock:
            self._now += timedelta(**span)


@dataclass
class World:
    """One folder. Every method opens it afresh, as a new run of keyform would."""

    folder: Path
    clock: Any = field(default_factory=MovedClock)
    wrap: Wrapping = field(default_factory=Wrapping)
    told: list[dict[str, Any]] = field(default_factory=list)

    def write(self, text: str) -> World:
        (self.folder / "keyform.yaml").write_text(text)
        return self

    def open(self, wrap: Wrapping | None = None, variables: Mapping[str, str] | None = None) -> Workspace:
        config = load_config(self.folder, self.clock, variables=variables)
        return Workspace(config, self.clock, "apply", wrap or self.wrap)

    def plan(self, options: Options = NORMALLY) -> Plan:
        with self.open() as ws:
            return plan_now(ws, options)

    def apply(
        self,
        options: Options = NORMALLY,
        *,
        plan: Plan | None = None,
        wrap: Wrapping | None = None,
        parallelism: int = 1,
        approve: Callable[[Plan], bool] = lambda plan: True,
        overwrite: bool = False,
    ) -> Outcome:
        with self.open(wrap) as ws:
            return apply(
                ws,
                options,
                plan=plan,
                approve=approve,
                parallelism=parallelism,
                overwrite=overwrite,
                on_event=self.told.append,
                stop=threading.Event(),
            )

    def state(self) -> State:
        with self.open() as ws:
            return ws.read_state()[0]

    def service(self, name: str = "sandbox") -> Service:
        return self.open(Wrapping()).service(name)

    def live(self, name: str = "sandbox") -> dict[str, LiveKey]:
        """The active keys of a service by id."""
        with closing(self.service(name)) as service:
            return {key.id: key for key in service.list().keys if key.status == ACTIVE}

    def stored(self, address: str) -> Secret | None:
        """What the store holds for a key of the state."""
        with self.open(Wrapping()) as ws:
            (place,) = ws.read_state()[0].keys[address].current.places
            return ws.store(place.store).get(place)

    def entries(self, ws: Workspace) -> set[Place]:
        """Everything that the age stores hold."""
        found = set()
        for name, store in ws.config.stores.items():
            folder = self.folder / store.options.get("path", ".keyform/secrets")
            files = folder.rglob("*.age") if store.type == "age" else ()
            found |= {Place(name, str(f.relative_to(folder)).removesuffix(".age")) for f in files}
        return found

    def works(self, secret: Secret, key: LiveKey, name: str = "sandbox") -> bool:
        """Whether the service's own verify call accepts the secret as that key."""
        with closing(self.service(name)) as service:
            try:
                return service.prove(secret, key) == key.id
            except Refused:
                return False


@dataclass(frozen=True)
class Found:
    """What is wrong with a world: each promise that does not hold, in words."""

    stray: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stray or self.lost or self.doubled or self.other)


def inspect(world: World, unmanaged: frozenset[str] = frozenset(), service_name: str = "sandbox") -> Found:
    """Hold state, service and store against each other and against the declared keys. ``unmanaged`` are
    names of live keys that keyform must have left alone."""
    stray, lost, other = [], [], []
    with world.open(Wrapping()) as ws:
        state, _ = ws.read_state()
        service = ws.service(service_name)
        live = {key.id: key for key in service.list().keys if key.status == ACTIVE}
        owned = {g.id for record in state.keys.values() for g in record.generations()}
        stray += [
            f"live and unknown: {key.spec.name}"
            for key in live.values()
            if key.id not in owned and key.spec.name not in unmanaged
        ]
        missing = unmanaged - {key.spec.name for key in live.values()}
        other += [f"unmanaged key is gone: {name}" for name in sorted(missing)]
        declared = {want.address for want in ws.desired.keys}
        other += [f"state and configuration differ: {a}" for a in declared ^ set(state.keys)]
        places: set[Place] = set()
        for address, record in state.keys.items():
            current = record.current
            if current.id not in live:
                other.append(f"not live: {address}")
                continue
            if current.fingerprint is None:
                continue
            if not current.places:
                lost.append(f"no longer stored: {address}")
                continue
            for place in current.places:
                places.add(place)
                secret = ws.store(place.store).get(place)
                if secret is None or not fingerprint_matches(secret, current.fingerprint):
                    lost.append(f"not stored: {address} at {place}")
                    continue
                try:
                    proved = service.prove(secret, live[current.id])
                except Refused:
                    proved = None
                if proved != current.id:
                    lost.append(f"stored and not working: {address} at {place}")
        deposed = {g.id for record in state.keys.values() for g in record.deposed}
        names = Counter(key.spec.name for key in live.values() if key.id not in deposed)
        doubled = [f"{name} x{count}" for name, count in names.items() if count > 1]
        stray += [f"left in the store: {place}" for place in sorted(world.entries(ws) - places)]
        if ws.backend.holder() is not None:
            other.append("still locked")
        if ws.backend.journal.read():
            other.append("journal not empty")
    return Found(tuple(stray), tuple(lost), tuple(doubled), tuple(other))
