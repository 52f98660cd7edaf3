"""The crash matrix: every effect of a run, numbered, and a process that dies before or after each of them.

It runs over any store. A store with a server of its own runs it like this, in an integration test::

    def test_a_crash_over_it_costs_nothing(tmp_path: Path, figures: Figures, server: Server) -> None:
        kind = StoreKind(
            declared=f'{{type: vault, address: "{server.url}", mount: kv}}',
            entries=lambda prefix: {Place("local", path, "value") for path in server.paths(prefix)},
        )
        matrix = Matrix(tmp_path, kind)
        failures = matrix.every_point()
        figures("crash matrix over Vault", f"{matrix.points} points, {len(failures)} failures")
        assert failures == []

Every point starts from a world of its own, whose secrets are below a path of its own, ``prefix``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from keyform.apply import Workspace, Wrapping
from keyform.engine.plan import MOVES, NARROWS, WIDENS
from keyform.errors import KeyformError
from keyform.model import KeySpec, Place
from keyform.ports import Store
from tests.world import MovedClock, World, inspect

SHARE = int(os.environ.get("KEYFORM_CRASH_SHARE", "5"))
"""One point in so many is tried where all of them would take too long for tests that people run all day. CI
sets it to 1."""

UNMANAGED = frozenset({"somebody else's"})


@dataclass(frozen=True)
class Scenario:
    """A configuration that is applied, and the edit whose apply dies at each of its effects. ``@`` stands
    for the prefix of the world's paths; ``imported`` says that there is a key to import, with the id
    IMPORTED. ``replaced`` are names of keys that must be alive at every instant, ``spoilt`` places of the
    store ``second`` whose values somebody deletes in between."""

    before: str
    after: str
    summary: dict[str, int]
    replaced: tuple[str, ...]
    imported: bool = True
    spoilt: tuple[Place, ...] = ()


CLASSIC = Scenario(
    """
keys:
  updated: {service: sandbox, name: updated, scopes: [events:read], secret: "@updated"}
  replaced: {service: sandbox, name: replaced, environment: live, secret: "@replaced"}
  overlapped: {service: sandbox, name: overlapped, environment: live, secret: "@overlapped"}
  revoked: {service: sandbox, name: revoked, secret: "@revoked"}
  relocated: {service: sandbox, name: relocated, secret: "@old-place"}
  renamed: {service: sandbox, name: renamed, secret: "@renamed"}
  same-place: {service: sandbox, name: same-place, secret: "@shared-place"}
projects: {web: {service: sandbox, allowed_origins: ["https://a.example"]}}
""",
    """
projects: {web: {service: sandbox, allowed_origins: ["https://b.example"]}}
keys:
  created: {service: sandbox, name: created, secret: "@created"}
  page: {service: sandbox, name: page, kind: public, project: web, secret: "@page"}
  updated: {service: sandbox, name: updated, scopes: [events:read, reports:read], secret: "@updated"}
  replaced: {service: sandbox, name: replaced, environment: test, secret: "@replaced"}
  overlapped:
    {service: sandbox, name: overlapped, environment: test, secret: "@overlapped", rotation: {overlap: 1d}}
  relocated: {service: sandbox, name: relocated, secret: "@new-place"}
  renamed-now: {service: sandbox, name: renamed, secret: "@renamed"}
  successor: {service: sandbox, name: successor, secret: "@shared-place"}
  imported: {service: sandbox, name: imported, description: adopted, secret: "@imported"}
imports: [{key: imported, id: IMPORTED}]
moved: [{from: renamed, to: renamed-now}]
""",
    {"create": 3, "update": 3, "replace": 2, "revoke": 2, "import": 1, "move": 1},
    ("replaced", "overlapped", "updated"),
)

SEVERAL = Scenario(
    """
keys:
  replaced:
    {service: sandbox, name: replaced, environment: live, secret: ["@one", {store: second, path: two}]}
  narrowed: {service: sandbox, name: narrowed, secret: ["@three", {store: second, path: four}]}
  alone: {service: sandbox, name: alone, environment: live, secret: {store: second, path: five}}
  mended: {service: sandbox, name: mended, secret: ["@nine", {store: second, path: ten}]}
  lost: {service: sandbox, name: lost, secret: {store: second, path: eleven}}
""",
    """
keys:
  created: {service: sandbox, name: created, secret: [{store: second, path: six}, "@seven"]}
  replaced:
    {service: sandbox, name: replaced, environment: test, secret: ["@one", {store: second, path: two}]}
  narrowed: {service: sandbox, name: narrowed, secret: ["@three", "@eight"]}
  alone: {service: sandbox, name: alone, environment: test, secret: {store: second, path: five}}
  mended: {service: sandbox, name: mended, secret: ["@nine", {store: second, path: ten}]}
  lost: {service: sandbox, name: lost, secret: {store: second, path: eleven}}
""",
    {"create": 1, "update": 2, "replace": 2, "rotate": 1, "drift": 2},
    ("replaced", "narrowed", "alone", "mended", "lost"),
    imported=False,
    spoilt=(Place("second", "ten"), Place("second", "eleven")),
)
"""Keys in two stores; ``second`` is always an age store, wrapped or not."""


@dataclass(frozen=True)
class StoreKind:
    """What the matrix runs over: ``declared`` is the store ``local`` as the YAML has it, ``entries`` tells
    all places under a prefix that hold something (None: the age files of the world's folder). ``wrap`` is
    put around the stores of the runs, and not of the inspection after them."""

    declared: str = "{type: age}"
    entries: Callable[[str], set[Place]] | None = None
    wrap: Callable[[Store], Store] = lambda store: store


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


def wrapping(steps: Steps, wrap: Callable[[Store], Store] = lambda store: store) -> Wrapping:
    """Every effect counted; ``wrap`` is around the stores."""
    return Wrapping(
        transport=lambda inner: SteppedTransport(inner, steps),
        store=lambda inner: Stepped(wrap(inner), steps, ("probe", "put", "delete")),
        backend=lambda inner: Stepped(inner, steps, ("write", "lock", "unlock")),
    )


class MatrixWorld(World):
    """A world whose stores are of some kind."""

    kind: StoreKind
    prefix: str

    def entries(self, ws: Workspace) -> set[Place]:
        found = super().entries(ws)
        return found if self.kind.entries is None else found | self.kind.entries(self.prefix)


class Matrix:
    """The points of one scenario over one kind of store. ``folder`` is an empty one for the worlds."""

    def __init__(self, folder: Path, kind: StoreKind = StoreKind(), scenario: Scenario = CLASSIC) -> None:
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
        self._folder, self._kind, self._scenario = folder, kind, scenario
        self._made = 0
        self._prepared: Path | None = None
        self.points = 0

    def fresh(self) -> MatrixWorld:
        """A world where the configuration of before is applied and the one of after waits, with a key to
        import and one that is nobody's business."""
        self._made += 1
        name = f"w{self._made}-{os.getpid()}"
        if self._kind.entries is not None:
            return self._prepare(name, f"{name}/")
        # Age files are in the folder, so a copy of it is a world of its own.
        if self._prepared is None:
            self._prepared = self._prepare("prepared", "").folder
        return self._world(shutil.copytree(self._prepared, self._folder / name, symlinks=True), "")

    def _world(self, folder: Path, prefix: str) -> MatrixWorld:
        world = MatrixWorld(folder, MovedClock(), Wrapping(store=self._kind.wrap))
        world.kind, world.prefix = self._kind, prefix
        return world

    def _prepare(self, name: str, prefix: str) -> MatrixWorld:
        (self._folder / name).mkdir()
        world = self._world(self._folder / name, prefix)
        world.write(self._text(self._scenario.before, prefix))
        assert not world.apply().failed
        service = world.service()
        spec = KeySpec(kind="secret", environment="live", scopes=("events:write",))
        after = self._scenario.after
        if self._scenario.imported:
            imported = service.create(replace(spec, name="imported"), "other/1").key
            after = after.replace("IMPORTED", imported.id)
        service.create(replace(spec, name="somebody else's"), "other/2")
        service.close()
        with world.open(Wrapping()) as ws:
            for place in self._scenario.spoilt:
                ws.store(place.store).delete(place)
        world.write(self._text(after, prefix))
        return world

    def _text(self, keys: str, prefix: str) -> str:
        stores = f"{{local: {self._kind.declared}, second: {{type: age, path: .keyform/second}}}}"
        return (
            f"version: 1\nservices: {{sandbox: {{type: embedded}}}}\nstores: {stores}\n"
            "defaults: {store: local}\n" + keys.replace("@", prefix)
        )

    def wrapping(self, steps: Steps) -> Wrapping:
        """Every effect counted."""
        return wrapping(steps, self._kind.wrap)

    def effects(self) -> int:
        """How many there are in a run that comes through."""
        steps = Steps()
        world = self.fresh()
        outcome = world.apply(wrap=self.wrapping(steps))
        assert not outcome.failed
        other = {"unchanged", "origins_lost", WIDENS, NARROWS, MOVES}  # the rest counts actions
        counts = {name: count for name, count in outcome.plan.summary.items() if name not in other}
        assert counts == {**dict.fromkeys(counts, 0), **self._scenario.summary}
        assert not inspect(world, UNMANAGED)
        return steps.count

    def every_point(self, part: int = 0, parts: int = 1) -> list[str]:
        """What went wrong after a crash at each point; or at each of one part of them."""
        points = [(at, after) for at in range(1, self.effects() + 1) for after in (False, True)][part::parts]
        self.points += len(points)
        return [failure for at, after in points for failure in self._point(at, after)]

    def _point(self, at: int, after: bool) -> Iterator[str]:
        world = self.fresh()
        code = in_child(lambda: world.apply(wrap=self.wrapping(Steps(at, after, die))))
        assert code == 77, f"the run did not reach effect {at}"
        when = f"effect {at}, {'after' if after else 'before'}"
        names = [key.spec.name for key in world.live().values()]
        yield from (f"{when}: no live key: {n}" for n in self._scenario.replaced if n not in names)
        yield from what_is_wrong_after_the_next_apply(world, when)
        shutil.rmtree(world.folder)


def what_is_wrong_after_the_next_apply(
    world: World, when: str, unmanaged: frozenset[str] = UNMANAGED
) -> list[str]:
    """The promises that do not hold then, in words."""
    outcome = world.apply()
    problems = [d.summary for d in outcome.failed]
    found = inspect(world, unmanaged)
    problems += [*found.stray, *found.lost, *found.doubled, *found.other]
    plan = world.plan()
    problems += [f"not at rest: {c.address} {c.action} {c.reason}" for c in plan.changes]
    return [f"{when}: {problem}" for problem in problems]


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
