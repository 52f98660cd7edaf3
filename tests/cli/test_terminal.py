"""On a terminal: the question, the bar, Ctrl-C. A pseudo-terminal stands in for the real one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.cli.forked import Forked

PATIENCE = 60.0

MANY = """\
version: 1
services: {{served: {{type: embedded, endpoint: "{endpoint}", credential: "${{env:KEYFORM_TEST_TOKEN}}"}}}}
keys:
  many:
    for_each: [{names}]
    service: served
    kind: read
    secret: "many/${{each.key}}"
"""


class Terminal:
    """A keyform process on a pseudo-terminal, and what it has shown."""

    def __init__(self, argv: list[str], env: dict[str, str], columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, columns))
        self.process = Forked(argv, (slave, slave, slave), {"TERM": "xterm-256color", **env})
        os.close(slave)
        self.shown = ""

    def until(self, wanted: str) -> str:
        """Read until ``wanted`` (a regular expression) has been shown."""
        ends = time.monotonic() + PATIENCE
        while not re.search(wanted, self.shown):
            assert self._read(ends), f"{wanted!r} was not shown:\n{self.shown}"
        return self.shown

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        ends = time.monotonic() + PATIENCE
        while self._read(ends):
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing running."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, ends: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, ends - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.shown += data.decode("utf-8", "replace")
        return bool(data)


Start = Callable[..., Terminal]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start ``keyform -C folder ARGV`` on a terminal."""
    opened: list[Terminal] = []

    def begin(*argv: str, **env: str) -> Terminal:
        opened.append(Terminal(["-C", str(folder), *argv], env))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()


@dataclass(frozen=True)
class Slow:
    """A key service that takes a second for each create until it is told to hurry; what its users need in
    their environment."""

    endpoint: str
    token: str

    @property
    def env(self) -> dict[str, str]:
        return {"KEYFORM_TEST_TOKEN": self.token}

    def script(self, *rules: dict[str, object]) -> None:
        sent = {"Authorization": f"Bearer {self.token}"}
        httpx.put(f"{self.endpoint}/_faults", json={"rules": rules}, headers=sent).raise_for_status()


@pytest.fixture
def slow(folder: Path, tmp_path: Path) -> Iterator[Slow]:
    """Forty keys declared at a slow service."""
    data = tmp_path / "service"
    command = [sys.executable, "-m", "keyform", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        [*command, "--allow-faults"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        names = ", ".join(f"k{n:02}" for n in range(40))
        (folder / "keyform.yaml").write_text(MANY.format(endpoint=endpoint, names=names))
        service = Slow(endpoint, (data / "root-token").read_text().strip())
        create = {"method": "POST", "path": "/v1/keys$", "times": None}
        service.script({"action": "latency", "seconds": 1, **create})
        yield service
        server.terminate()


@pytest.mark.usefixtures("one_key")
def test_only_yes_is_yes(start: Start) -> None:
    for answer in ("y", "Yes", "no", "yes please", ""):
        asked = start("apply")
        asked.until("Only 'yes' will be accepted: ")
        asked.type(answer + "\n")
        assert asked.end() == 1
        assert "Not approved; nothing was changed." in asked.shown
    agreed = start("apply")
    assert "Plan: 1 to create." in agreed.until("Only 'yes' will be accepted: ")
    agreed.type("yes\n")
    assert agreed.end() == 0
    assert "Apply complete: 1 created." in agreed.shown
    doomed = start("destroy")
    doomed.until("cannot be undone.*Only 'yes' will be accepted: ")
    doomed.type("yes\n")
    assert doomed.end() == 0


@pytest.mark.usefixtures("one_key")
def test_the_end_of_the_input_and_ctrl_c_at_the_question_change_nothing(start: Start, folder: Path) -> None:
    left = start("apply")
    left.until("accepted: ")
    left.type("\x04")
    assert left.end() == 1
    stopped = start("apply")
    stopped.until("accepted: ")
    stopped.type("\x03")
    assert stopped.end() == 130
    assert "Traceback" not in stopped.shown
    listed = start("state", "list")
    assert (listed.end(), listed.shown) == (0, "")


@pytest.mark.usefixtures("one_key")
def test_colour_and_bar_on_a_terminal_only_when_wanted(start: Start) -> None:
    coloured = start("plan")
    assert (coloured.end(), "\x1b[" in coloured.shown) == (0, True)
    for argv, env in (
        (("plan",), {"NO_COLOR": "1"}),
        (("plan",), {"TERM": "dumb"}),
        (("--no-color", "plan"), {}),
        (("apply", "--auto-approve"), {"NO_COLOR": "1"}),
    ):
        plain = start(*argv, **env)
        assert (plain.end(), "\x1b" in plain.shown) == (0, False)
    assert "[1/1] keys.backend: created" in plain.shown


def test_a_bar_then_ctrl_c_finishes_what_is_in_flight_and_the_next_apply_the_rest(
    start: Start, slow: Slow
) -> None:
    running = start("apply", "--auto-approve", "--parallelism", "3", **slow.env)
    running.until(r"Applying .*[1-9][0-9]?/40")
    running.type("\x03")
    assert running.end() == 130
    assert re.search(r"Stopping: finishing the [1-3] keys? in flight; press Ctrl-C again", running.shown)
    done = re.search(r"Apply incomplete: (\d+) created; (\d+) not begun", running.shown)
    assert done
    assert int(done[1]) + int(done[2]) == 40
    assert int(done[2]) > 0
    rest = start("plan", **slow.env)
    assert rest.end() == 0
    assert f"{done[1]} unchanged" in rest.shown
    assert f"Plan: {done[2]} to create" in rest.shown
    assert "interrupted" not in rest.shown


def test_a_second_ctrl_c_stops_at_once_and_the_next_apply_recovers(start: Start, slow: Slow) -> None:
    running = start("apply", "--auto-approve", "--parallelism", "8", **slow.env)
    running.until(r"Applying .*[1-9][0-9]?/40")
    running.type("\x03")
    running.until("press Ctrl-C again")
    running.type("\x03")
    assert running.end() == 130
    assert "\x1b[?25h" in running.shown
    assert "Stopped at once." in running.shown
    assert "Apply incomplete" not in running.shown
    slow.script()
    after = start("apply", "--auto-approve", **slow.env)
    assert after.end() == 0, after.shown
    assert "ended without unlocking" in after.shown
    settled = start("plan", "--detailed-exitcode", **slow.env)
    assert settled.end() == 0, settled.shown
    assert "does not manage" not in settled.shown
