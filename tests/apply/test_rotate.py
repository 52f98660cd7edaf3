"""A rotation that somebody asks for, from the plan to the store."""

from __future__ import annotations

import itertools
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyform.engine.options import Options
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import PlanError, StoreError
from keyform.model import Secret
from tests.apply.outside import crash, declare, die, journal_is_empty, nth, refuse, requests, stores, warned
from tests.conftest import Figures
from tests.promises.matrix import Steps, in_child, wrapping
from tests.promises.matrix import die as kill
from tests.world import World, inspect

ASK = Options(rotate=("keys.a",), rotate_reason="drill")
NOW = Options(rotate=("keys.a",), rotate_now=True)
GATED = declare(
    "b", a="secret: a, protect: true, rotation: {every: 60d, overlap: 1d, revoke_when_unused_for: 2d}"
)


@pytest.fixture
def applied(world: World) -> World:
    world.write(GATED).apply()
    return world


def secret_of(world: World, address: str = "keys.a") -> Secret:
    secret = world.stored(address)
    assert secret is not None
    return secret


def use(world: World, secret: Secret) -> None:
    """Somebody uses the key."""
    with closing(world.service()) as service:
        key = next(iter(world.live().values()))
        service.prove(secret, key)


def test_the_old_one_lives_on_for_its_overlap_and_works(applied: World) -> None:
    old = secret_of(applied)
    outcome = applied.apply(ASK)
    assert (outcome.done, outcome.failed) == (1, ())
    record = applied.state().keys["keys.a"]
    assert [g.number for g in record.generations()] == [1, 2]
    assert record.deposed[0].replaced_at == applied.clock.now()
    live = applied.live()
    assert applied.works(old, live[record.deposed[0].id])
    assert applied.works(secret_of(applied), live[record.current.id])
    assert len(live) == 3
    assert applied.plan().changes == ()


def test_the_reason_is_in_the_plan_and_in_the_events(applied: World) -> None:
    plan = applied.apply(ASK).plan
    assert plan.changes[0].reason.startswith("asked for: drill; ")
    (start,) = (e for e in applied.told if e["type"] == "start" and e["action"] == "rotate")
    assert start["reason"] == plan.changes[0].reason


def test_now_leaves_one_key_alone_although_the_others_are_in_use(applied: World) -> None:
    first = secret_of(applied)
    applied.apply(ASK)
    second = secret_of(applied)
    for secret in (first, second):
        use(applied, secret)
    outcome = applied.apply(NOW)
    assert (outcome.done, outcome.failed) == (1, ())
    record = applied.state().keys["keys.a"]
    assert [g.number for g in record.generations()] == [3]
    assert set(applied.live()) == {record.current.id, applied.state().keys["keys.b"].current.id}
    assert not inspect(applied)
    assert applied.plan().changes == ()


def test_a_saved_plan_of_it_does_exactly_that(applied: World) -> None:
    plan = load_plan(dump_plan(applied.plan(NOW)), "p")
    assert applied.apply(plan=plan).done == 1
    assert [g.number for g in applied.state().keys["keys.a"].generations()] == [2]
    with pytest.raises(PlanError, match="stale"):
        applied.apply(plan=plan)


def test_one_that_could_not_be_revoked_now_is_revoked_by_the_next_apply_used_or_not(applied: World) -> None:
    old = secret_of(applied)
    refused = applied.apply(NOW, wrap=refuse("DELETE"))
    assert refused.failed
    use(applied, old)
    record = applied.state().keys["keys.a"]
    assert [g.revoke_now for g in record.generations()] == [True, False]
    (change,) = applied.plan().changes
    assert (change.action, "was to end at once" in change.reason) == ("revoke", True)
    assert not applied.apply().failed
    assert not inspect(applied)


@pytest.mark.parametrize("number", range(1, 4))
def test_killed_on_its_way_it_is_finished_by_the_next_apply(applied: World, number: int) -> None:
    """Before the first revocation, after it, and after the second."""
    applied.apply(ASK)
    for secret in (secret_of(applied),):
        use(applied, secret)
    plan = load_plan(dump_plan(applied.plan(NOW)), "p")
    kill = nth(number, die)

    def answer(request: Any, send: Any) -> Any:
        return kill(send, request) if request.method == "DELETE" else send(request)

    code = crash(applied, requests(answer), plan)
    assert code == (77 if number < 3 else 0)
    assert not applied.apply().failed
    assert [g.number for g in applied.state().keys["keys.a"].generations()] == [3]
    assert not inspect(applied)
    assert journal_is_empty(applied)


def killed_before_it_is_stored(world: World, options: Options = NOW) -> Secret:
    old = secret_of(world)
    use(world, old)
    put = stores(
        put=lambda put, place, secret, labels, *over: die() if labels else put(place, secret, labels)
    )
    assert in_child(lambda: world.apply(options, wrap=put)) == 77
    assert secret_of(world) == old
    return old


def test_killed_before_it_is_stored_it_is_done_again_by_the_next_apply_without_the_gate(
    applied: World,
) -> None:
    old = killed_before_it_is_stored(applied)
    told = " ".join(f"{d.summary} {d.detail}" for d in applied.plan().diagnostics)
    assert "Until then the old key of keys.a may work, in spite of --now." in told
    outcome = applied.apply()
    assert not outcome.failed
    assert "old-key-works" in warned(applied)
    assert "`rotate --now`, which was interrupted" in outcome.plan.changes[0].reason
    assert secret_of(applied) != old
    (generation,) = applied.state().keys["keys.a"].generations()
    assert not generation.revoke_now
    assert len(applied.live()) == 2
    assert not inspect(applied)
    assert applied.plan().changes == ()


def test_what_an_interrupted_one_for_now_asked_for_is_not_forgotten(applied: World) -> None:
    """Whether the next apply is about something else, is not approved, or is killed in its turn."""
    old = killed_before_it_is_stored(applied)
    assert not applied.apply(Options(targets=("keys.b",))).failed
    assert applied.apply(approve=lambda plan: False).declined
    assert killed_before_it_is_stored(applied, Options()) == old
    saved = load_plan(dump_plan(applied.plan()), "p")
    assert saved.diagnostics
    assert not applied.apply().failed
    assert len(applied.state().keys["keys.a"].generations()) == 1
    assert not inspect(applied)
    assert applied.plan().changes == ()


def test_asked_for_again_it_is_done_once(applied: World) -> None:
    killed_before_it_is_stored(applied)
    outcome = applied.apply(replace(NOW, rotate_reason="again"))
    assert (outcome.done, outcome.failed) == (1, ())
    assert "asked for: again" in outcome.plan.changes[0].reason
    assert applied.plan().changes == ()


def test_killed_without_now_nothing_is_left_to_do(applied: World) -> None:
    old = killed_before_it_is_stored(applied, ASK)
    assert not applied.apply().failed
    assert secret_of(applied) == old


def test_a_crash_at_any_point_of_one_for_now_leaves_no_old_key_once_the_new_one_is_stored(
    applied: World, tmp_path: Path, figures: Figures
) -> None:
    """Whoever leaked it: either nothing has happened, or every old generation is gone by the next apply."""
    applied.apply(ASK)
    use(applied, secret_of(applied))
    points, rotated = 0, 0
    for at in itertools.count(1):
        for after in (False, True):
            folder = shutil.copytree(applied.folder, tmp_path / f"copy-{at}-{after}", ignore=_copies)
            world = World(folder, applied.clock)
            steps = wrapping(Steps(at, after, kill))
            code = in_child(lambda world=world, steps=steps: world.apply(NOW, wrap=steps))
            if code == 0:
                figures("rotation for now, crash points", f"{points} points, {rotated} rotated")
                assert 0 < rotated < points
                return
            assert code == 77
            points += 1
            stored = secret_of(world)
            assert any(world.works(stored, key) for key in world.live().values()), "zero working keys"
            assert not world.apply().failed
            numbers = [g.number for g in world.state().keys["keys.a"].generations()]
            assert numbers == [1, 2] or len(numbers) == 1, (at, after)
            assert not inspect(world), (at, after)
            assert world.plan().changes == (), (at, after)
            rotated += len(numbers) == 1


def _copies(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("copy-")]


def test_a_store_that_fails_revokes_nothing(applied: World) -> None:
    old = secret_of(applied)
    outcome = applied.apply(NOW, wrap=stores(put=nth(1, fail)))
    assert outcome.failed
    assert secret_of(applied) == old
    assert not inspect(applied)


def fail(*_: Any, **__: Any) -> Any:
    raise StoreError("no", "The test says so.")
