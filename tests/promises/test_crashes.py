"""Promise 3: a crash at any point costs nothing that the next apply does not make good.

Every effect of a run is numbered: each HTTP request, each call of the store, the state and the journal.
For each of them a child process dies before it, and another one right after it (which, for a request,
is a lost answer). The next apply alone must then bring everything to what is declared.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.model import Place
from tests.conftest import Figures
from tests.promises.matrix import (
    SEVERAL,
    SHARE,
    BrokenFor,
    Matrix,
    SteppedTransport,
    Steps,
    StoreKind,
    die,
    in_child,
    run_and_forgive,
    what_is_wrong_after_the_next_apply,
)
from tests.world import World
from tests.write_only import write_only

PARTS = 4  # so that several workers share the matrix


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return Matrix(tmp_path)


@pytest.mark.share
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_before_or_after_any_effect_costs_nothing(
    matrix: Matrix, figures: Figures, part: int
) -> None:
    failures = matrix.every_point(part * SHARE, PARTS * SHARE)
    figures(f"crash matrix, part {part + 1} of {PARTS}", f"{matrix.points} points, {len(failures)} failures")
    assert failures == []


@pytest.mark.share
@pytest.mark.parametrize(
    ("unread", "counts"),
    [((), {}), (("second",), {}), (("local", "second"), {"update": 0, "rotate": 3})],
    ids=["two", "one unread", "unread"],
)
def test_a_crash_costs_nothing_where_keys_have_several_places(
    tmp_path: Path, figures: Figures, unread: tuple[str, ...], counts: dict[str, int]
) -> None:
    """In two stores; in one whose values can be read back and one where they cannot; and where none can, and
    so a secret is rotated into its new place."""
    scenario = replace(SEVERAL, summary={**SEVERAL.summary, **counts})
    matrix = Matrix(tmp_path, StoreKind(wrap=write_only(*unread)), scenario)
    failures = matrix.every_point(0, SHARE)
    what = f"crash matrix, two stores, {len(unread)} of them write-only"
    figures(what, f"{matrix.points} points, {len(failures)} failures")
    assert failures == []


@pytest.mark.share
def test_a_crash_while_creates_are_refused_costs_no_working_key(matrix: Matrix, figures: Figures) -> None:
    """A key that was renamed without `moved`, and lost its place to the new name, among others: as long as
    no create goes through, everything that worked still works, stored as it was."""
    steps = Steps()
    world = matrix.fresh()
    assert world.apply(wrap=refusing(matrix, steps)).failed
    failures = what_no_longer_works(world, "no crash")
    points = range(1, steps.count + 1, SHARE)
    for at in points:
        world = matrix.fresh()
        code = in_child(lambda: world.apply(wrap=refusing(matrix, Steps(at, True, die))))  # noqa: B023
        assert code == 77, f"the run did not reach effect {at}"
        when = f"creates refused, after effect {at}"
        failures += what_no_longer_works(world, when)
        assert world.apply(wrap=refusing(matrix, Steps())).failed
        failures += what_no_longer_works(world, f"{when}, and once more")
        failures += what_is_wrong_after_the_next_apply(world, when)
        shutil.rmtree(world.folder)
    figures("crashes while creates are refused", f"{len(points)} points, {len(failures)} failures")
    assert failures == []


def refusing(matrix: Matrix, steps: Steps) -> Wrapping:
    """Every create is refused; what else is done is counted."""

    def wrap(inner: httpx.BaseTransport) -> httpx.BaseTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            if (request.method, request.url.path) == ("POST", "/v1/keys"):
                return httpx.Response(422, json={"error": {"code": "no", "message": "not today"}})
            return inner.handle_request(request)

        return SteppedTransport(httpx.MockTransport(answer), steps)

    return replace(matrix.wrapping(steps), transport=wrap)


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


@pytest.mark.share
def test_a_second_crash_while_recovering_costs_nothing(matrix: Matrix, figures: Figures) -> None:
    effects = matrix.effects()
    chance = random.Random(20261120)
    failures = []
    runs = 60 // SHARE
    for _ in range(runs):
        first, second = chance.randint(1, effects), chance.randint(1, effects)
        after = chance.random() < 0.5
        world = matrix.fresh()
        in_child(lambda: world.apply(wrap=matrix.wrapping(Steps(first, after, die))))  # noqa: B023
        in_child(lambda: world.apply(wrap=matrix.wrapping(Steps(second, not after, die))))  # noqa: B023
        failures += what_is_wrong_after_the_next_apply(world, f"effects {first} and {second}, {after}")
        shutil.rmtree(world.folder)
    figures("double crashes", f"{runs} runs, {len(failures)} failures")
    assert failures == []


@pytest.mark.share
@pytest.mark.parametrize("after", [False, True], ids=["request lost", "answer lost"])
def test_a_connection_that_breaks_at_any_request_costs_nothing(
    matrix: Matrix, after: bool, figures: Figures
) -> None:
    """The process lives on here. Retries hide one break, so the connection stays broken for a while."""
    effects = matrix.effects()
    failures = []
    points = range(1, effects + 1, SHARE)
    for at in points:
        world = matrix.fresh()
        for length in (1, 20):
            broken = BrokenFor(at, length, after)
            run_and_forgive(world, Wrapping(transport=broken.wrap))
        failures += what_is_wrong_after_the_next_apply(world, f"request {at}, {after}")
        shutil.rmtree(world.folder)
    figures("broken connections", f"{2 * len(points)} runs, {len(failures)} failures")
    assert failures == []
