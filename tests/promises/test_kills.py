"""Promise 3 with real processes: ``kill -9`` at random moments of a 200-key apply against a served service.

``KEYFORM_KILLS`` says how many kills (the default run takes a few, CI takes 100 and more).
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from keyform.clock import SystemClock
from keyform.engine.options import Options
from tests.conftest import Figures
from tests.world import World, inspect

KEYS = 200
KILLS = int(os.environ.get("KEYFORM_KILLS", "4"))
SEED = int(os.environ.get("KEYFORM_SEED", "20261120"))


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """A key service of its own, over a real socket."""
    data = tmp_path / "service"
    child = subprocess.Popen(
        [sys.executable, "-m", "keyform", "serve", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    yield child.stdout.readline().strip()
    child.send_signal(signal.SIGTERM)
    child.communicate()


VARIANTS = (
    ("live", "events:write", KEYS),
    ("live", "events:read", KEYS),
    ("test", "events:read", KEYS),
    ("test", "events:read", KEYS // 2),
)
"""What the folder declares, in turn: environment, scope, number of keys. From one to the next keys are
created, updated, replaced and revoked."""


def configuration(endpoint: str, environment: str, scope: str, count: int) -> str:
    keys = "".join(
        f"  key-{n:03}: {{service: sandbox, name: key-{n:03}, environment: {environment}, "
        f"scopes: [{scope}], secret: {n % 7}/{n}}}\n"
        for n in range(count)
    )
    return (
        f'version: 1\nservices:\n  sandbox: {{type: embedded, endpoint: "{endpoint}", '
        f'credential: "${{env:SANDBOX_TOKEN}}"}}\nkeys:\n{keys}'
    )


@pytest.mark.share
@pytest.mark.timeout(1800)  # 100 kills take some minutes
def test_kill_9_at_a_random_moment_costs_nothing(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    monkeypatch.setenv("SANDBOX_TOKEN", (tmp_path / "service" / "root-token").read_text().strip())
    folder = tmp_path / "project"
    folder.mkdir()
    world = World(folder, clock=SystemClock())
    chance = random.Random(SEED)
    kills, survived, failures = 0, 0, []
    longest = 1.0
    for run in itertools.count():
        world.write(configuration(endpoint, *VARIANTS[run % len(VARIANTS)]))
        delay = chance.uniform(0, longest)
        took = killed_apply(folder, delay)
        if took is None:
            kills += 1
        else:
            survived += 1
            longest = max(0.1, 0.5 * longest + 0.5 * took)
        outcome = world.apply(Options(allow_mass_change=True), parallelism=8)
        found = inspect(world)
        problems = [d.summary for d in outcome.failed]
        problems += [*found.stray, *found.lost, *found.doubled, *found.other]
        problems += [f"not at rest: {change.address}" for change in world.plan().changes]
        failures += [f"run {run}, killed after {delay:.3f} s: {problem}" for problem in problems]
        if kills >= KILLS:
            break
    figures(
        "kill -9",
        f"{kills} kills in the middle of a {KEYS}-key apply (seed {SEED}; {survived} runs ended before "
        f"theirs), {len(failures)} failures",
    )
    assert failures == []


def killed_apply(folder: Path, delay: float) -> float | None:
    """Apply in a process of its own, killed ``delay`` seconds after its journal is written. None, or how
    long that took where it ended by itself before."""
    command = [sys.executable, "-m", "keyform", "-C", str(folder)]
    command += ["apply", "--auto-approve", "--allow-mass-change", "--parallelism", "8"]
    journal = folder / ".keyform" / "state.json.journal"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not (journal.exists() and journal.stat().st_size):
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.002)
        begun = time.monotonic()
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
            return None
        assert child.returncode == 0, child.stderr and child.stderr.read()
        return time.monotonic() - begun
