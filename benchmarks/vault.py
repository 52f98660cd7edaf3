"""``python -m benchmarks.vault``: secrets into a real Vault, beside bare loops of the same requests."""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from benchmarks.__main__ import about
from benchmarks.bare_vault import ADDRESS, TOKEN
from benchmarks.keyform_world import THREADS, served, written_out
from benchmarks.process import PYTHON, Failed, Run, alternating, middle, run, script
from benchmarks.table import Row, seconds, table
from tests.servers.vault import ROOT, vault

_ROOT = Path(__file__).parent.parent
_STORES = "stores: {{kept: {{type: vault, prefix: {prefix}}}}}\ndefaults: {{store: kept}}\n"
_serial = itertools.count()


def main() -> int:
    """Exit code 0, or 1 if the server could not be had or a measurement could not be made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vault", description="keyform's vault store")
    parser.add_argument("--quick", action="store_true", help="few secrets, once: shows that it all works")
    options = parser.parse_args()
    count, rounds = (30, 1) if options.quick else (1_000, 5)
    try:
        with tempfile.TemporaryDirectory(prefix="keyform-benchmarks-") as work, vault(Path(work)) as server:
            env = {ADDRESS: server.url, TOKEN: ROOT, "VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT}
            rows = [*_store(count, rounds, env), _apply(Path(work), count, rounds, env)]
    except (Failed, subprocess.CalledProcessError, AssertionError, httpx.HTTPError) as failure:
        print(f"not measured: {failure}", file=sys.stderr)
        return 1
    print(about(options.quick) + "\n\n" + table(rows, "-", judging=not options.quick), end="")
    return 0


def _kept(count: int, library: str, env: Mapping[str, str]) -> Run:
    argv = [PYTHON, "-m", "benchmarks.bare_vault", str(count), str(THREADS), library]
    return run(argv, folder=_ROOT, env=env)


def _store(count: int, rounds: int, env: Mapping[str, str]) -> list[Row]:
    """The store alone: each secret written, labelled and read back."""
    keyform, by_hvac, by_httpx = alternating(
        rounds,
        lambda: _kept(count, "keyform", env),
        lambda: _kept(count, "hvac", env),
        lambda: _kept(count, "httpx", env),
    )
    ours = middle(keyform, "wall")
    return [
        _row(f"the store alone, {count:,} secrets", count, ours, middle(runs, "wall"), f"bare {library}")
        for library, runs in (("hvac", by_hvac), ("httpx", by_httpx))
    ]


def _apply(work: Path, count: int, rounds: int, env: Mapping[str, str]) -> Row:
    """Whole runs: each key minted, proven, kept in Vault, in a journal and in the state."""

    def keyform() -> Run:
        folder = work / f"keys-{next(_serial)}"
        written_out(folder, count)
        (folder / "stores.yaml").write_text(_STORES.format(prefix=f"apply/{folder.name}"))
        with served(work) as service:
            argv = [script("keyform"), "-C", str(folder), "apply", "--auto-approve"]
            done = run(argv, env={**env, **service.env, "NO_COLOR": "1"})
        if f"{count} created" not in done.output or list(folder.rglob("*.age")):
            raise Failed(f"an apply of {count} keys: {done.output[-500:]}")
        return done

    def bare() -> Run:
        with served(work) as service:
            argv = [PYTHON, "-m", "benchmarks.bare_client", str(count), str(THREADS), "vault"]
            return run(argv, folder=_ROOT, env={**env, **service.env})

    ours, theirs = alternating(rounds, keyform, bare)
    took = middle(ours, "wall")
    return _row(f"apply of {count:,} creates into Vault", count, took, middle(theirs, "wall"), "bare httpx")


def _row(what: str, count: int, ours: float, theirs: float, beside: str) -> Row:
    return Row(
        what,
        f"{count / ours:.0f}/s ({seconds(ours)})",
        f"{count / theirs:.0f}/s ({seconds(theirs)}) {beside}, {THREADS} threads",
        theirs / ours,
    )


if __name__ == "__main__":
    sys.exit(main())
