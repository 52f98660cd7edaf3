"""Desks: how a person who works in dashboards is asked. Here is the one where nobody sits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keyform.errors import Pending
from keyform.model import Secret, fingerprint_matches
from keyform.ports import Task

RUN = "Run `keyform apply` on a terminal."

Fault = Callable[[Secret], str | None]


class Seat:
    """What every desk has: one task at a time, and a memory of the secrets that were given in this run."""

    def __init__(self) -> None:
        self._turns = threading.RLock()
        self._tasks: list[Task] = []
        self._given: list[Secret] = []

    @contextmanager
    def turn(self, task: Task) -> Iterator[None]:
        """See the port."""
        with self._turns:
            self._tasks.append(task)
            try:
                yield
            finally:
                self._tasks.pop()

    @property
    def task(self) -> Task:
        """The task at hand."""
        return self._tasks[-1]

    def later(self, why: str, hint: str, *, begun: bool = False) -> Pending:
        """The error that leaves the task at hand for later."""
        task = self.task
        return Pending(f"{task.address}: {task.op} at {task.service}, by hand: {why}", hint, begun=begun)

    def fault_of(self, secret: Secret, fault: Fault) -> str | None:
        """What is wrong with a secret: its form, or that it is the secret of another key."""
        if (wrong := fault(secret)) is not None:
            return wrong
        if secret in self._given:
            return "this key was given for another address a moment ago; copy the one that was made for this"
        if any(fingerprint_matches(secret, known) for known in self.task.known):
            return "keyform has stored this very key before; copy the new one"
        self._given.append(secret)
        return None


class Nobody(Seat):
    """The desk of a run that has nobody to ask: every task is left for later."""

    def __init__(self, why: str = "there is nobody to ask", hint: str = RUN) -> None:
        super().__init__()
        self._why, self._hint = why, hint

    def expect(self, tasks: tuple[Task, ...]) -> None:
        """Nothing was given in advance."""

    def secret(self, fault: Fault) -> Secret:
        """Raises ``Pending``."""
        raise self.later(self._why, self._hint)

    def confirm(self) -> None:
        """Raises ``Pending``."""
        raise self.later(self._why, self._hint)

    def tell(self, text: str) -> None:
        """There is nobody to tell."""
