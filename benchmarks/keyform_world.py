"""keyform's side: a configuration of written-out keys, and ``keyform serve`` in a process of its own."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Failed, Run, run, script

ENDPOINT, TOKEN = "KEYFORM_BENCH_ENDPOINT", "KEYFORM_BENCH_TOKEN"
THREADS = 10
"""What ``keyform apply`` uses unless told otherwise; the bare client is given as many."""

_HEAD = f"""\
version: 1
services:
  bench: {{type: embedded, endpoint: "${{env:{ENDPOINT}}}", credential: "${{env:{TOKEN}}}"}}
keys:
"""
_KEY = """\
  service-{i:05}:
    service: bench
    kind: secret
    environment: live
    name: Backend service {i:05}
    description: Writes events for team {team:02}
    scopes: [events:write, events:read]
    expires_in: 90d
    secret: team-{team:02}/service-{i:05}
    owner: team-{team:02}
    metadata: {{cost-centre: "{i:05}"}}
"""
_TEAMS = 50
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Service:
    """A served, empty key service, and the environment that tells a client of it."""

    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class World:
    """A folder with ``count`` declared keys, and the service that they are for."""

    folder: Path
    count: int
    env: dict[str, str]

    def apply(self) -> Run:
        """Mint every key. Raises ``Failed`` unless each one is created and its secret stored."""
        done = run([script("keyform"), "-C", str(self.folder), "apply", "--auto-approve"], env=self._env())
        stored = sum(1 for _ in (self.folder / ".keyform" / "secrets").rglob("*.age"))
        if f"{self.count} created" not in done.output or stored != self.count:
            raise Failed(f"apply of {self.count} keys stored {stored} secrets")
        return done

    def plan(self) -> Run:
        """Plan when all is applied. Raises ``Failed`` if anything is left to do."""
        done = run(
            [script("keyform"), "-C", str(self.folder), "plan", "--detailed-exitcode"], env=self._env()
        )
        if "No changes" not in done.output:
            raise Failed("a plan after an apply shows changes")
        return done

    def _env(self) -> dict[str, str]:
        identity = self.folder.parent / "identity"
        return {**self.env, "KEYFORM_AGE_IDENTITY": str(identity), "NO_COLOR": "1"}


def written_out(folder: Path, count: int) -> None:
    """Write a configuration of ``count`` keys, each with all of its fields."""
    folder.mkdir(parents=True)
    keys = (_KEY.format(i=i, team=i % _TEAMS) for i in range(count))
    (folder / "keyform.yaml").write_text(_HEAD + "".join(keys))


@contextmanager
def world(work: Path, count: int) -> Iterator[World]:
    """A new configuration beside a new service."""
    folder = work / f"keys-{count}-{next(_serial)}"
    written_out(folder, count)
    with served(work) as service:
        yield World(folder, count, service.env)


@contextmanager
def served(work: Path) -> Iterator[Service]:
    """``keyform serve`` on a port that the system chooses, over an empty data folder."""
    data = work / f"service-{next(_serial)}"
    process = subprocess.Popen(
        [script("keyform"), "serve", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        endpoint = process.stdout.readline().strip() if process.stdout else ""
        if not endpoint:
            raise Failed("keyform serve did not start")
        yield Service({ENDPOINT: endpoint, TOKEN: (data / "root-token").read_text().strip()})
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()
