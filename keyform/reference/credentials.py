"""Key texts: minted once, kept only as a salted and peppered hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Compared against when a lookup finds nothing, so that both answers cost the same.
_NO_SALT = bytes(16)
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key text and what is kept of it. `text` is shown once and never stored."""

    text: str = field(repr=False)
    lookup: str
    start: str
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyFormat:
    """How key texts look.

    pattern: a whole key text; its group `lookup`, where it has one, is the part that finds the row.
    draw: a fresh text, and the part of it that may be shown, from a prefix and an environment.
    """

    pattern: re.Pattern[str]
    draw: Callable[[str, str], tuple[str, str]]


def _draw(prefix: str, environment: str) -> tuple[str, str]:
    """40 random bits to find the row by, 256 random bits to prove it."""
    start = f"{prefix}_{environment}_{_base32(5)}"
    return f"{start}_{secrets.token_urlsafe(32)}", start


LOOKUP_FORMAT = KeyFormat(
    re.compile(r"[a-z]{2,16}_[a-z]{2,16}_(?P<lookup>[a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII), _draw
)
"""`{prefix}_{environment}_{lookup}_{secret}`."""


class Mint:
    """Makes and checks key texts of one format under one pepper."""

    def __init__(self, pepper: bytes, key_format: KeyFormat = LOOKUP_FORMAT) -> None:
        self._pepper = pepper
        self._format = key_format

    def mint(self, prefix: str, environment: str) -> Minted:
        """A fresh key."""
        return self.keep(*self._format.draw(prefix, environment))

    def keep(self, text: str, start: str) -> Minted:
        """What is kept of a fresh key text, of which `start` may be shown. Raises ValueError."""
        lookup, salt = self.lookup(text), os.urandom(16)
        if lookup is None:
            raise ValueError("a fresh key text does not have its own format")
        return Minted(text, lookup, start, salt, self._digest(salt, text))

    def lookup(self, text: str) -> str | None:
        """What finds the row of a well-formed key text, else None."""
        found = self._format.pattern.fullmatch(text)
        if found is None:
            return None
        if "lookup" in self._format.pattern.groupindex:
            return found["lookup"]
        # No part of such a text may be kept, so a keyed hash of all of it finds the row.
        return hmac.digest(self._pepper, b"lookup:" + text.encode("utf-8"), hashlib.sha256)[:16].hex()

    def matches(self, text: str, salt: bytes | None, digest: bytes | None) -> bool:
        """Whether `text` is the key behind salt and digest (None for an unknown row), in constant time."""
        known = salt is not None and digest is not None
        candidate = self._digest(salt or _NO_SALT, text)
        return hmac.compare_digest(candidate, digest or _NO_DIGEST) and known

    def _digest(self, salt: bytes, text: str) -> bytes:
        # The secret carries 256 random bits, so a slow password hash would only slow the service down.
        return hmac.digest(self._pepper, salt + text.encode("utf-8"), hashlib.sha256)


def same_text(left: str, right: str) -> bool:
    """Compare two credentials in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def new_id(prefix: str = "key") -> str:
    """A fresh id such as `key_…`."""
    return f"{prefix}_{_base32(16)}"


def new_root_token() -> str:
    """A fresh root token."""
    return f"root_{secrets.token_urlsafe(32)}"


def new_pepper() -> bytes:
    """A fresh pepper: without it, the hashes in a stolen database cannot be tried."""
    return secrets.token_bytes(32)


def read_or_create(path: Path, content: bytes) -> bytes:
    """The bytes of a private file; created whole with `content` and mode 0600 when it is missing.

    The caller holds the lock of the data folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        return content


def _base32(size: int) -> str:
    return base64.b32encode(os.urandom(size)).decode("ascii").rstrip("=").lower()
