"""What a stateful test knows of one small world: what is declared, what was done behind keyform's back, and
so which keys have to work at every instant."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from keyform.apply import Outcome, Workspace, Wrapping, apply, plan_now
from keyform.config import Config
from keyform.engine.options import Options
from keyform.engine.plan import Plan
from keyform.engine.plan_file import dump_plan
from keyform.errors import KeyformError
from keyform.model import Place, Secret, fingerprint_matches
from keyform.registry import load_config
from keyform.state import State
from tests.promises.fleet import Fleet
from tests.promises.weather import Run
from tests.world import NORMALLY, MovedClock

SERVICES = """
version: 1
services:
  devtune: {type: devtune, endpoint: "http://localhost:1/devtune", credential: "${env:ROOT}", plan: plus}
  unkey:
    type: unkey
    endpoint: "http://localhost:1/unkey"
    credential: "${env:ROOT}"
    api_id: api_keyform
projects: {acme: {service: devtune}}
"""
AT = ("devtune", "unkey")
SCOPES = {"devtune": ("actions.write", "visibility.read"), "unkey": ("documents.read", "documents.write")}
PATHS = ("x", "y")
FOREIGN = "a value of somebody else"
RAM = Path("/dev/shm")


@dataclass(frozen=True)
class Declared:
    """One key. ``scopes`` counts how many of its service's it has; ``lives``: its expiry and rotation."""

    service: str = "devtune"
    scopes: int = 1
    title: str = "one"
    lives: str = ""
    path: str = "x"

    def text(self, name: str) -> str:
        scopes = ", ".join(SCOPES[self.service][: self.scopes])
        project = "project: acme, " if self.service == "devtune" else ""
        return (
            f"  {name}: {{service: {self.service}, {project}name: {name} {self.title}, scopes: [{scopes}], "
            f"secret: {name}/{self.path}{self.lives}}}\n"
        )


@dataclass
class Model:
    """The folder, the services, and everything that the promises speak of. ``trusted`` are the addresses that
    have to work: those that were applied, are declared still, and that nobody has harmed since. Of those that
    are ``left`` a dead value could not be erased, which was told; those that are ``ending`` may
    expire."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(dir=RAM if RAM.is_dir() else None)))
    declared: dict[str, Declared] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clock = MovedClock()
        self.fleet = Fleet(self.folder / "data", self.clock.now, AT)
        self._folder = self.folder / "work"
        self._folder.mkdir()
        self._configs: dict[str, Config] = {}
        self._eyes = self._open(Wrapping())

    def close(self) -> None:
        self.fleet.close()
        shutil.rmtree(self.folder)

    def _open(self, wrap: Wrapping) -> Workspace:
        keys = "".join(declared.text(name) for name, declared in self.declared.items())
        text = SERVICES + ("keys:\n" + keys if keys else "")
        if text not in self._configs:
            (self._folder / "keyform.yaml").write_text(text)
            self._configs[text] = load_config(self._folder, self.clock)
        return Workspace(self._configs[text], self.clock, "apply", wrap)

    def state(self) -> State:
        return self._eyes.read_state()[0]

    # What keyform does

    def plan(self, options: Options = NORMALLY) -> Plan:
        """A plan; making it has no effect on anything."""
        run = Run(self, self.fleet.way)
        with self._open(run.wrapping()) as ws:
            plan = plan_now(ws, options)
        assert run.effects == 0, "planning wrote something"
        return plan

    def apply(self, options: Options = NORMALLY, **trouble: Any) -> Outcome | None:
        """One apply, in trouble of the kinds that a run knows; None where it died or was refused for it."""
        run = Run(self, self.fleet.way, tick=lambda: self.clock.move(milliseconds=1), **trouble)
        outcome = None
        try:
            with run.mortal(), self._open(run.wrapping()) as ws:
                outcome = apply(
                    ws,
                    options,
                    approve=lambda plan: True,
                    parallelism=1,
                    overwrite=bool(self.left or FOREIGN in self._values().values()),
                    on_event=self._hear,
                    stop=threading.Event(),
                )
        except KeyformError:
            if not trouble:
                raise
        return outcome

    def _hear(self, event: dict[str, Any]) -> None:
        diagnostic = event.get("diagnostic", {})
        if diagnostic.get("code") == "value-left":
            self.left.add(diagnostic["address"])

    # Who looks on

    def seen_write(self, request: httpx.Request) -> None:
        pass

    def struck(self, what: str, times: int = 1) -> None:
        pass

    def done(self, what: str) -> None:
        pass

    def after_request(self, request: httpx.Request) -> None:
        self.everything_works(f"after {request.method} {request.url.path}")

    def after_store(self, place: Place) -> None:
        self.everything_works(f"after a write to {place}")

    def everything_works(self, when: str) -> None:
        """Promise 4, at this instant; and promise 5."""
        for address in sorted(self.trusted):
            assert self.works(address), f"{address} does not work {when}"
        for key_id, name in self.foreign.items():
            live = any(self.fleet.live(service).get(key_id) == name for service in AT)
            assert live, f"{name}, which is not keyform's, is gone or changed {when}"

    def works(self, address: str) -> bool:
        """Whether one of the places that a key may have holds a secret that its service takes."""
        places = [Place("local", f"{address.removeprefix('keys.')}/{path}") for path in PATHS]
        return any(self._works(secret.reveal()) for place in places if (secret := self.stored(place)))

    def _works(self, text: str) -> bool:
        return (
            text != FOREIGN and self.fleet.use("devtune" if text.startswith("dtk_") else "unkey", text).works
        )

    def stored(self, place: Place) -> Secret | None:
        return self._eyes.store(place.store).get(place)

    # What others do

    def spoil(self, place: Place, value: str | None) -> None:
        """Delete the value of a place, or write another."""
        if value is None:
            self._eyes.store(place.store).delete(place)
        else:
            self._eyes.store(place.store).put(place, Secret(value), {})

    def expire(self) -> None:
        """Keys that were declared to expire since the last apply that came through need not work for ever."""
        self.trusted -= {address for address in self.ending & self.trusted if not self.works(address)}

    def _values(self) -> dict[Place, str]:
        """Everything in the store."""
        folder = self._folder / ".keyform" / "secrets"
        files = folder.rglob("*.age")
        places = [Place("local", str(f.relative_to(folder)).removesuffix(".age")) for f in files]
        return {place: value.reveal() for place in places if (value := self.stored(place)) is not None}

    # What must hold after an apply that came through

    def as_declared(self) -> None:
        state = self.state()
        assert {address.removeprefix("keys.") for address in state.keys} == self.declared.keys()
        owned: set[str] = set()
        kept: set[Place] = set()
        for address, record in state.keys.items():
            declared, current = self.declared[address.removeprefix("keys.")], record.current
            owned |= {generation.id for generation in record.generations()}
            kept |= {place for generation in record.generations() for place in generation.written}
            assert current.service == declared.service
            shown = self.fleet.live(current.service).get(current.id)
            assert shown == f"{address.removeprefix('keys.')} {declared.title}", f"{address} is {shown}"
            (place,) = current.places
            assert place == Place("local", f"{address.removeprefix('keys.')}/{declared.path}")
            secret = self.stored(place)
            assert secret is not None and current.fingerprint is not None
            assert fingerprint_matches(secret, current.fingerprint), f"{place} holds something else"
            assert self.works(address), f"{address} does not work"
        for service in AT:
            strays = self.fleet.live(service).keys() - owned - self.foreign.keys()
            assert not strays, f"strays at {service}: {strays}"
        for place, value in self._values().items():
            told = f"keys.{place.path.partition('/')[0]}" in self.left and not self._works(value)
            assert place in kept or told or value == FOREIGN, f"{place} was left in the store"
        with self._open(Wrapping()) as ws:
            assert not ws.backend.journal.read(), "the journal is not empty"
            assert ws.backend.holder() is None, "the state is locked"
        plan = self.plan()
        assert plan.changes == (), f"not at rest: {[(c.address, c.action, c.reason) for c in plan.changes]}"
        assert dump_plan(plan) == dump_plan(self.plan()), "two plans of the same differ"
