"""What keyform makes of a pasted key, and what an assisted service claims to know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keyform.errors import ConfigError, Pending
from keyform.model import KeySpec, Secret
from keyform.ports import Service, Task
from keyform.profile import ASSISTED, DOCUMENTED, Profile
from keyform.services import open_service
from keyform.services.assisted import fault_finder, hint_of
from keyform.services.check import check_profile
from keyform.services.desk import Nobody, Seat
from keyform.services.profiles import load_profile
from tests.services.conftest import ManualClock

BODY = "7xPq3Zk9Wm2Lr5Tt8VbN"


def profile(name: str) -> Profile:
    found = load_profile(name, Path())
    assert found is not None
    return found.under(ASSISTED)


@pytest.mark.parametrize(
    ("name", "spec", "pasted", "told"),
    [
        ("millimetric", KeySpec(kind="pk", environment="live"), f"pk_live_f6589a94_{BODY}", None),
        ("millimetric", KeySpec(kind="pk", environment="live"), f"sk_live_f6589a94_{BODY}", "kind sk"),
        ("millimetric", KeySpec(kind="pk", environment="live"), "pk_live_f6589a94", "looks like"),
        ("millimetric", KeySpec(kind="rk", environment="live"), "rk_live_9988…", "outside ASCII"),
        ("revenium", KeySpec(kind="write"), f"rev_sk_t1_{BODY}", None),
        ("revenium", KeySpec(kind="write"), f"rev_rk_t1_{BODY}", "kind read-only"),
        ("revenium", KeySpec(kind="write"), "rev_sk_t1_********Ab3x", "masked"),
        ("revkeen", KeySpec(environment="live"), f"rk_live_{BODY}", None),
        ("revkeen", KeySpec(environment="live"), f"rk_sandbox_{BODY}", "sandbox environment"),
        ("revkeen", KeySpec(environment="live"), f"rk_live_{BODY} {BODY}", "no blanks"),
        ("devtune", KeySpec(kind="key"), "dtk_live_" + "0a" * 32, None),
        ("devtune", KeySpec(kind="key"), "dtk_live_" + "0a" * 31, "looks like"),
        ("climeter", KeySpec(), f"anything_{BODY}", None),
        ("climeter", KeySpec(), "short", "characters"),
    ],
)
def test_a_paste_is_checked_by_the_rules_of_its_kind(
    name: str, spec: KeySpec, pasted: str, told: str | None
) -> None:
    wrong = fault_finder(profile(name), spec)(Secret(pasted))
    if told is None:
        assert wrong is None
    else:
        assert wrong is not None
        assert told in wrong
        assert BODY not in wrong


def test_what_is_shown_of_a_secret_is_never_most_of_it() -> None:
    assert hint_of(profile("millimetric"), Secret(f"pk_live_f6589a94_{BODY}")) == "pk_live_f6589a94"
    assert hint_of(profile("millimetric"), Secret("pk_live_f6589a94_short")) == ""
    assert hint_of(profile("revenium"), Secret(f"rev_sk_t1_{BODY}")) == BODY[-4:]
    assert hint_of(profile("climeter"), Secret("tooshort")) == ""


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("millimetric", {"create", "revoke", "set_origins"}),
        ("revenium", {"create", "revoke", "update"}),
        ("devtune", {"create", "revoke", "update"}),
        ("revkeen", {"create", "revoke", "set_origins"}),
        ("climeter", {"create", "revoke"}),
    ],
)
def test_by_hand_it_lists_nothing_and_marks_nothing(name: str, operations: set[str]) -> None:
    found = profile(name)
    assert {op for op, how in found.operations.items() if how == ASSISTED} == operations
    assert set(found.operations) - operations <= {"prove"}
    assert found.operations.get("prove", DOCUMENTED) == DOCUMENTED
    assert not (found.lists or found.marks or found.shown or found.shows_last_used)


class Person(Seat):
    """Somebody who pastes one key and says yes."""

    def __init__(self, pasted: str) -> None:
        super().__init__()
        self.pasted, self.confirmed = pasted, 0

    def expect(self, tasks: tuple[Task, ...]) -> None: ...

    def secret(self, fault: Callable[[Secret], str | None]) -> Secret:
        assert fault(Secret(self.pasted)) is None
        return Secret(self.pasted)

    def confirm(self) -> None:
        self.confirmed += 1

    def tell(self, text: str) -> None: ...


def opened(desk: Person | Nobody | None, clock: ManualClock) -> Service:
    found = load_profile("millimetric", Path())
    assert found is not None
    return open_service(
        "analytics", "millimetric", profile=found, endpoint=None, credential=None, options={}, folder=Path(),
        clock=clock, mode=ASSISTED, desk=desk,
    )  # fmt: skip


def test_two_keys_with_the_same_prefix_have_ids_of_their_own() -> None:
    clock = ManualClock()
    service = opened(Person(f"pk_live_f6589a94_{BODY}"), clock)
    spec = KeySpec(kind="pk", environment="live", name="n")
    first = service.create(spec, "lineage/11111111aaaa")
    second = service.create(spec, "lineage/22222222bbbb")
    assert (first.key.id, second.key.id) == ("pk_live_f6589a94#11111111", "pk_live_f6589a94#22222222")
    assert first.key.created_at == clock.now()
    assert BODY not in repr(first)


def test_with_nobody_to_ask_everything_waits() -> None:
    desk = Nobody()
    service = opened(desk, ManualClock())
    with desk.turn(Task("keys.a", "analytics", "create", ("Do it.",))), pytest.raises(Pending) as waits:
        service.create(KeySpec(kind="pk"), "l/m")
    assert waits.value.begun is False
    assert "keys.a: create at analytics, by hand" in str(waits.value)
    with desk.turn(Task("keys.a", "analytics", "revoke", ())), pytest.raises(Pending):
        service.revoke("x")


def test_without_a_desk_it_cannot_be_opened() -> None:
    with pytest.raises(ConfigError, match="needs a person"):
        opened(None, ManualClock())


def test_a_dashboard_block_is_checked() -> None:
    text = """
version: 1
title: Acme
fields: [name]
operations: {list: {backing: contract}, create: {backing: contract}, revoke: {backing: contract}}
dashboard:
  where: Settings
  source: acme.example
  create: ["Name it {nmae}."]
  hint: "....$"
"""
    found = [problem.summary for problem in check_profile(text.encode(), "acme.yaml")]
    assert any("there is no {nmae}" in summary for summary in found)
    assert any("needs one group" in summary for summary in found)
