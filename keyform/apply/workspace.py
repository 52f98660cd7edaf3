"""A workspace: one configuration with its services, stores and state, opened as they are needed."""

from __future__ import annotations

import getpass
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from keyform.config import Config
from keyform.engine.soundness import check_sound
from keyform.errors import StateError
from keyform.model import Desired
from keyform.ports import Clock, Desk, LockRecord, Service, StateBackend, Store
from keyform.registry import open_backend, open_store
from keyform.services import open_service
from keyform.services.desk import Nobody
from keyform.state import State, load_state

if TYPE_CHECKING:
    import httpx


def _same_transport(transport: httpx.BaseTransport) -> httpx.BaseTransport:
    return transport


def _same_store(store: Store) -> Store:
    return store


def _same_backend(backend: StateBackend) -> StateBackend:
    return backend


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What tests put around the outside world: an HTTP transport, a store, a state backend."""

    transport: Callable[[httpx.BaseTransport], httpx.BaseTransport] = _same_transport
    store: Callable[[Store], Store] = _same_store
    backend: Callable[[StateBackend], StateBackend] = _same_backend


class Workspace:
    """Opens what a configuration declares, once each, and closes it all. ``operation`` (the verb) is
    what a lock says it is held for. ``desired`` starts as the configuration's and may be replaced.
    ``desk`` is the person for services that are worked by hand."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        operation: str,
        wrap: Wrapping = Wrapping(),
        desk: Desk | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.operation = operation
        self.desired: Desired = config.desired
        self.desk: Desk = desk or Nobody()
        self._wrap = wrap
        self._services: dict[str, Service] = {}
        self._stores: dict[str, Store] = {}
        self._opening = threading.Lock()
        self.backend: StateBackend = wrap.backend(
            open_backend(config.state.backend, config.state.options, config.folder)
        )

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in self._services.values():
            service.close()
        for store in self._stores.values():
            store.close()

    def service(self, name: str) -> Service:
        """The declared service ``name``. Raises ``KeyError`` when it is not declared."""
        with self._opening:
            if name not in self._services:
                declared = self.config.services[name]
                self._services[name] = open_service(
                    name,
                    declared.type,
                    profile=declared.profile,
                    endpoint=declared.endpoint,
                    credential=declared.credential,
                    options=declared.options,
                    folder=self.config.folder,
                    clock=self.clock,
                    mode=declared.mode,
                    desk=self.desk,
                    wrap_transport=self._wrap.transport,
                )
            return self._services[name]

    def store(self, name: str) -> Store:
        """The declared store ``name``. Raises ``KeyError`` when it is not declared."""
        with self._opening:
            if name not in self._stores:
                declared = self.config.stores[name]
                self._stores[name] = self._wrap.store(
                    open_store(name, declared.type, declared.options, self.config.folder)
                )
            return self._stores[name]

    def read_state(self) -> tuple[State, str | None]:
        """The state and its version; a fresh one, and None, when there is none yet. Raises ``StateError`` for
        one that cannot be gone by."""
        snapshot = self.backend.read()
        if snapshot is None:
            return State.fresh(), None
        state = load_state(snapshot.data, self.backend.describe())
        check_sound(state, self.backend.describe())
        return state, snapshot.version

    @contextmanager
    def locked(self) -> Iterator[LockRecord | None]:
        """Hold the state's lock; yields the record of a holder that died, if there was one."""
        record = LockRecord(
            id=str(uuid.uuid4()),
            who=_user(),
            host=socket.gethostname(),
            pid=os.getpid(),
            operation=self.operation,
            since=self.clock.now(),
        )
        dead = self.backend.lock(record)
        try:
            yield dead
        except BaseException:
            with suppress(StateError):  # it may have been broken, which is what the run has told by now
                self.backend.unlock(record.id)
            raise
        self.backend.unlock(record.id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
