"""The words of keyform as values: secrets, places, key specifications, what is desired, what is live.

Nothing here does I/O or reads a clock, and everything is frozen. Times are timezone-aware UTC
``datetime``; spans are ``timedelta``; sets of scopes and origins are sorted tuples, so that order
never shows as a change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import secrets as _random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

LABEL = "keyform"
"""Name of the metadata entry that marks a key as owned by a keyform state."""


class Secret:
    """The text of a key, which only :meth:`reveal` gives out.

    ``repr``, ``str`` and ``format`` show a mask; pickling and JSON raise ``TypeError``; it cannot be
    hashed, and comparing takes constant time.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret text. Call it only where the text leaves for a store or a proof."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash would let a secret become a dictionary key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to another process")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def fingerprint(secret: Secret, salt: bytes | None = None) -> str:
    """``hmac-sha256:SALT:DIGEST`` (hexadecimal) of a secret, with a fresh random salt unless given one."""
    salt = salt if salt is not None else _random.token_bytes(16)
    digest = hmac.new(salt, secret.reveal().encode(), hashlib.sha256).hexdigest()
    return f"hmac-sha256:{salt.hex()}:{digest}"


def fingerprint_matches(secret: Secret, recorded: str) -> bool:
    """Whether ``recorded`` is a fingerprint of ``secret``. A fingerprint of another form never matches."""
    algorithm, _, rest = recorded.partition(":")
    salt, _, _ = rest.partition(":")
    if algorithm != "hmac-sha256":
        return False
    try:
        return hmac.compare_digest(fingerprint(secret, bytes.fromhex(salt)), recorded)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Location:
    """Where in the user's files something stands. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a secret is kept: a path (and perhaps a field) in a declared store.

    ``on_revoke`` is ``delete`` or ``keep`` and is no part of a place's identity.
    """

    store: str
    path: str
    field: str | None = None
    on_revoke: str = dataclasses.field(default="delete", compare=False)

    def __str__(self) -> str:
        return f"{self.store}:{self.path}" + (f"#{self.field}" if self.field else "")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``limit`` requests in ``per_seconds`` seconds for the key."""

    limit: int
    per_seconds: int


DAILY, MONTHLY = "daily", "monthly"


@dataclass(frozen=True, slots=True)
class Refill:
    """``amount`` credits come ``daily``, or ``monthly`` on the day ``refill_day``."""

    amount: int
    interval: str
    refill_day: int | None = None


@dataclass(frozen=True, slots=True)
class Credits:
    """How often a key may be used, and what comes back. Declared or recorded, ``remaining`` is the balance
    that keyform sets; on a live key it is what use has left of it."""

    remaining: int
    refill: Refill | None = None


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key service holds about a key, in keyform's words.

    A field that a service does not know keeps its default. ``expires_at`` None means never, ``credits``
    None use without end.
    """

    kind: str | None = None
    environment: str | None = None
    project: str | None = None
    name: str = ""
    description: str = ""
    scopes: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    expires_at: datetime | None = None
    rate_limit: RateLimit | None = None
    credits: Credits | None = None
    metadata: tuple[tuple[str, str], ...] = ()


SPEC_FIELDS = tuple(KeySpec.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a series gets a new generation, and how long the old one lives on beside it."""

    every: timedelta | None = None
    before_expiry: timedelta | None = None
    overlap: timedelta = timedelta(0)
    revoke_when_unused_for: timedelta | None = None
    revoke_within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A node of the user's configuration: a file and the path of mapping keys and indexes in it."""

    file: str
    path: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class DesiredKey:
    """A declared key after defaults, variables and ``for_each``.

    ``spec.expires_at`` is set only when the user wrote ``expires_at``; with ``expires_in`` the moment
    depends on when a generation is minted, so planning resolves it.
    """

    address: str
    service: str
    spec: KeySpec
    places: tuple[Place, ...]
    expires_in: timedelta | None = None
    rotation: Rotation | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    protect: bool = False
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class DesiredProject:
    """A declared project. ``id`` is what the service calls it; ``address`` is ``projects.NAME``."""

    address: str
    service: str
    id: str
    allowed_origins: tuple[str, ...]
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """Adopt the live key ``id`` as the declared key at ``address``."""

    address: str
    id: str
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What the state knows as ``before`` is from now on declared as ``after`` (two addresses)."""

    before: str
    after: str
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """The key at ``address`` leaves the configuration; ``revoke`` False forgets it and lets it live."""

    address: str
    revoke: bool
    source: SourceRef | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that the configuration declares about keys. Addresses are unique."""

    keys: tuple[DesiredKey, ...] = ()
    projects: tuple[DesiredProject, ...] = ()
    imports: tuple[Import, ...] = ()
    moves: tuple[Move, ...] = ()
    removals: tuple[Removal, ...] = ()


ACTIVE, DISABLED, EXPIRED, REVOKED = "active", "disabled", "expired", "revoked"
STATUSES = (ACTIVE, DISABLED, EXPIRED, REVOKED)
"""What a key can be at its service. A disabled one is refused for now and can be enabled again, so it is
never taken for one that is gone."""


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A key as a service's listing shows it.

    ``label`` is the ownership label found on it, ``LINEAGE/MARKER``, or None; the label is never part
    of ``spec.metadata``. ``hint`` is what may be shown of its secret (a prefix or last characters).
    """

    id: str
    spec: KeySpec
    status: str = ACTIVE
    label: str | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class LiveProject:
    """A project as the service shows it."""

    id: str
    allowed_origins: tuple[str, ...]


def key_address(name: str, each: str | None = None) -> str:
    """``keys.NAME``, or ``keys.NAME["EACH"]`` for one of a ``for_each``."""
    return f"keys.{name}" if each is None else f"keys.{name}[{json.dumps(each, ensure_ascii=False)}]"


_ADDRESS = re.compile(r'(?:(keys)|projects)\.[A-Za-z_][A-Za-z0-9_-]{0,127}(?(1)(\["(?:[^"\\]|\\.)+"\])?)\Z')


def is_address(text: str) -> bool:
    """Whether ``text`` can be the address of a key or a project, in the one form that addresses have."""
    found = _ADDRESS.match(text)
    if found is None or found[2] is None:
        return found is not None
    try:
        (each,) = json.loads(found[2])
    except ValueError:
        return False
    return text == key_address(text[len("keys.") : found.start(2)], each)


def normal_address(text: str) -> str:
    """The address a user means: ``checkout`` stands for ``keys.checkout``."""
    return text if text.startswith(("keys.", "projects.")) else f"keys.{text}"


def ownership_label(lineage: str, marker: str) -> str:
    """The value of the ownership label: which state owns the key, and which intent minted it."""
    return f"{lineage}/{marker}"


LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""The end of the times that may be written: spans are added to them, and no time lies after the year 9999."""


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds only where there are any: ``2026-11-20T04:19:48Z``."""
    moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


def parse_instant(text: str) -> datetime:
    """An RFC 3339 time as UTC. Raises ``ValueError`` when it is no time or has no offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it in UTC, like 2027-01-31T00:00:00Z")
    return moment.astimezone(UTC)


_UNITS = (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def format_duration(span: timedelta) -> str:
    """A span as a user would write it: ``90d``, ``1y``, ``36h``."""
    seconds = int(span.total_seconds())
    for unit, size in _UNITS:
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return "0s"


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value that digests are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


def digest(value: Any) -> str:
    """``sha256:HEX`` over :func:`canonical_json`."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
