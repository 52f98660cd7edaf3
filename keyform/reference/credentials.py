"""Key texts: minted once, kept only as a salted and peppered hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

_KEY_TEXT = re.compile(r"[a-z]{2,16}_[a-z]{2,16}_([a-z0-9]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
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


class Mint:
    """Makes and checks key texts `{prefix}_{environment}_{lookup}_{secret}` under one pepper."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def mint(self, prefix: str, environment: str) -> Minted:
        """A fresh key: 40 random bits to find the row by, 256 random bits to prove it."""
        lookup = _base32(5)
        start = f"{prefix}_{environment}_{lookup}"
        text = f"{start}_{secrets.token_urlsafe(32)}"
        salt = os.urandom(16)
        return Minted(text, lookup, start, salt, self._digest(salt, text))

    def matches(self, text: str, salt: bytes | None, digest: bytes | None) -> bool:
        """Whether `text` is the key behind salt and digest (None for an unknown row), in constant time."""
        known = salt is not None and digest is not None
        candidate = self._digest(salt or _NO_SALT, text)
        return hmac.compare_digest(candidate, digest or _NO_DIGEST) and known

    def _digest(self, salt: bytes, text: str) -> bytes:
        # The secret carries 256 random bits, so a slow password hash would only slow the service down.
        return hmac.digest(self._pepper, salt + text.encode("utf-8"), hashlib.sha256)


def lookup_of(text: str) -> str | None:
    """The lookup part of a well-formed key text, else None."""
    found = _KEY_TEXT.fullmatch(text)
    return found[1] if found else None


def same_text(left: str, right: str) -> bool:
    """Compare two credentials in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def new_id() -> str:
    """A fresh key id."""
    return f"key_{_base32(16)}"


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
