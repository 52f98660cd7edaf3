"""The ports: what the core asks of key services, secrets managers, state backends and the clock.

Each is a small protocol whose behaviour is written in its docstrings; ``keyform.conformance`` holds
one test suite per port that every implementation passes, plug-ins included. All of them are
synchronous, and are called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from keyform.diagnostics import Diagnostic
from keyform.model import KeySpec, LiveKey, LiveProject, Place, Secret
from keyform.profile import Profile


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> datetime:
        """The present moment, timezone-aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


# Key services

ANSWER_TIMEOUT = timedelta(seconds=30)
"""How long an implementation waits for an answer, and so for how long a request that nobody waits for any
more is taken to be under way still."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a service shows. ``complete`` False: some keys or projects may be missing, for the reason
    in ``problem``; absence from such a listing proves nothing."""

    keys: tuple[LiveKey, ...]
    projects: tuple[LiveProject, ...] = ()
    complete: bool = True
    problem: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class Minted:
    """The answer to a create. ``secret`` is None when the service recognised the marker of an earlier
    create whose answer was lost: the key exists and its secret can no longer be had. ``lost``: what became
    of that answer, where it was this create's."""

    key: LiveKey
    secret: Secret | None
    lost: Diagnostic | None = None


class Service(Protocol):
    """A live key service. Every method may raise :class:`~keyform.errors.ServiceError`.

    Implementations retry what is safe to repeat and keep inside the service's rate budget.
    """

    name: str
    profile: Profile

    def list(self) -> Listing:
        """All keys and projects. A page that cannot be had makes the listing incomplete; only a
        service that cannot be used at all (no route, credential refused) raises."""

    def create(self, spec: KeySpec, label: str) -> Minted:
        """Mint one key that carries ``label`` (``LINEAGE/MARKER``) wherever the service has room for it,
        and use it as the idempotency key where there is one: calling again with the same label never
        mints a second key. Raises ``AnswerLost`` when it is unknown whether the key exists."""

    def reroll(self, key_id: str, spec: KeySpec, overlap: timedelta, label: str) -> Minted:
        """Make the successor of a key, which lives on for ``overlap`` and is then ended by the service. Asked
        only of services whose profile has the operation ``reroll``; where that makes a copy, the caller sees
        to the label and the ends of both keys. Raises ``AnswerLost`` when it is unknown
        whether there is a successor, or when its secret did not arrive."""

    def update(self, key: LiveKey, spec: KeySpec, fields: frozenset[str]) -> LiveKey:
        """Make the named fields of a live key as in ``spec`` and leave the others, the label of ``key``
        included. Credits whose ``remaining`` is that of ``key`` keep what is left of them. Returns the key
        as the service then shows it."""

    def revoke(self, key_id: str) -> None:
        """End a key. One that is revoked or gone already is no error."""

    def prove(self, secret: Secret, key: LiveKey) -> str | None:
        """Show by a harmless call that ``secret`` works as ``key``; the id of its key where the service
        tells it. Raises ``Refused`` when it does not work. Not called where the profile has no such
        call."""

    def set_origins(self, project: str, origins: tuple[str, ...]) -> None:
        """Make a project's allowlist exactly ``origins``, creating the project where that is possible."""

    def own_key(self) -> str | None:
        """The id of the key that keyform itself uses as its credential, or None if unknown. A service that
        lists nothing tries its login here, if it has one. Raises ``ServiceError``."""

    def clock_skew(self) -> timedelta | None:
        """How far the service's clock is ahead of this machine's, by the answers so far; None if unknown."""

    def close(self) -> None:
        """Let go of connections."""


# People at dashboards


@dataclass(frozen=True, slots=True)
class Task:
    """What a person is to do in a dashboard: ``op`` in a word or two (create, update, revoke, …) and the
    reviewed lines of the step. A create yields a secret; everything else is confirmed. ``known`` are
    fingerprints of secrets that the new one must not be."""

    address: str
    service: str
    op: str
    lines: tuple[str, ...]
    known: tuple[str, ...] = ()


class Desk(Protocol):
    """A person who works in dashboards, one task at a time. What they type is never shown or logged.

    Raises :class:`~keyform.errors.Pending` for a task that is left for later.
    """

    def expect(self, tasks: tuple[Task, ...]) -> None:
        """The tasks of the run, in the plan's order, before the first of them. Raises ``PlanError`` for
        answers that were given in advance and do not fit them."""

    def turn(self, task: Task) -> AbstractContextManager[None]:
        """What the next questions are about. Turns may nest (an undo); those of other threads wait."""

    def secret(self, fault: Callable[[Secret], str | None]) -> Secret:
        """The secret that the dashboard showed. ``fault`` says what is wrong with one, without showing it.
        A wrong one is refused, and asked for again where there is somebody to ask."""

    def confirm(self) -> None:
        """Return once the person says that the task is done."""

    def tell(self, text: str) -> None:
        """Something that the person should know."""


# Secrets managers


@dataclass(frozen=True, slots=True)
class Held:
    """What a store tells of the value in a place without giving it. ``version`` is another one after every
    write (None: the store has none); ``labels`` are those of the write, as far as the store keeps them."""

    version: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


ANYTHING: Final = "anything"
Over = Secret | Held | Literal["anything"] | None
"""What a write may replace, or a deletion remove: whatever is there, this value, the value of this version
(of a store that cannot be read), or None: nothing at all."""


class Store(Protocol):
    """A secrets manager. Every method may raise :class:`~keyform.errors.StoreError`, which names the
    place and never holds a value. ``readable`` False: values can be written and never read back, so
    ``get`` is refused and ``look`` tells what can be told."""

    name: str
    readable: bool

    def check(self, place: Place) -> None:
        """Refuse (``StoreError``) a place that this store cannot hold, without any I/O."""

    def access(self) -> str:
        """What the credential may do, in words, found out without writing a secret. Raises ``StoreError``
        for a store that cannot be reached or that keyform could not work with."""

    def probe(self) -> None:
        """Prove that secrets can be kept: write a canary, read it back (or see it there, where the store
        cannot be read), delete it, leave nothing."""

    def look(self, place: Place) -> Held | None:
        """What is told of the present value, or None when there is none."""

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """The present value, or None when there is none. ``version``: an older one instead, None where the
        store does not keep it (any more)."""

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """Write atomically: readers see the old value or the new one, never half. Durable on return.
        Other fields of the same path stay as they are. ``labels`` (the key's address, id and generation;
        no secrets) are kept where the store has room. Returns the new version.

        Raises ``Taken``, and writes nothing, where there is something else than ``over`` allows; in one
        step with the write where the store has conditional writes, else as close to it as can be. A place
        that holds ``secret`` already is as good as written; except where ``over`` is the secret itself, which
        asks stores with versions to write it once more, so that a conditional write that is under way still
        comes too late."""

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """Remove the value. One that is gone already is no error. Other fields of the same path stay, those
        too that come while this is under way.

        Raises ``Taken`` where there is something else than ``over`` allows, and leaves that as it is; in one
        step with the deletion where the store has conditional ones, else as close to it as can be."""

    def forget(self, place: Place, version: str) -> None:
        """The value that was there in this earlier ``version`` has ended, and nobody rolls back to it any
        more. A store that kept it for that lets go of it; in others nothing is to be done. The present value
        stays, whatever its version, and one that is gone already is no error."""

    def close(self) -> None:
        """Let go of connections. More than one call is no error."""


# State backends


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Bytes of a state and the token that compare-and-swap goes by."""

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class LockRecord:
    """Who holds a lock, on which host, for what, since when (UTC). ``id`` is random."""

    id: str
    who: str
    host: str
    pid: int
    operation: str
    since: datetime


class Journal(Protocol):
    """The journal of the apply that is under way; lives where the state lives."""

    def append(self, lines: bytes) -> None:
        """Add complete lines. Durable on return. Threads may append at once; lines never interleave."""

    def read(self) -> bytes:
        """Everything appended since the last clear; a torn last line (a crash while writing) is left out."""

    def clear(self) -> None:
        """Empty it, durably."""


class StateBackend(Protocol):
    """Moves the bytes of one state. Raises :class:`~keyform.errors.StateError`."""

    journal: Journal

    def describe(self) -> str:
        """Where the state is, for messages."""

    def read(self) -> Snapshot | None:
        """The state as it stands, or None when there is none yet."""

    def write(self, data: bytes, expect: str | None) -> str:
        """Replace the state if its version still is ``expect`` (None: there is none yet); returns the new
        version. Raises ``Conflict`` otherwise, and when the lock this process took is no longer its
        own. Atomic and durable: after a crash the old bytes or the new ones are there."""

    def lock(self, record: LockRecord) -> LockRecord | None:
        """Take the lock at once or raise ``Locked`` with the holder's record in its message. Returns the
        record of a holder that died without unlocking, if that is how the lock came to be free."""

    def unlock(self, lock_id: str) -> None:
        """Release. From another process this breaks the lock, after which its holder cannot write;
        raises ``StateError`` if ``lock_id`` is not the lock's id."""

    def holder(self) -> LockRecord | None:
        """Who holds the lock now, or None."""

    def check_lock(self) -> None:
        """Raise ``Conflict`` when the lock that this process took is no longer its own. Cheap: it is asked
        before every write to a store."""
