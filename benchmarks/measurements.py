"""The measurements, each of which gives rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.keyform_world import THREADS, world
from benchmarks.process import PYTHON, Failed, Run, alternating, middle, run, script
from benchmarks.rivals import OctoDns, Terraform, bare_creates
from benchmarks.table import NONE, Row, seconds

GROWTH = 11.0
"""The most that ten times the keys may cost, in times."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """``few`` and ten times as many keys, and how often each thing is measured."""

    few: int = 1_000
    plans: int = 5
    applies: int = 3
    starts: int = 15

    @property
    def many(self) -> int:
        return 10 * self.few


QUICK = Sizes(few=30, plans=1, applies=1, starts=3)


@dataclass(frozen=True, slots=True)
class Series:
    """What keyform took for one number of keys."""

    applies: list[Run]
    plans: list[Run]

    def apply(self, of: str) -> float:
        return middle(self.applies, of)

    def plan(self, of: str) -> float:
        return middle(self.plans, of)


def measurements(work: Path, sizes: Sizes) -> Iterator[Callable[[], list[Row]]]:
    """The measurements in order. Those that compare sizes build on the ones before them."""
    found: dict[int, Series] = {}

    def few() -> list[Row]:
        found[1] = _keyform_alone(work, 1, sizes)
        found[sizes.few], rows = _few(work, sizes)
        return rows

    def many() -> list[Row]:
        found[sizes.many], rows = _many(work, sizes)
        return rows

    def growth() -> list[Row]:
        if len(found) < 3:
            raise Failed("growth: the runs that it compares failed")
        return _growth(found[1], found[sizes.few], found[sizes.many], sizes)

    yield lambda: _start(sizes)
    yield few
    yield many
    yield growth


def _start(sizes: Sizes) -> list[Row]:
    keyform, bare = alternating(
        sizes.starts, lambda: run([script("keyform"), "--version"]), lambda: run([PYTHON, "-c", "pass"])
    )
    ours, theirs = middle(keyform, "wall"), middle(bare, "wall")
    row = Row(
        "keyform --version, wall",
        seconds(ours),
        f"{seconds(theirs)} python -c pass",
        (ours - theirs) * 1000,
        "ms",
        80,
    )
    return [row]


def _applied(work: Path, count: int, plans: int) -> tuple[Run, list[Run]]:
    """A new world, applied and then planned ``plans`` times."""
    with world(work, count) as made:
        applied = made.apply()
        return applied, [made.plan() for _ in range(plans)]


def _keyform_alone(work: Path, count: int, sizes: Sizes) -> Series:
    applies, plans = [], []
    for _ in range(sizes.applies):
        applied, planned = _applied(work, count, max(1, sizes.plans // 2))
        applies.append(applied)
        plans += planned
    return Series(applies, plans)


def _few(work: Path, sizes: Sizes) -> tuple[Series, list[Row]]:
    count = sizes.few
    plans: list[Run] = []

    def keyform() -> Run:
        applied, planned = _applied(work, count, max(1, sizes.plans // 2))
        plans.extend(planned)
        return applied

    applies, bare, storing = alternating(
        sizes.applies,
        keyform,
        lambda: bare_creates(work, count, stores=False),
        lambda: bare_creates(work, count, stores=True),
    )
    series = Series(applies, plans)
    ours, theirs, stored = series.apply("wall"), middle(bare, "wall"), middle(storing, "wall")
    beside_apply = beside_plan = NONE
    if Terraform.found() is not None:
        terraform = Terraform(work, count)
        took, planned = terraform.apply().wall, terraform.plan().wall
        beside_apply = f"{seconds(took)}, {took / ours:.2f}x keyform's"
        beside_plan = f"{seconds(planned)}, {planned / series.plan('wall'):.2f}x keyform's"
    rows = [
        Row(
            f"apply of {count:,} creates, throughput",
            f"{count / ours:.0f}/s ({seconds(ours)})",
            f"{count / theirs:.0f}/s bare httpx, {THREADS} threads",
            theirs / ours,
            limit=0.5,
            at_least=True,
            terraform=beside_apply,
        ),
        Row(
            "the same, stores counted on both sides",
            f"{count / ours:.0f}/s ({seconds(ours)})",
            f"{count / stored:.0f}/s bare httpx and age",
            stored / ours,
        ),
        Row(
            "what the stores cost, each key",
            f"{(stored - theirs) / count * 1000:.2f} ms of {ours / count * 1000:.2f} ms",
            f"{theirs / count * 1000:.2f} ms bare httpx",
            (stored - theirs) / ours,
        ),
        Row(
            f"no-op plan of {count:,} keys, wall",
            seconds(series.plan("wall")),
            f"{seconds(ours)} its apply",
            series.plan("wall") / ours,
            terraform=beside_plan,
        ),
    ]
    return series, rows


def _many(work: Path, sizes: Sizes) -> tuple[Series, list[Row]]:
    count = sizes.many
    octodns = OctoDns(work, count)
    applies = [_applied(work, count, 0)[0] for _ in range(sizes.applies - 1)]
    with world(work, count) as made:
        applies.append(made.apply())
        plans, theirs = alternating(sizes.plans, made.plan, octodns.plan)
    series = Series(applies, plans)
    ours, other = series.plan("cpu"), middle(theirs, "cpu")
    rows = [
        Row(
            f"no-op plan of {count:,} keys, client CPU",
            seconds(ours),
            f"{seconds(other)} {octodns.title}, {count:,} records",
            ours / other,
            limit=1.0,
        ),
        _memory(f"peak memory, plan of {count:,}", plans, theirs, octodns.title),
        _memory(f"peak memory, apply of {count:,}", applies),
    ]
    return series, rows


def _memory(what: str, ours: list[Run], theirs: list[Run] | None = None, title: str = "") -> Row:
    peak = max(one.peak_mb for one in ours)
    beside = f"{middle(theirs, 'peak_mb'):.0f} MB {title}" if theirs else NONE
    return Row(what, f"{peak:.0f} MB", beside, peak, "MB", 250)


def _growth(one: Series, few: Series, many: Series, sizes: Sizes) -> list[Row]:
    span = f"{sizes.many:,} keys beside {sizes.few:,}"
    rows = []
    for verb, of, start, less, more in (
        ("apply", "wall", one.apply("wall"), few.apply("wall"), many.apply("wall")),
        ("plan", "cpu", one.plan("cpu"), few.plan("cpu"), many.plan("cpu")),
    ):
        rows += [
            Row(
                f"{verb}, {of}: {span}",
                seconds(more),
                f"{seconds(less)} itself",
                more / less,
                limit=GROWTH,
            ),
            Row(
                f"{verb}, {of}: the same without start-up",
                seconds(more - start),
                f"{seconds(less - start)} ({seconds(start)} is a run of 1 key)",
                (more - start) / (less - start),
                limit=GROWTH,
            ),
        ]
    return rows
