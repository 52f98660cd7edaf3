"""The operating system's keyring (macOS Keychain, Secret Service of GNOME, KDE and others), by keyring.

A place's path is the entry's user name, under one service name for the whole store. keyring takes any backend
that it finds, one that keeps nothing or keeps clear text included; those are refused here.
"""

from __future__ import annotations

import secrets as _random
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import keyring
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.over import allow, allow_deletion
from keyform.stores.quoting import quoted
from keyform.stores.turns import Turn, turn

_T = TypeVar("_T")


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> KeyringStore:
    """The store that a configuration declares.

    Options: ``service`` (the name that all entries are under, ``keyform``), ``backend`` (the class of its
    backend; by default what keyring itself chooses), ``allow_plaintext`` (True: a backend that keyring does
    not recommend, such as a file in clear text, may be used) and ``timeout`` (seconds that the keyring may
    take, a dialog included; 60).
    """
    return KeyringStore(
        name,
        env,
        service=str(options.get("service", "keyform")),
        backend=options.get("backend"),
        allow_plaintext=bool(options.get("allow_plaintext", False)),
        timeout=float(options.get("timeout", 60)),
    )


class KeyringStore:
    """A :class:`~keyform.ports.Store` over one service name of a keyring. See :func:`open_store`."""

    readable = True

    def __init__(
        self,
        name: str,
        env: Mapping[str, str],
        *,
        service: str = "keyform",
        backend: str | None = None,
        allow_plaintext: bool = False,
        timeout: float = 60.0,
    ) -> None:
        self.name = name
        self._env = env
        self._service = service
        self._named = backend
        self._allow_plaintext = allow_plaintext
        self._timeout = timeout
        self._backend: KeyringBackend | None = None

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        if place.field is not None:
            why = "an entry of a keyring has no fields"
            do = f"Give each value a path of its own, such as {place.path}/{place.field}."
        elif not place.path or not place.path.isprintable():
            why, do = "its path is empty or has characters that cannot be shown", "Write plain text."
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for an entry that is not there; that unlocks a keyring."""
        self.get(self._canary())
        backend = self._opened()
        return f"secrets can be kept under {self._service} in {_kind(backend)}, which could be asked"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = self._canary()
        if not keeps(self, place) or self.get(place) is not None:
            raise StoreError(
                f"Store {self.name!r}: {_kind(self._opened())} did not keep and delete what it was given",
                "Choose another `backend`; `keyring --list-backends` shows those that are there.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. keyring tells nothing of an entry but its value."""
        return None if self.get(place) is None else Held()

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        backend = self._opened()
        with self._turn(backend):
            return None if version is not None else self._read(backend, place)

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A keyring has no room for labels."""
        self.check(place)
        backend = self._opened()
        with self._turn(backend):
            if over != ANYTHING:
                present = self._read(backend, place)
                if present == secret:
                    return
                allow(self.name, place, over, present)
            text = secret.reveal()
            self._ask(f"write {place}", lambda: backend.set_password(self._service, place.path, text), secret)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        backend = self._opened()
        with self._turn(backend):
            present = self._read(backend, place)
            if present is not None:
                allow_deletion(self.name, place, over, present)
                self._ask(f"delete {place}", lambda: backend.delete_password(self._service, place.path))

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""

    def _read(self, backend: KeyringBackend, place: Place) -> Secret | None:
        text = self._ask(f"read {place}", lambda: backend.get_password(self._service, place.path))
        return None if text is None else Secret(text)

    def _canary(self) -> Place:
        return Place(self.name, f"keyform-canary-{_random.token_hex(8)}")

    def _turn(self, backend: KeyringBackend) -> AbstractContextManager[Turn]:
        # For readers too: some backends rewrite one file for all of their entries.
        return turn(self.name, f"keyring {_kind(backend)} {self._service}", self._env, 2 * self._timeout)

    def _opened(self) -> KeyringBackend:
        """The backend, looked for once. Raises ``StoreError`` for one that no secret should go to."""
        if self._backend is None:
            self._backend = self._ask("find a keyring", self._find)
        return self._backend

    def _find(self) -> KeyringBackend:
        backend = keyring.core.load_keyring(self._named) if self._named else keyring.get_keyring()
        if isinstance(backend, ChainerBackend):
            # Of several backends it writes to the first that can; the others are none of keyform's.
            backend = next(iter(backend.backends), backend)
        priority = float(getattr(backend, "priority", 1))
        if priority <= 0:
            raise StoreError(
                f"Store {self.name!r}: there is no keyring here; {_kind(backend)} keeps nothing",
                "Start the session's keyring (on Linux a Secret Service such as gnome-keyring, on a session "
                "bus), name a `backend`, or use a store that needs no desktop, such as age.",
            )
        if priority < 1 and not self._allow_plaintext:
            raise StoreError(
                f"Store {self.name!r}: {_kind(backend)} is no safe place for secrets: keyring itself does "
                "not recommend it",
                "Start the session's keyring or name another `backend`. `allow_plaintext: true` on the store "
                "allows this one.",
            )
        return backend

    def _ask(self, doing: str, act: Callable[[], _T], secret: Secret | None = None) -> _T:
        """Run ``act``, which may wait for a person at a dialog, for no longer than agreed."""
        answers: list[_T] = []
        problems: list[Exception] = []

        def work() -> None:
            try:
                answers.append(act())
            except Exception as problem:  # each backend raises its own
                problems.append(problem)

        # A daemon, so that one which never ends does not keep keyform from ending.
        asking = threading.Thread(target=work, name="keyring", daemon=True)
        asking.start()
        asking.join(self._timeout)
        if answers:
            return answers[0]
        problem = problems[0] if problems else TimeoutError(f"no answer within {self._timeout:g} s")
        if isinstance(problem, StoreError):
            raise problem
        said = quoted(str(problem), () if secret is None else (secret,))
        raise StoreError(
            f"Store {self.name!r} could not {doing} in the keyring: {type(problem).__name__}"
            + (f": {said}" if said else ""),
            "Unlock the keyring, answer its dialog, and see that it runs in this session: `keyring "
            "diagnose`, `keyring --list-backends`.",
        )


def _kind(backend: KeyringBackend) -> str:
    return f"{type(backend).__module__}.{type(backend).__qualname__}"
