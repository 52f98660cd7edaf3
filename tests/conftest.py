from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyform.model import Secret
from tests.world import World

Figures = Callable[[str, str], None]

MINTED = re.compile(
    rb"\b(?:"
    rb"[psra]k_(?:live|test)_[0-9a-z]{8}_[A-Za-z0-9_-]{43}"  # keyform's contract, Millimetric
    rb"|rev_[msr]k_[a-z2-7]+_[0-9a-f]{48}"  # Revenium
    rb"|rk_(?:cart_[ps]k_)?(?:live|sandbox)_[0-9a-f]{48}"  # RevKeen
    rb"|clmtr_live_[0-9a-f]{48}"  # CLIMeter
    rb"|dtk_live_[0-9a-f]{64}"  # DevTune
    rb"|(?:[A-Za-z0-9-]{1,16}_)?[a-z2-7]{26}"  # Unkey; ids look the same, and are no secrets that a test held
    rb")(?![A-Za-z0-9_-])"
)
"""What the reference service's secrets look like, whichever service it stands in for."""

_seen: set[bytes] = set()
_printed: list[bytes] = []


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the age identity of whoever runs it, nor waits for their locks."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """``figures(what, how_many)`` shows a line in the summary of the test run."""
    return lambda what, text: record_property("figures", f"{what}: {text}")


def pytest_configure() -> None:
    """Promise 1 over the whole run: every secret that any test has in hand is remembered here. And no test
    waits for the disk."""
    original = Secret.__init__

    def remembering(self: Secret, text: str) -> None:
        original(self, text)
        _seen.update(MINTED.findall(text.encode(errors="surrogatepass")))

    Secret.__init__ = remembering  # type: ignore[method-assign]
    # Tests kill processes and never cut the power, so that waiting for the disk would prove nothing.
    os.fsync = lambda fd: None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _printed.extend(text.encode(errors="replace") for _, text in report.sections)
        if report.longrepr is not None:
            _printed.append(str(report.longrepr).encode(errors="replace"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search all that the run wrote and printed, the stores excepted, for every secret it minted."""
    if not _seen:
        return
    base: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    leaks = [f"printed by a test: {leak[:16].decode()}…" for text in _printed for leak in _found(text)]
    files = 0
    for file in base.rglob("*"):
        if file.is_symlink() or not file.is_file() or file.suffix == ".age":
            continue
        files += 1
        leaks += [f"{file}: {leak[:16].decode()}…" for leak in _found(file.read_bytes())]
    session.config.stash[_CANARY] = (len(_seen), files, leaks)
    worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["canary"] = [len(_seen), files, leaks]
    elif leaks:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_CANARY = pytest.StashKey[tuple[int, int, list[str]]]()


def _found(data: bytes) -> Iterator[bytes]:
    return (match for match in MINTED.findall(data) if match in _seen)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """With pytest-xdist: add up what the workers found."""
    secrets, files, leaks = getattr(node, "workeroutput", {}).get("canary", (0, 0, []))
    stash = node.config.stash
    had = stash.get(_CANARY, (0, 0, []))
    stash[_CANARY] = (had[0] + secrets, had[1] + files, had[2] + leaks)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "figures" and report.when == "call":
                    terminalreporter.write_line(text)
    secrets, files, leaks = config.stash.get(_CANARY, (0, 0, []))
    if secrets:
        terminalreporter.write_line(
            f"canary: {secrets} minted secrets searched for in {files} files and all output: "
            f"{len(leaks)} found"
        )
    for leak in leaks:
        terminalreporter.write_line(f"LEAK {leak}", red=True)
