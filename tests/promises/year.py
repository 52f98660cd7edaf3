"""A simulated year: keys with policies in all six services, an apply every six hours, bad weather, kills, and
clients that go on using old keys for random times. The clock is the test's; the services share it."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from keyform.apply import Outcome, Workspace, Wrapping, apply, plan_now
from keyform.diagnostics import Diagnostic
from keyform.engine.options import Options
from keyform.engine.plan import INCOMPLETE_LISTING
from keyform.errors import KeyformError
from keyform.model import Place, Secret, fingerprint_matches
from keyform.registry import load_config
from keyform.state import State
from tests.promises.fleet import SERVICES, Fleet
from tests.promises.policies import EXPIRES, FOR_EVER, SHARES, SOMEWHERE, policies
from tests.promises.weather import Run, some_breaking, some_weather, struck_by
from tests.world import NORMALLY, MovedClock

STEP = timedelta(hours=6)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Client:
    """Somebody who reads a secret from the store now and then, and uses it in between."""

    secret: Secret | None = None
    until: datetime = LONG_AGO


class Year:
    """The fleet, its clients and its applies. ``wrong`` says what broke a promise."""

    def __init__(self, folder: Path, seed: int, *, whole: bool, parallelism: int = 1) -> None:
        self.seed = seed
        self.parallelism = parallelism
        self.chance = random.Random(seed)
        self.clock = MovedClock()
        self.fleet = Fleet(folder / "data", self.clock.now)
        self.policies = dict(policies(whole))
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "keyform.yaml").write_text(SERVICES + "keys:\n" + "".join(self._text()))
        self.config = load_config(folder / "work", self.clock)
        self.eyes = self._open(Wrapping(transport=lambda inner: self.fleet.way))
        self.service_of = {want.address: want.service for want in self.config.desired.keys}
        self.place_of = {want.address: want.places[0] for want in self.config.desired.keys}
        self.address_at = {place: address for address, place in self.place_of.items()}
        self.clients: dict[str, Client] = {}
        self.created: set[str] = set()
        self.used: dict[str, tuple[str, datetime]] = {}
        self.known: set[str] = set()
        self.running = False
        self.out: dict[str, int] = {}
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.problems: tuple[Diagnostic, ...] = ()
        self.trail: deque[str] = deque(maxlen=400)

    def close(self) -> None:
        self.eyes.__exit__(None, None, None)
        self.fleet.close()

    def _open(self, wrap: Wrapping) -> Workspace:
        return Workspace(self.config, self.clock, "apply", wrap)

    def _text(self) -> Iterator[str]:
        for address, policy in self.policies.items():
            name = address.removeprefix("keys.")
            service, _, number = name.partition("-")
            what = SHARES[service][0].replace("{kind}", ("publishable", "secret")[int(number) % 2])
            named = "" if service == "cart" else f"name: {name}, "
            yield f"  {name}: {{service: {service}, {named}{what}, secret: {name}{policy.text()}}}\n"

    # What the clients see

    def stored(self, address: str) -> Secret | None:
        place = self.place_of[address]
        return self.eyes.store(place.store).get(place)

    def call(self, address: str, *, afresh: bool = False) -> None:
        """A client uses its key, and reads the store first when it is time to."""
        client = self.clients.setdefault(address, Client())
        now = self.clock.now()
        if afresh or client.secret is None or now >= client.until:
            client.secret = self.stored(address)
            # What is read in the middle of an apply may be undone before its end, where the store fails.
            client.until = (
                now if self.running else now + self.policies[address].patience * self.chance.random()
            )
        if client.secret is None:
            if address in self.created:
                self._broken(f"nothing is stored for {address}")
            return
        self.counts["client calls"] += 1
        told = self.fleet.use(self.service_of[address], client.secret.reveal())
        if told.works:
            if told.key_id in self.known:
                self.used[told.key_id] = (address, now)
            return
        client.secret = None
        if self._has_ended(address):
            self.counts["calls with a key that was declared to end"] += 1
        else:
            self.counts["refused calls"] += 1
            self._broken(f"{address} is refused, {'just' if afresh else 'once'} read")

    def _has_ended(self, address: str) -> bool:
        """Whether nothing is declared to come after the key before it expires, and that it has."""
        policy, ends = self.policies[address], self.state().keys[address].current.spec.expires_at
        return policy == EXPIRES and ends is not None and ends <= self.clock.now()

    def seen_write(self, request: httpx.Request) -> None:
        """Before keyform revokes a key: is it in use inside its gate?"""
        path = request.url.path
        ended = path.rpartition("/")[2] if request.method == "DELETE" else ""
        if path.endswith("deleteKey"):
            ended = json.loads(request.content)["keyId"]
        address, used = self.used.get(ended, ("", LONG_AGO))
        policy = self.policies[address] if address else FOR_EVER
        gate = policy.gate if policy.within is None else None
        if gate is not None and used + gate > self.clock.now():
            self._broken(f"{ended} of {address} is revoked, and was used {used:%Y-%m-%d %H:%M}")

    def after_request(self, request: httpx.Request) -> None:
        service = request.url.path.split("/")[1]
        near = sorted(a for a in self.created if service in (self.service_of[a], "revkeen"))
        for address in self.chance.sample(near, min(2, len(near))):
            self.call(address, afresh=self.chance.random() < 0.5)

    def after_store(self, place: Place) -> None:
        address = self.address_at.get(place, "")
        if address in self.created:
            self.call(address, afresh=self.chance.random() < 0.5)

    def struck(self, what: str, times: int = 1) -> None:
        self.faults[what] += times

    def done(self, what: str) -> None:
        self.trail.append(f"{self.clock.now():%H:%M:%S} {what}")

    # What happens

    def state(self) -> State:
        return self.eyes.read_state()[0]

    def _broken(self, what: str) -> None:
        now = f"{self.clock.now():%Y-%m-%d %H:%M}"
        if not self.wrong:
            what += "".join(f"\n    {line}" for line in self.trail)
            what += "".join(f"\n    after: {d.summary} {d.detail}" for d in self.problems)
        self.wrong.append(f"seed {self.seed}, run {self.counts['runs']}, {now}: {what}")

    def pass_time(self, span: timedelta = STEP) -> None:
        """The clients go about their business."""
        begins = self.clock.now()
        calls = []
        for address in sorted(self.created):
            if self.policies[address].gate or self.chance.random() < 0.5:
                calls.append((self.chance.random() * span, address))
        for moment, address in sorted(calls):
            self._move_to(begins + moment)
            self.call(address)
        self._move_to(begins + span)

    def _move_to(self, moment: datetime) -> None:
        self.clock.move(seconds=max(0.0, (moment - self.clock.now()).total_seconds()))

    def ask(self) -> None:
        """Somebody rotates a key out of turn, or makes the key before it current again."""
        records = self.state().keys
        overlapping = [a for a in sorted(records) if records[a].deposed and self.service_of[a] != "cart"]
        lasting = [a for a in sorted(self.created) if self.policies[a].overlap]
        if overlapping and self.chance.random() < 0.6:
            self.run(options=Options(rollback=(self.chance.choice(overlapping),)))
        elif lasting:
            self.run(options=Options(rotate=(self.chance.choice(lasting),)))

    def run(self, *, fair: bool = False, options: Options = NORMALLY) -> Outcome | None:
        """One apply; None where it died, or something of it failed. ``fair``: nothing goes wrong."""
        self.counts["runs"] += 1
        chance = random.Random(f"{self.seed}/{self.counts['runs']}")
        random.seed(f"{self.seed}/{self.counts['runs']}")  # what retries wait
        self.trail.append(f"run {self.counts['runs']}")
        rules = [] if fair else some_weather(chance, SOMEWHERE, self.out)
        self.fleet.faults.install(rules)
        run = Run(
            self,
            self.fleet.way,
            dies_at=chance.randint(1, 30) if not fair and chance.random() < 0.3 else 0,
            after=chance.random() < 0.5,
            stores=some_breaking(chance, 0.0 if fair else 0.08),
            states=some_breaking(chance, 0.0 if fair else 0.03),
            tick=lambda: self.clock.move(milliseconds=50),
        )
        outcome: Outcome | None = None
        self.problems = ()
        self.running = True
        try:
            with run.mortal(), self._open(run.wrapping()) as ws:
                outcome = apply(
                    ws,
                    options,
                    approve=lambda plan: True,
                    parallelism=self.parallelism,
                    on_event=lambda event: None,
                    stop=threading.Event(),
                )
                self.problems = outcome.failed
        except KeyformError as problem:
            self.problems = problem.diagnostics
        self.running = False
        for what, times in struck_by(self.fleet.faults, rules):
            self.struck(what, times)
        records = self.state().keys.values()
        self.created |= {record.address for record in records if record.current.places}
        self.known |= {generation.id for record in records for generation in record.generations()}
        for diagnostic in self.problems:
            if diagnostic.code == "place-taken":
                self._broken("a person is needed")
        if outcome is None or outcome.failed:
            self.counts["runs that failed"] += 1
            for address in sorted(self.created):
                self.call(address, afresh=True)
            return None
        if options is NORMALLY:
            self._check(outcome)
        for change in outcome.plan.changes:
            self.counts[change.action] += 1
        return outcome

    def settle(self) -> None:
        """Fair weather, and clients that read the store before each call, until no old key is in use."""
        for _ in range(20):
            self.pass_time()
            for address in sorted(self.created):
                self.call(address, afresh=True)
            if self.run(fair=True) is None:
                self._broken("an apply fails in fair weather")
        state = self.state()
        self._compare(state)
        self._check_stored(state)
        with self._open(Wrapping(transport=lambda inner: self.fleet.way)) as ws:
            plan = plan_now(ws, Options())
            for change in plan.changes:
                self._broken(f"not at rest: {change.address} {change.action} {change.reason}")
            if ws.backend.journal.read() or ws.backend.holder():
                self._broken("the journal is not empty, or the state still locked")
        kept = {file.stem for file in (self.config.folder / ".keyform" / "secrets").rglob("*.age")}
        for path in kept ^ {place.path for r in state.keys.values() for place in r.current.places}:
            self._broken(f"the store and the state differ about {path}")

    # What must hold

    def _check(self, outcome: Outcome) -> None:
        """After an apply that came through."""
        now, state = self.clock.now(), self.state()
        told = outcome.plan.diagnostics
        held = {d.address for d in told if d.code == "held"}
        back = {d.address for d in told if d.code == "held-back"}
        unseen = {d.summary.split()[3] for d in told if d.code == INCOMPLETE_LISTING}
        self.counts["held"] += len(held)
        self.counts["held back after a rollback"] += len(back)
        for address in state.keys.keys() ^ self.policies.keys():
            self._broken(f"state and configuration differ: {address}")
        for address, record in state.keys.items():
            policy, current = self.policies[address], record.current
            if current.service in unseen:
                continue
            ends, latest = current.spec.expires_at, now - STEP / 6
            late = policy.every is not None and current.created_at + policy.every <= latest
            late |= policy.ahead is not None and ends is not None and ends - policy.ahead <= latest
            if late and address not in back:
                self._broken(f"{address} is not rotated: made {current.created_at}, ends {ends}")
            for old in record.deposed:
                over = old.revoke_at is not None and old.revoke_at <= latest
                if over and address not in held:
                    self._broken(f"{address}: {old.id} outlives its overlap, and nothing says why")
        self._compare(state)
        if outcome.plan.changes:
            self._check_stored(state)
            if self.chance.random() < 0.2:
                with self._open(Wrapping(transport=lambda inner: self.fleet.way)) as ws:
                    self.fleet.faults.clear()
                    left = plan_now(ws, Options()).changes
                for change in left if not unseen else ():
                    self._broken(f"not at rest: {change.address} {change.action} {change.reason}")

    def _compare(self, state: State) -> None:
        """Live keys at the services against the state."""
        for service in SHARES:
            live = self.fleet.live(service).keys()
            records = [r for r in state.keys.values() if r.current.service == service]
            for record in records:
                if record.current.id not in live and not self._has_ended(record.address):
                    self._broken(f"{record.address}: {record.current.id} is not live")
            owned = {g.id for record in records for g in record.generations()}
            strays = self.fleet.lasting(service) - owned
            if len(strays) > sum(doubt.service == service for doubt in state.doubts):
                self._broken(f"stray at {service}: {sorted(strays)}")

    def _check_stored(self, state: State) -> None:
        for address, record in state.keys.items():
            secret = self.stored(address)
            if secret is None or not fingerprint_matches(secret, record.current.fingerprint or ""):
                self._broken(f"{address}: the store does not hold the current secret")

    def told_in_figures(self) -> str:
        """The counts of it."""
        counts = {"keys": len(self.policies), **self.counts, "refused calls": self.counts["refused calls"]}
        said = ", ".join(f"{number} {what}" for what, number in counts.items())
        return f"{said}; {', '.join(f'{number} {what}' for what, number in sorted(self.faults.items()))}"
