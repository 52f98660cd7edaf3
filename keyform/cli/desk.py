"""The desks of the command line: a person at the terminal, answers from a file, or nobody."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyform.errors import KeyformError, Pending, PlanError
from keyform.model import Secret, normal_address
from keyform.report.safe import visible
from keyform.services.desk import Fault, Nobody, Seat

if TYPE_CHECKING:
    from keyform.cli.console import Console
    from keyform.cli.session import Session
    from keyform.ports import Desk, Task

ATTEMPTS = 3
LARGEST = 1 << 20
DONE, SKIP = "done", "skip"

_GLANCE_S = 0.2  # how soon an interrupted question ends
_OFF_TERMINAL = (
    "Run `keyform {verb}` on a terminal; or do what the checklist says and give the answers: "
    "`keyform {verb} --auto-approve --secrets-from FILE`, with lines ADDRESS<TAB>SECRET for new keys and "
    "ADDRESS<TAB>done for all else."
)


def desk_for(session: Session, verb: str, secrets_from: str | None, stop: threading.Event) -> Desk:
    """Whoever is to be asked in this run of ``verb``. Raises ``KeyformError`` for a ``--secrets-from`` that
    cannot be read."""
    console = session.console
    person: Desk = (
        TerminalDesk(console, verb, stop)
        if console.interactive
        else Nobody(hint=_OFF_TERMINAL.format(verb=verb))
    )
    return person if secrets_from is None else GivenDesk(read_answers(session, secrets_from), person, console)


class TerminalDesk(Seat):
    """A person at the terminal. Secrets are read without echo; ``stop`` ends a question, and the end of the
    input sets it: whoever left is asked for nothing more."""

    def __init__(self, console: Console, verb: str, stop: threading.Event) -> None:
        super().__init__()
        self._console = console
        self._stop = stop
        self._go_on = f"Run `keyform {verb}` again to go on."

    def expect(self, tasks: tuple[Task, ...]) -> None:
        """Say how many there will be."""
        if not tasks:
            return
        count = "1 step needs" if len(tasks) == 1 else f"{len(tasks)} steps need"
        self._console.tell("")
        self.tell(f"{count} you in a dashboard; everything is asked for one by one.", indent="")

    def secret(self, fault: Fault) -> Secret:
        self._show()
        self.tell(
            f"Paste the key at the prompt; it is not shown. If you have made none, '{SKIP}' leaves it for "
            "later."
        )
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._answer(f"Key of {visible(self.task.address)}: ", hidden=True)
            if answer.lower() == SKIP:
                raise self.later("it was skipped", self._go_on)
            if not answer:
                wrong: str | None = "nothing was given"
            else:
                secret = Secret(answer)
                wrong = self.fault_of(secret, fault)
                if wrong is None:
                    return secret
            left = ATTEMPTS - attempt
            again = f" Try again ({left} left)." if left else ""
            self.tell(f"Not taken: {wrong}.{again}")
        raise self.later(f"no usable key was given in {ATTEMPTS} attempts", self._go_on, begun=True)

    def confirm(self) -> None:
        self._show()
        if self._stop.is_set():
            self.tell("Left for later, since the run is being stopped.")
            raise self._interrupted()
        for _ in range(ATTEMPTS):
            asked = f"Type '{DONE}' when that is so, or '{SKIP}' to leave it for later:"
            question = "\n".join(self._console.err_style.fitted(asked)) + " "
            answer = self._answer(question, hidden=False).lower()
            if answer == DONE:
                return
            if answer == SKIP:
                break
        raise self.later("it was skipped", self._go_on)

    def tell(self, text: str, indent: str = "  ") -> None:
        self._console.tell("\n".join(self._console.err_style.fitted(visible(text), indent)))

    def _show(self) -> None:
        task = self.task
        cursor = "\x1b[?25h" if self._console.bar else ""  # a progress bar hides it
        style = self._console.err_style
        head = f"{visible(task.address)}: {task.op} at {visible(task.service)}, by hand"
        lines = [style.paint(line, "bold") for line in style.fitted(head, hanging="  ")]
        for number, line in enumerate(task.lines, 1):
            first = f"{number}. "
            lines += style.fitted(f"{first}{visible(line)}", "  ", " " * (2 + len(first)))
        self._console.tell("\n".join([cursor, *lines]))

    def _interrupted(self) -> Pending:
        return self.later("the run was interrupted", self._go_on, begun=True)

    def _answer(self, question: str, *, hidden: bool) -> str:
        """A line from the terminal. Raises ``Pending`` when the run is being stopped, or at the end of the
        input."""
        data = b""
        with _terminal(self._console, hidden) as fd:
            self._console.ask_on(question)
            while not data.endswith(b"\n"):
                if self._stop.is_set():
                    raise self._interrupted()
                if not select.select([fd], [], [], _GLANCE_S)[0]:
                    continue
                chunk = os.read(fd, 4096)
                if not chunk:
                    self._console.tell("\nThe input ended: stopping, and asking for nothing more.")
                    self._stop.set()
                data += chunk
        if hidden:
            self._console.tell("")
        return data.decode("utf-8", "replace").strip()


class GivenDesk(Seat):
    """Answers that were given in advance, by address or in the plan's order; ``person`` is asked for what is
    not among them."""

    def __init__(self, answers: Answers, person: Desk, console: Console) -> None:
        super().__init__()
        self._answers = answers
        self._person = person
        self._console = console

    def expect(self, tasks: tuple[Task, ...]) -> None:
        self._answers.fit(tasks)
        unused = self._answers.not_for({task.address for task in tasks})
        if unused:
            self._console.tell(
                f"{len(unused)} of the answers given are for nothing that is to be done, and are not used: "
                + ", ".join(map(visible, unused))
            )
        self._person.expect(tuple(task for task in tasks if not self._answers.has(task.address)))

    def secret(self, fault: Fault) -> Secret:
        answer = self._answers.take(self.task.address, secret=True)
        if answer is None:
            with self._handed_on():
                return self._person.secret(fault)
        wrong = self.fault_of(answer, fault)
        if wrong is not None:
            raise self.later(
                f"the key given for it is not taken: {wrong}", "Correct that line and run it again."
            )
        return answer

    def confirm(self) -> None:
        if self._answers.take(self.task.address, secret=False) is None:
            with self._handed_on():
                self._person.confirm()

    def tell(self, text: str) -> None:
        self._console.tell(visible(text))

    def _handed_on(self) -> AbstractContextManager[None]:
        return self._person.turn(self.task)


class Answers:
    """What ``--secrets-from`` gave: secrets in the plan's order, or answers by address."""

    def __init__(self, lines: list[str], where: str) -> None:
        self._where = where
        self._in_order: list[str] = []
        self._by_address: dict[str, deque[str]] = {}
        for number, line in enumerate(lines, 1):
            address, tab, answer = line.partition("\t")
            if tab and not answer.strip():
                raise KeyformError(f"line {number} of {where} has an address and no answer", "Complete it.")
            if tab:
                self._by_address.setdefault(normal_address(address.strip()), deque()).append(answer.strip())
            else:
                self._in_order.append(line.strip())
        if self._in_order and self._by_address:
            raise KeyformError(
                f"{where} mixes lines with an address and lines without",
                "Write ADDRESS<TAB>SECRET in every line, or in none.",
            )

    def __repr__(self) -> str:
        return f"Answers({self._where})"

    def fit(self, tasks: tuple[Task, ...]) -> None:
        """Give the answers without an address to the tasks, in their order. Raises ``PlanError`` where their
        numbers differ: a line too few would give every later key the secret of another."""
        if not self._in_order:
            return
        mints = [task for task in tasks if task.op == "create"]
        wanted = tasks if DONE in self._in_order else tuple(mints)
        if len(wanted) != len(self._in_order):
            raise PlanError(
                f"{self._where} gives {len(self._in_order)} answers without addresses, and the plan has "
                f"{len(mints)} keys to make by hand, {len(tasks)} steps in all",
                "Give one line for each key, in the plan's order; or write ADDRESS<TAB>SECRET, and "
                "ADDRESS<TAB>done, in any order.",
            )
        for task, answer in zip(wanted, self._in_order, strict=True):
            self._by_address.setdefault(task.address, deque()).append(answer)
        self._in_order = []

    def has(self, address: str) -> bool:
        """Whether there is an answer left for the address."""
        return bool(self._by_address.get(address))

    def not_for(self, addresses: set[str]) -> list[str]:
        """The addresses among the answers that are none of these."""
        return [address for address, left in self._by_address.items() if left and address not in addresses]

    def take(self, address: str, *, secret: bool) -> Secret | None:
        """The next answer for the address, if it is of the kind that is asked for."""
        left = self._by_address.get(address)
        if not left or (left[0].lower() == DONE) == secret:
            return None
        return Secret(left.popleft())


def read_answers(session: Session, given: str) -> Answers:
    """The lines of a file, of stdin (``-``) or of an open file descriptor (``fd:N``), read once. Raises
    ``KeyformError``."""
    try:
        if given == "-":
            where, data = "standard input", _read(sys.stdin.fileno())
        elif given.startswith("fd:"):
            if not given[3:].isdecimal():
                raise click.UsageError(f"--secrets-from {given!r} is no file descriptor; write it like fd:3.")
            where, data = f"file descriptor {given[3:]}", _read(int(given[3:]))
        else:
            path = session.path(given)
            where, data = str(path), _read_file(path, session.console)
    except (OSError, ValueError, AttributeError) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise KeyformError(
            f"--secrets-from {given} cannot be read: {reason}", "Check the path or the descriptor."
        ) from None
    if len(data) > LARGEST:
        raise KeyformError(f"{where} holds more than 1 MiB", "Give the lines of the secrets only.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyformError(f"{where} is not UTF-8 text", "Give one secret per line.") from None
    return Answers([line for line in text.splitlines() if line.strip()], where)


def _read(fd: int) -> bytes:
    if os.isatty(fd):
        raise KeyformError(
            "--secrets-from would read from a terminal, which shows what is typed",
            "Leave it out: on a terminal keyform asks for each key without showing it.",
        )
    with os.fdopen(os.dup(fd), "rb") as stream:
        return stream.read(LARGEST + 1)


def _read_file(path: Path, console: Console) -> bytes:
    with path.open("rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            console.tell(f"warning: {path} can be read by others; `chmod 600` it, and delete it afterwards")
        return stream.read(LARGEST + 1)


@contextmanager
def _terminal(console: Console, hidden: bool) -> Iterator[int]:
    """The terminal behind standard input, without echo if ``hidden``, as it was before at the end."""
    import termios

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    with ExitStack() as stack:
        if hidden:
            silent = list(before)
            silent[3] &= ~(termios.ECHO | termios.ECHONL)

            def restore() -> None:
                termios.tcsetattr(fd, termios.TCSAFLUSH, before)
                console.at_exit = None

            console.at_exit = restore
            stack.callback(restore)
            termios.tcsetattr(fd, termios.TCSAFLUSH, silent)
        yield fd
