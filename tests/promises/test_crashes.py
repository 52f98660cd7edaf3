"""Promise 3: a crash at any point costs nothing that the next apply does not make good.

Every effect of a run is numbered: each HTTP request, each call of the store, the state and the journal.
For each of them a child process dies before it, and another one right after it (which, for a request,
is a lost answer). The next apply alone must then bring everything to what is declared.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import KeyformError
from keyform.model import KeySpec, Place
from tests.conftest import Figures
from tests.world import MovedClock, World, inspect

BEFORE = """
version: 1
services: {sandbox: {type: embedded}}
projects: {web: {service: sandbox, allowed_origins: ["https://a.example"]}}
keys:
  updated: {service: sandbox, name: updated, scopes: [events:read], secret: updated}
  replaced: {service: sandbox, name: replaced, environment: live, secret: replaced}
  overlapped: {service: sandbox, name: overlapped, environment: live, secret: overlapped}
  revoked: {service: sandbox, name: revoked, secret: revoked}
  relocated: {service: sandbox, name: relocated, secret: old-place}
  renamed: {service: sandbox, name: renamed, secret: renamed}
  same-place: {service: sandbox, name: same-place, secret: shared-place}
"""

AFTER = """
version: 1
services: {sandbox: {type: embedded}}
projects: {web: {service: sandbox, allowed_origins: ["https://b.example"]}}
keys:
  created: {service: sandbox, name: created, secret: created}
  page: {service: sandbox, name: page, kind: public, project: web, secret: page}
  updated: {service: sandbox, name: updated, scopes: [events:read, reports:read], secret: updated}
  replaced: {service: sandbox, name: replaced, environment: test, secret: replaced}
  overlapped:
    {service: sandbox, name: overlapped, environment: test, secret: overlapped, rotation: {overlap: 1d}}
  relocated: {service: sandbox, name: relocated, secret: new-place}
  renamed-now: {service: sandbox, name: renamed, secret: renamed}
  successor: {service: sandbox, name: successor, secret: shared-place}
  imported: {service: sandbox, name: imported, description: adopted, secret: imported}
imports: [{key: imported, id: IMPORTED}]
moved: [{from: renamed, to: renamed-now}]
"""

PARTS = 4  # so that several workers share the matrix

UNMANAGED = frozenset({"somebody else's"})


class Steps:
    """Counts effects; does ``act`` before or after the one numbered ``at``."""

    def __init__(self, at: int = 0, after: bool = False, act: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._at, self._after, self._act = at, after, act

    def take(self, effect: Callable[[], Any]) -> Any:
        self.count += 1
        mine = self.count == self._at
        if mine and not self._after:
            self._act()
        result = effect()
        if mine and self._after:
            self._act()
        return result


class SteppedTransport(httpx.BaseTransport):
    def __init__(self, inner: httpx.BaseTransport, steps: Steps) -> None:
        self._inner, self._steps = inner, steps

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = self._steps.take(lambda: self._inner.handle_request(request))
        return answer

    def close(self) -> None:
        self._inner.close()


class Stepped:
    """Any port: each call of one of its named methods is an effect."""

    def __init__(self, inner: Any, steps: Steps, effects: tuple[str, ...]) -> None:
        self._inner, self._steps, self._effects = inner, steps, effects

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name == "journal":
            return Stepped(value, self._steps, ("append", "clear"))
        if name not in self._effects:
            return value
        return lambda *args, **kwargs: self._steps.take(lambda: value(*args, **kwargs))


def wrapping(steps: Steps) -> Wrapping:
    return Wrapping(
        transport=lambda inner: SteppedTransport(inner, steps),
        store=lambda inner: Stepped(inner, steps, ("probe", "put", "delete")),
        backend=lambda inner: Stepped(inner, steps, ("write", "lock", "unlock")),
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where BEFORE is applied, with a key to import and one that is nobody's business."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.getbasetemp() / "config")
    world = World(tmp_path_factory.mktemp("prepared")).write(BEFORE)
    assert not world.apply().failed
    service = world.service()
    spec = KeySpec(kind="secret", environment="live", scopes=("events:write",))
    imported = service.create(replace(spec, name="imported"), "other/1").key
    service.create(replace(spec, name="somebody else's"), "other/2")
    service.close()
    world.write(AFTER.replace("IMPORTED", imported.id))
    return world.folder


def copy_of(prepared: Path, folder: Path) -> World:
    shutil.copytree(prepared, folder, symlinks=True)
    return World(folder, MovedClock())


def effects_of_a_run(prepared: Path, folder: Path) -> int:
    steps = Steps()
    world = copy_of(prepared, folder)
    outcome = world.apply(wrap=wrapping(steps))
    assert not outcome.failed
    assert outcome.plan.summary | {"unchanged": 0} == {
        "create": 3, "update": 3, "replace": 2, "rotate": 0, "revoke": 2, "import": 1, "move": 1,
        "forget": 0, "refresh": 0, "drift": 0, "unchanged": 0,
    }  # fmt: skip
    assert not inspect(world, UNMANAGED)
    return steps.count


def in_child(run: Callable[[], Any]) -> int:
    """Run in a forked process; its exit code. 77 says that it died where it was told to."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run()
            code = 0
        except Exception:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    os._exit(77)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_before_or_after_any_effect_costs_nothing(
    prepared: Path, tmp_path: Path, figures: Figures, part: int
) -> None:
    effects = effects_of_a_run(prepared, tmp_path / "counted")
    failures = []
    points = [(at, after) for at in range(1, effects + 1) for after in (False, True)][part::PARTS]
    for at, after in points:
        world = copy_of(prepared, tmp_path / f"{at}-{after}")
        code = in_child(lambda: world.apply(wrap=wrapping(Steps(at, after, die))))  # noqa: B023
        assert code == 77, f"the run did not reach effect {at}"
        when = f"effect {at}, {'after' if after else 'before'}"
        failures += without_a_working_key(world, when)
        failures += what_is_wrong_after_the_next_apply(world, when)
        shutil.rmtree(world.folder)
    figures(f"crash matrix, part {part + 1} of {PARTS}", f"{len(points)} points, {len(failures)} failures")
    assert failures == []


def test_a_crash_while_creates_are_refused_costs_no_working_key(
    prepared: Path, tmp_path: Path, figures: Figures
) -> None:
    """A key that was renamed without `moved`, and lost its place to the new name, among others: as long as
    no create goes through, everything that worked still works, stored as it was."""
    steps = Steps()
    world = copy_of(prepared, tmp_path / "counted")
    assert world.apply(wrap=refusing(steps)).failed
    failures = what_no_longer_works(world, "no crash")
    points = range(1, steps.count + 1)
    for at in points:
        world = copy_of(prepared, tmp_path / f"{at}")
        code = in_child(lambda: world.apply(wrap=refusing(Steps(at, True, die))))  # noqa: B023
        assert code == 77, f"the run did not reach effect {at}"
        when = f"creates refused, after effect {at}"
        failures += what_no_longer_works(world, when)
        assert world.apply(wrap=refusing(Steps())).failed
        failures += what_no_longer_works(world, f"{when}, and once more")
        failures += what_is_wrong_after_the_next_apply(world, when)
        shutil.rmtree(world.folder)
    figures("crashes while creates are refused", f"{len(points)} points, {len(failures)} failures")
    assert failures == []


def refusing(steps: Steps) -> Wrapping:
    """Every create is refused; what else is done is counted."""

    def wrap(inner: httpx.BaseTransport) -> httpx.BaseTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            if (request.method, request.url.path) == ("POST", "/v1/keys"):
                return httpx.Response(422, json={"error": {"code": "no", "message": "not today"}})
            return inner.handle_request(request)

        return SteppedTransport(httpx.MockTransport(answer), steps)

    return replace(wrapping(steps), transport=wrap)


def what_no_longer_works(world: World, when: str) -> list[str]:
    """Of the keys that were there before and that a create was to replace, or may have been to."""
    live = {key.spec.name: key for key in world.live().values()}
    out = [
        f"{when}: no live key: {name}" for name in ("replaced", "overlapped", "revoked") if name not in live
    ]
    with world.open(Wrapping()) as ws:
        value = ws.store("local").get(Place("local", "shared-place"))
    holder = live.get("same-place")
    if value is None or holder is None or not world.works(value, holder):
        out.append(f"{when}: what is stored at shared-place does not work")
    return out


def test_a_second_crash_while_recovering_costs_nothing(
    prepared: Path, tmp_path: Path, figures: Figures
) -> None:
    effects = effects_of_a_run(prepared, tmp_path / "counted")
    chance = random.Random(20261120)
    failures = []
    runs = 60
    for number in range(runs):
        first, second = chance.randint(1, effects), chance.randint(1, effects)
        after = chance.random() < 0.5
        world = copy_of(prepared, tmp_path / f"{number}")
        in_child(lambda: world.apply(wrap=wrapping(Steps(first, after, die))))  # noqa: B023
        in_child(lambda: world.apply(wrap=wrapping(Steps(second, not after, die))))  # noqa: B023
        failures += what_is_wrong_after_the_next_apply(world, f"effects {first} and {second}, {after}")
        shutil.rmtree(world.folder)
    figures("double crashes", f"{runs} runs, {len(failures)} failures")
    assert failures == []


@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
def test_a_connection_that_breaks_at_any_request_costs_nothing(
    prepared: Path, tmp_path: Path, after: bool, figures: Figures
) -> None:
    """The process lives on here. Retries hide one break, so the connection stays broken for a while."""
    effects = effects_of_a_run(prepared, tmp_path / "counted")
    failures = []
    for at in range(1, effects + 1):
        world = copy_of(prepared, tmp_path / f"{at}")
        for length in (1, 20):
            broken = BrokenFor(at, length, after)
            run_and_forgive(world, Wrapping(transport=broken.wrap))
        failures += what_is_wrong_after_the_next_apply(world, f"request {at}, {after}")
        shutil.rmtree(world.folder)
    figures("broken connections", f"{2 * effects} runs, {len(failures)} failures")
    assert failures == []


class BrokenFor:
    """Requests ``at`` to ``at + length`` break: before they are carried out, or after."""

    def __init__(self, at: int, length: int, after: bool) -> None:
        self._at, self._length, self._after = at, length, after
        self._count = 0

    def wrap(self, inner: httpx.BaseTransport) -> httpx.BaseTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            self._count += 1
            broken = self._at <= self._count < self._at + self._length
            if broken and not self._after:
                raise httpx.ConnectError("broken by the test", request=request)
            answer = inner.handle_request(request)
            answer.read()
            if broken:
                raise httpx.ReadError("broken by the test", request=request)
            return answer

        return httpx.MockTransport(handle)


def run_and_forgive(world: World, wrap: Wrapping) -> None:
    with suppress(KeyformError):
        world.apply(wrap=wrap)


def without_a_working_key(world: World, when: str) -> list[str]:
    """Promise 4, in the middle of it all: what is replaced has a live key at every instant."""
    names = [key.spec.name for key in world.live().values()]
    return [f"{when}: no live key: {n}" for n in ("replaced", "overlapped", "updated") if n not in names]


def what_is_wrong_after_the_next_apply(world: World, when: str) -> list[str]:
    outcome = world.apply()
    problems = [d.summary for d in outcome.failed]
    found = inspect(world, UNMANAGED)
    problems += [*found.stray, *found.lost, *found.doubled, *found.other]
    plan = world.plan()
    problems += [f"not at rest: {c.address} {c.action} {c.reason}" for c in plan.changes]
    return [f"{when}: {problem}" for problem in problems]
