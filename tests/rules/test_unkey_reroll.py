"""Rotations by Unkey's own reroll: when, how, and whose the keys are that come of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from keyform.apply import Outcome, Wrapping
from keyform.engine.options import Options
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.model import LABEL
from keyform.report.style import Style
from keyform.report.text import plan_text
from tests.rules.conftest import Rules, StaysOpen

DAY_MS = 86_400_000
DUE = Options()
FIELDS = "name: a, scopes: [read], metadata: {team: web}"
ROTATED = "expires_in: 60d, rotation: {every: 30d, overlap: 2d}"
REROLL, CREATE, UPDATE = "/v2/keys.rerollKey", "/v2/keys.createKey", "/v2/keys.updateKey"


def key(fields: str) -> str:
    return "keys: {k: {service: it, secret: k, " + fields + "}}\n"


DECLARED = key(f"{FIELDS}, {ROTATED}")


class Line:
    """The way to the service: what is sent, and what happens to a request for `path`."""

    def __init__(self, it: Rules, path: str = "", act: Callable[[Line, httpx.Request], Any] | None = None):
        self.it, self.gone = it, False
        self.sent: list[tuple[str, Any]] = []
        self._path, self._act = path, act

    def carry(self, request: httpx.Request) -> httpx.Response:
        answer = StaysOpen(self.it.vendor.application).handle_request(request)
        answer.read()
        return answer

    def wrapping(self) -> Wrapping:
        def handle(request: httpx.Request) -> httpx.Response:
            path = request.url.path
            self.sent.append((path, json.loads(request.read())))
            if self.gone:
                raise httpx.ConnectError("cut off by the test", request=request)
            if path == self._path and self._act is not None and (answer := self._act(self, request)):
                done: httpx.Response = answer
                return done
            return self.carry(request)

        return Wrapping(transport=lambda _: httpx.MockTransport(handle))

    def to(self, *paths: str) -> list[tuple[str, Any]]:
        return [entry for entry in self.sent if entry[0] in paths]


def lost(line: Line, request: httpx.Request) -> httpx.Response:
    """It is carried out, and its answer never comes."""
    line.carry(request)
    raise httpx.ReadError("lost by the test", request=request)


def refuse(line: Line, request: httpx.Request) -> httpx.Response:
    told = {"meta": {"requestId": "r"}, "error": {"title": "Forbidden", "detail": "no", "status": 403}}
    return httpx.Response(403, json=told)


def keys(it: Rules) -> dict[str, dict[str, Any]]:
    found = it.vendor.call("POST", "/v2/apis.listKeys", {"apiId": "api_keyform"}).json()["data"]
    return {entry["keyId"]: entry for entry in found}


def by_hand(it: Rules, key_id: str) -> str:
    """Somebody rerolls a key at Unkey, with an overlap of ten days; the id of the new one."""
    sent = {"keyId": key_id, "expiration": 10 * DAY_MS}
    made: str = it.vendor.call("POST", REROLL, sent).json()["data"]["keyId"]
    return made


def current(it: Rules) -> str:
    return it.world.state().keys["keys.k"].current.id


def works(it: Rules) -> bool:
    """Whether what is stored works as the current key."""
    secret = it.world.stored("keys.k")
    assert secret is not None
    told = it.vendor.call("POST", "/v2/keys.verifyKey", {"key": secret.reveal()}).json()["data"]
    return bool(told["valid"]) and told["keyId"] == current(it)


@pytest.fixture
def due(rules: Callable[..., Rules]) -> Rules:
    """A key whose rotation is due."""
    it = rules("unkey")
    it.apply(DECLARED)
    it.clock.move(days=31)
    return it


def run(it: Rules, line: Line, options: Options = DUE) -> Outcome:
    return it.world.apply(options, wrap=line.wrapping())


def test_a_rotation_is_a_reroll_and_what_it_does_to_the_old_key_is_undone(due: Rules) -> None:
    old = current(due)
    before = keys(due)[old]
    assert due.vendor.call("POST", UPDATE, {"keyId": old, "externalId": "tenant"}).status_code == 200
    line = Line(due)
    outcome = run(due, line)
    assert not outcome.failed
    assert [path for path, _ in line.to(REROLL, CREATE, UPDATE)] == [UPDATE, REROLL, UPDATE, UPDATE]
    # It is asked to live a little shorter than it was to live anyway.
    assert line.to(REROLL) == [(REROLL, {"keyId": old, "expiration": 29 * DAY_MS - 180_000})]
    shown, new = keys(due), current(due)
    assert shown[old] == before | {
        "updatedAt": shown[old]["updatedAt"], "identity": shown[old]["identity"],
    }  # fmt: skip
    state = due.world.state()
    marker = state.keys["keys.k"].current.marker
    assert shown[new]["meta"] == {"team": "web", LABEL: f"{state.lineage}/{marker}"}
    assert shown[new]["expires"] == before["expires"] + 31 * DAY_MS
    assert shown[new]["identity"]["externalId"] == "tenant"
    assert works(due)
    assert due.world.plan().changes == ()
    due.clock.move(days=2)
    due.world.apply()
    assert set(keys(due)) == {new}


def test_the_plan_says_so_and_its_file_is_held_to_it(due: Rules) -> None:
    plan = due.world.plan()
    (change,) = plan.changes
    old = current(due)
    assert f"made from {old} by Unkey's own reroll; {old} lives on for 2d beside" in change.reason
    assert (change.backing, change.steps[0].key_id) == ("documented", old)
    shown = " ".join(plan_text(plan, Style(width=200)).split())
    assert "by Unkey's own reroll" in shown
    assert due.world.apply(plan=load_plan(dump_plan(plan), "p")).done == 1
    assert works(due)


def test_a_key_without_an_end_is_asked_to_live_on_for_a_year_and_then_has_none(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    it.apply(key("name: a, credits: {remaining: 5}, rotation: {every: 30d, overlap: 2d}"))
    secret = it.world.stored("keys.k")
    assert secret is not None
    it.vendor.call("POST", "/v2/keys.verifyKey", {"key": secret.reveal()})
    it.clock.move(days=30)
    old, line = current(it), Line(it)
    assert not run(it, line).failed
    assert line.to(REROLL)[0][1]["expiration"] == 365 * DAY_MS
    shown = keys(it)
    assert [("expires" in shown[one]) for one in (old, current(it))] == [False, False]
    # What use has left of the old one's credits is not the new one's.
    assert [shown[one]["credits"]["remaining"] for one in (old, current(it))] == [4, 5]


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (key(f"{FIELDS.replace('read', 'write')}, {ROTATED}"), "another scope"),
        (key(f"{FIELDS}, {ROTATED.replace('60d', '90d')}"), "another expiry"),
    ],
)
def test_a_key_that_is_to_be_another_is_created(due: Rules, declared: str, why: str) -> None:
    line = Line(due)
    due.declare(declared)
    outcome = run(due, line)
    assert [change.action for change in outcome.plan.changes] == ["rotate"], why
    assert (len(line.to(CREATE)), line.to(REROLL)) == (1, [])
    assert "reroll" not in outcome.plan.changes[0].reason
    assert works(due)


def test_a_disabled_key_and_one_that_somebody_changed_are_followed_by_a_created_one(due: Rules) -> None:
    asked = Options(rotate=("keys.k",))
    for changed in ({"enabled": False}, {"name": "other"}, {"expires": None}):
        sent = {"keyId": current(due), **changed}
        assert due.vendor.call("POST", UPDATE, sent).status_code == 200
        line = Line(due)
        assert not run(due, line, asked).failed
        assert (len(line.to(CREATE)), line.to(REROLL)) == (1, []), changed
        assert works(due)


def test_an_adopted_key_is_followed_by_a_created_one_and_that_by_a_reroll(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    theirs = it.create({"name": "a", "meta": {"theirs": 1}}).json()["data"]["keyId"]
    declared = key("name: a, rotation: {every: 30d}") + f"imports: [{{key: k, id: {theirs}}}]\n"
    it.apply(declared)
    seen = []
    for _ in range(2):
        it.clock.move(days=30)
        line = Line(it)
        assert not run(it, line).failed
        seen.append((len(line.to(CREATE)), len(line.to(REROLL))))
    assert seen == [(1, 0), (0, 1)]
    assert works(it)


def test_a_rollback_after_it_is_as_after_any_rotation(due: Rules) -> None:
    old, first = current(due), due.world.stored("keys.k")
    assert not due.world.apply().failed
    new = current(due)
    back = Options(rollback=("keys.k",))
    assert not due.world.apply(back).failed
    assert (current(due), due.world.stored("keys.k")) == (old, first)
    assert works(due)
    due.clock.move(days=2)
    due.world.apply()
    assert set(keys(due)) >= {old}
    assert new not in keys(due) or current(due) != new
    assert works(due)


def test_the_gate_holds_the_old_one_for_as_long_as_it_is_used(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(key("name: a, rotation: {every: 30d, overlap: 1d, revoke_when_unused_for: 1d}"))
    old, secret = current(it), it.world.stored("keys.k")
    assert secret is not None
    it.clock.move(days=30)
    assert "reroll" in it.world.apply().plan.changes[0].reason
    it.clock.move(days=1)
    assert it.vendor.call("POST", "/v2/keys.verifyKey", {"key": secret.reveal()}).json()["data"]["valid"]
    plan = it.world.plan()
    assert (plan.changes, [d.code for d in plan.diagnostics if d.code == "held"]) == ((), ["held"])
    it.clock.move(days=2)
    it.world.apply()
    assert old not in keys(it)


# Whose a key is


def test_a_lost_answer_costs_a_key_that_nobody_has_and_no_other(due: Rules) -> None:
    old, before = current(due), keys(due)[current(due)]
    stranger = by_hand(due, old)  # earlier, so that it has the old key's label
    due.vendor.call("POST", UPDATE, {"keyId": old, "expires": before["expires"]})
    outcome = run(due, Line(due, REROLL, lost))
    assert outcome.failed
    assert set(keys(due)) == {old, stranger}
    assert {**keys(due)[old], "updatedAt": 0} == {**before, "updatedAt": 0}
    told = [d.summary for d in due.world.plan().diagnostics if d.code == "stray"]
    assert len(told) == 1
    assert stranger in told[0]
    assert not due.world.apply().failed
    assert set(keys(due)) == {old, stranger, current(due)}
    assert works(due)


def test_of_two_copies_none_is_touched_and_both_are_named(due: Rules) -> None:
    old, strangers = current(due), []

    def both(line: Line, request: httpx.Request) -> httpx.Response:
        strangers.append(by_hand(due, old))
        return lost(line, request)

    run(due, Line(due, REROLL, both))
    ids = set(keys(due)) - {old}
    assert len(ids) == 2
    assert ids > set(strangers)
    told = [event["diagnostic"] for event in due.world.told if event["type"] == "warning"]
    (warned,) = (d for d in told if d["code"] == "several-copies")
    assert all(one in warned["summary"] for one in ids)
    assert not due.world.apply().failed
    assert ids < set(keys(due))
    (stray,) = (d for d in due.world.plan().diagnostics if d.code == "stray")
    assert all(one in stray.summary for one in ids)
    assert works(due)


def test_what_somebody_makes_beside_a_copy_that_came_through_is_theirs(due: Rules) -> None:
    old, strangers = current(due), []

    def beside(line: Line, request: httpx.Request) -> None:
        strangers.append(by_hand(due, old))

    assert not run(due, Line(due, REROLL, beside)).failed
    assert set(keys(due)) == {old, current(due), *strangers}
    assert works(due)


def cut_off(it: Rules, options: Options = DUE, *, carried_out: bool) -> None:
    """A run that reaches the service no more from the reroll on, as if it had been killed there."""

    def act(line: Line, request: httpx.Request) -> httpx.Response:
        if carried_out and not line.gone:
            line.carry(request)
        line.gone = True
        raise httpx.ConnectError("cut off by the test", request=request)

    run(it, Line(it, REROLL, act), options)
    with it.world.open() as ws:
        assert b'"original"' in ws.backend.journal.read()


def test_what_somebody_makes_days_after_a_crash_is_theirs(due: Rules) -> None:
    """The old key has the label of the one that never came to be; so has what is made from it."""
    old = current(due)
    cut_off(due, carried_out=False)
    due.clock.move(days=2)
    stranger = by_hand(due, old)
    assert not due.world.apply().failed
    assert set(keys(due)) == {old, stranger, current(due)}
    assert works(due)
    assert keys(due)[old]["meta"][LABEL].endswith(f"/{due.world.state().keys['keys.k'].deposed[0].marker}")


def test_the_old_key_is_alive_almost_until_its_own_end_whenever_the_next_run_comes(due: Rules) -> None:
    cut_off(due, carried_out=True)
    own = due.world.state().keys["keys.k"].current.created_at + timedelta(days=60)
    due.clock.move(seconds=(own - due.clock.now()).total_seconds() - 181)
    assert works(due)
    due.clock.move(seconds=181)
    assert not works(due)  # as declared
    outcome = due.world.apply()
    assert not outcome.failed
    assert "expired on" in outcome.plan.changes[0].reason
    assert works(due)
    due.clock.move(days=3)
    due.world.apply()
    assert set(keys(due)) == {current(due)}


def test_a_reroll_that_comes_after_the_first_look_is_found_by_the_second(due: Rules) -> None:
    held: list[httpx.Request] = []
    old, sleep = current(due), due.clock.sleep
    line = Line(due, REROLL, lambda line, request: held.append(request) or _silence(request))

    def slept(seconds: float) -> None:
        sleep(seconds)
        if held and seconds >= 30:
            line.carry(held.pop())

    due.clock.sleep = slept  # type: ignore[method-assign]  # what happens while keyform waits
    outcome = run(due, line)
    assert outcome.failed
    assert held == []
    assert set(keys(due)) == {old}
    assert not due.world.apply().failed
    assert set(keys(due)) == {old, current(due)}


def _silence(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("nothing came", request=request)


@pytest.mark.parametrize("path", [REROLL, UPDATE])
def test_a_refusal_changes_nothing(due: Rules, path: str) -> None:
    old, before = current(due), keys(due)[current(due)]
    line = Line(due, path, refuse)
    outcome = run(due, line)
    assert [d.code for d in outcome.failed] == ["service-refused"]
    assert len(line.to(REROLL)) == (path == REROLL)
    assert {**keys(due)[old], "updatedAt": 0} == {**before, "updatedAt": 0}
    assert set(keys(due)) == {old}
    with due.world.open() as ws:
        assert ws.backend.journal.read() == b""
    assert works(due)


def test_a_service_that_keeps_no_label_is_not_asked_to_copy(due: Rules) -> None:
    def forget(line: Line, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"meta": {"requestId": "r"}, "data": {}})

    line = Line(due, UPDATE, forget)
    outcome = run(due, line)
    assert "does not show the label" in outcome.failed[0].summary
    assert line.to(REROLL) == []
    assert works(due)


def test_a_new_key_that_cannot_be_set_right_is_undone(due: Rules) -> None:
    old, refusals = current(due), []

    def third(line: Line, request: httpx.Request) -> httpx.Response | None:
        if json.loads(request.read())["keyId"] == old:
            return None
        refusals.append(1)
        return refuse(line, request)

    outcome = run(due, Line(due, UPDATE, third))
    assert (refusals, {"mint-undone"} < {d.code for d in outcome.failed}) == ([1], True)
    assert set(keys(due)) == {old}
    assert works(due)
    assert due.clock.now() - due.world.state().keys["keys.k"].current.created_at == timedelta(days=31)


def test_the_end_that_is_asked_for_is_rounded_up_and_lengthens_no_life_even_so(due: Rules) -> None:
    due.clock.move(seconds=20)
    old, before = current(due), keys(due)[current(due)]
    meanwhile = []

    def look(line: Line, request: httpx.Request) -> httpx.Response:
        answer = line.carry(request)
        meanwhile.append(keys(due)[old]["expires"])
        return answer

    assert not run(due, Line(due, REROLL, look)).failed
    (ends,) = meanwhile
    assert ends % 60_000 == 0
    assert 0 < before["expires"] - ends <= 180_000
    assert keys(due)[old]["expires"] == before["expires"]
    assert works(due)


def test_a_key_that_ends_within_the_hour_is_followed_by_a_created_one(due: Rules) -> None:
    due.clock.move(days=29, minutes=-59)
    line = Line(due)
    assert not run(due, line).failed
    assert (len(line.to(CREATE)), line.to(REROLL)) == (1, [])


@pytest.mark.parametrize("days", [1, 10, 100])
def test_what_somebody_makes_minutes_after_a_crash_is_theirs(due: Rules, days: int) -> None:
    """They ask for another end of the old key than keyform would have, which shows whose the one copy is."""
    old = current(due)
    cut_off(due, carried_out=False)
    due.clock.move(minutes=5)
    sent = {"keyId": old, "expiration": days * DAY_MS}
    stranger = due.vendor.call("POST", REROLL, sent).json()["data"]["keyId"]
    assert not due.world.apply().failed
    assert stranger in keys(due)
    assert set(keys(due)) == {old, stranger, current(due)}
    assert works(due)


def test_the_old_key_is_never_taken_for_its_copy_however_young_it_is(rules: Callable[..., Rules]) -> None:
    it = rules("unkey")
    it.apply(DECLARED)
    old = current(it)
    cut_off(it, Options(rotate=("keys.k",)), carried_out=False)
    assert works(it)
    assert not it.world.apply().failed
    assert set(keys(it)) == {old}
    assert works(it)
    generation = it.world.state().keys["keys.k"].current
    assert generation.number == 1
    assert keys(it)[old]["meta"][LABEL].endswith(f"/{generation.marker}")


def test_what_the_run_could_not_give_back_at_first_it_gives_back_as_it_undoes_the_copy(due: Rules) -> None:
    old, before = current(due), keys(due)[current(due)]
    seen: list[int] = []

    def second(line: Line, request: httpx.Request) -> httpx.Response | None:
        seen.append(1)
        return refuse(line, request) if len(seen) == 2 else None

    outcome = run(due, Line(due, UPDATE, second))
    assert {"mint-undone", "service-refused"} == {d.code for d in outcome.failed}
    assert {**keys(due)[old], "updatedAt": 0} == {**before, "updatedAt": 0}
    assert set(keys(due)) == {old}
    with due.world.open() as ws:
        assert ws.backend.journal.read() == b""


def test_credits_that_are_used_while_a_key_is_copied_are_not_missing_from_the_new_one(
    rules: Callable[..., Rules],
) -> None:
    it = rules("unkey")
    it.apply(key("name: a, credits: {remaining: 5}, rotation: {every: 30d, overlap: 2d}"))
    it.clock.move(days=30)
    old, secret = current(it), it.world.stored("keys.k")
    assert secret is not None

    def use(line: Line, request: httpx.Request) -> None:
        it.vendor.call("POST", "/v2/keys.verifyKey", {"key": secret.reveal()})

    assert not run(it, Line(it, REROLL, use)).failed
    assert [keys(it)[one]["credits"]["remaining"] for one in (old, current(it))] == [4, 5]
