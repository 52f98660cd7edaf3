"""Promises under arbitrary histories: edits, time, use, tampering, trouble, kills, rotations and rollbacks in
any order. After every step what has to work works; after every apply that comes through all is as declared.

KEYFORM_EXAMPLES says how many histories are tried; one that goes wrong is printed, with a blob that
reproduces it. KEYFORM_SHRINK=0 prints the first that does, as it was."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keyform.engine.options import Options
from keyform.errors import PlanError
from tests.promises.model import AT, FOREIGN, PATHS, SCOPES, Declared, Model
from tests.promises.weather import Breaking
from tests.reference.conftest import ROOT

EXAMPLES = int(os.environ.get("KEYFORM_EXAMPLES", "0"))

PHASES = [p for p in Phase if p is not Phase.shrink or os.environ.get("KEYFORM_SHRINK") != "0"]

names = st.sampled_from(["a", "b", "c"])
lives = st.sampled_from(
    [
        "",
        ", rotation: {overlap: 2d}",
        ", rotation: {every: 10d}",
        ", rotation: {every: 10d, overlap: 2d}",
        ", rotation: {every: 10d, overlap: 1d, revoke_when_unused_for: 1d}",
        ", rotation: {every: 10d, overlap: 1d, revoke_when_unused_for: 1d, revoke_within: 3d}",
        ", expires_in: 30d, rotation: {before_expiry: 10d, overlap: 2d}",
        ", expires_in: 30d",
    ]
)
keys = st.builds(
    Declared,
    service=st.sampled_from(AT),
    scopes=st.sampled_from([1, 2]),
    title=st.sampled_from(["one", "two"]),
    lives=lives,
    path=st.sampled_from(PATHS),
)
breakings = st.builds(Breaking, st.integers(1, 12), st.integers(1, 8), st.booleans())
short = st.builds(Breaking, st.integers(1, 8), st.integers(1, 2), st.booleans())
troubles = st.one_of(
    st.fixed_dictionaries({"dies_at": st.integers(1, 30), "after": st.booleans()}),
    st.fixed_dictionaries({"wires": breakings}),
    st.fixed_dictionaries({"stores": breakings}),
    st.fixed_dictionaries({"states": short}),
    st.fixed_dictionaries({"states": breakings}),
    st.fixed_dictionaries({"dies_at": st.integers(1, 30), "after": st.booleans(), "wires": breakings}),
)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def teardown(self) -> None:
        self.model.close()

    @initialize(one=keys, other=keys)
    def two_keys_are_applied(self, one: Declared, other: Declared) -> None:
        self.model.declared = {"a": one, "b": other}
        self.apply()

    # What people write

    @rule(name=names, declared=keys)
    def declare(self, name: str, declared: Declared) -> None:
        self.model.declared[name] = declared
        if "expires_in" in declared.lives:
            self.model.ending.add(f"keys.{name}")

    @rule(name=names)
    def declare_no_longer(self, name: str) -> None:
        self.model.declared.pop(name, None)
        self.model.trusted.discard(f"keys.{name}")

    # What happens elsewhere

    @rule(hours=st.sampled_from([1, 12, 30, 24 * 4, 24 * 11, 24 * 31]))
    def time_passes(self, hours: int) -> None:
        self.model.clock.move(hours=hours)
        self.model.expire()

    @rule(name=names)
    def somebody_uses_it(self, name: str) -> None:
        self.model.works(f"keys.{name}")

    @precondition(lambda self: self.model.state().keys)
    @rule(data=st.data(), old=st.booleans())
    def somebody_revokes_it(self, data: st.DataObject, old: bool) -> None:
        address = data.draw(st.sampled_from(sorted(self.model.state().keys)))
        record = self.model.state().keys[address]
        generation = record.deposed[0] if old and record.deposed else record.current
        if generation.id in self.model.fleet.live(generation.service):
            self.model.fleet.revoke(generation.service, generation.id)
            self.model.trusted.discard(address)

    @precondition(lambda self: self.model.state().keys)
    @rule(data=st.data(), scopes=st.sampled_from([1, 2]))
    def somebody_edits_it(self, data: st.DataObject, scopes: int) -> None:
        address = data.draw(st.sampled_from(sorted(self.model.state().keys)))
        current = self.model.state().keys[address].current
        if current.id in self.model.fleet.live(current.service):
            self.model.fleet.rescope(current.service, current.id, SCOPES[current.service][:scopes])

    @precondition(lambda self: self.model.state().keys)
    @rule(data=st.data(), value=st.sampled_from([None, FOREIGN]))
    def somebody_spoils_the_store(self, data: st.DataObject, value: str | None) -> None:
        address = data.draw(st.sampled_from(sorted(self.model.state().keys)))
        for place in self.model.state().keys[address].current.places:
            self.model.spoil(place, value)
            self.model.trusted.discard(address)

    @rule(service=st.sampled_from(AT))
    def somebody_makes_a_key_of_their_own(self, service: str) -> None:
        if len(self.model.foreign) < 2:
            name = f"theirs {len(self.model.foreign)}"
            self.model.foreign[self.model.fleet.make(service, name)] = name

    # What keyform does

    @rule(trouble=troubles)
    def apply_in_trouble(self, trouble: dict[str, Any]) -> None:
        before = self.model.state().keys.keys()
        outcome = self.model.apply(**trouble)
        if outcome is None or outcome.failed:
            return
        self.model.trusted |= {address for address in self.model.state().keys if address not in before}

    @rule(name=names, declared=keys, trouble=troubles)
    def apply_a_change_in_trouble(self, name: str, declared: Declared, trouble: dict[str, Any]) -> None:
        self.declare(name, declared)
        self.apply_in_trouble(trouble)

    @rule(trouble=troubles)
    def apply_in_trouble_and_again(self, trouble: dict[str, Any]) -> None:
        self.apply_in_trouble(trouble)
        self.apply()

    @rule()
    def apply(self) -> None:
        outcome = self.model.apply()
        assert outcome is not None and not outcome.failed, outcome and outcome.failed
        self.model.as_declared()
        declared = self.model.declared.items()
        self.model.trusted = {f"keys.{name}" for name, _ in declared}
        self.model.ending = {f"keys.{name}" for name, one in declared if "expires_in" in one.lives}

    @rule()
    def plan(self) -> None:
        self.model.plan()

    @rule(name=names, now=st.booleans(), trouble=st.one_of(st.just({}), troubles))
    def rotate(self, name: str, now: bool, trouble: dict[str, Any]) -> None:
        self._ask(Options(rotate=(f"keys.{name}",), rotate_now=now), trouble)

    @rule(name=names, trouble=st.one_of(st.just({}), troubles))
    def roll_back(self, name: str, trouble: dict[str, Any]) -> None:
        self._ask(Options(rollback=(f"keys.{name}",)), trouble)

    def _ask(self, options: Options, trouble: dict[str, Any]) -> None:
        try:
            outcome = self.model.apply(options, **trouble)
        except PlanError:  # there is nothing to rotate, or to go back to
            return
        assert trouble or (outcome is not None and not outcome.failed), outcome and outcome.failed

    @invariant()
    def everything_works(self) -> None:
        self.model.everything_works("now")


@pytest.mark.timeout(1800)
def test_the_promises_hold_under_any_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", ROOT)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Histories,
        settings=settings(
            max_examples=EXAMPLES or 30,
            stateful_step_count=30,
            deadline=None,
            derandomize=not EXAMPLES,
            print_blob=True,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
