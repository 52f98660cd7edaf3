"""age identities and recipients: where they are, how they are read, and the making of the first one.

An identity file is as age defines it: ``AGE-SECRET-KEY-1…`` lines, blank lines and ``#`` comments, or
one SSH private key. Errors are :class:`~keyform.errors.StoreError` and never show an identity.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pyrage import IdentityError, RecipientError, ssh, tag, tagpq, x25519

from keyform import files
from keyform.errors import StoreError
from keyform.model import instant

Identity = x25519.Identity | ssh.Identity
Recipient = x25519.Recipient | ssh.Recipient | tag.Recipient | tagpq.Recipient

ENVIRONMENT = "KEYFORM_AGE_IDENTITY"


def default_identity(env: Mapping[str, str]) -> Path:
    """``$KEYFORM_AGE_IDENTITY``, or ``keyform/age-identity.txt`` in the user's configuration folder."""
    named = env.get(ENVIRONMENT, "").strip()
    if named:
        return identity_path(named, f"${ENVIRONMENT}", env)
    base = env.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    folder = Path(base) if base.startswith("/") else home(env) / ".config"
    return folder / "keyform" / "age-identity.txt"


def identity_path(text: str, origin: str, env: Mapping[str, str]) -> Path:
    """The file that ``text`` names. ``origin`` says where the text comes from, for messages."""
    if text.upper().lstrip().startswith(("AGE-SECRET-KEY-", "-----BEGIN")):
        raise StoreError(
            f"{origin} holds an age identity itself, and must be the path of a file that holds it",
            "Put the identity into a file with mode 0600 and give its path.",
        )
    return home(env) / text[2:] if text.startswith("~/") else Path(text)


def home(env: Mapping[str, str]) -> Path:
    """The user's home folder."""
    try:
        return Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError:
        raise StoreError(
            "The user has no home folder to keep an age identity in",
            f"Set {ENVIRONMENT} to the path of an identity file, or `identity` in the store's options.",
        ) from None


def load_identities(path: Path) -> tuple[Identity, ...]:
    """Every identity of a file, at least one. Raises ``FileNotFoundError`` when there is no such file."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(1 << 20)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise StoreError(
            f"The age identity {path} could not be read: {files.reason(problem)}",
            f"{files.advice(problem)} Or set {ENVIRONMENT} to another path.",
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreError(
            f"The age identity {path} is open to other users (mode {stat.S_IMODE(mode):04o})",
            f"Anyone who reads it can open your secrets. Run: chmod 600 {path}",
        )
    if data.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")):
        raise StoreError(
            f"The age identity {path} is protected by a passphrase, which keyform cannot ask for",
            f"Decrypt it into a private file and set {ENVIRONMENT} to that file's path.",
        )
    if data.startswith(b"-----BEGIN"):
        return (_ssh_identity(path, data),)
    found = tuple(_identities(path, data))
    if not found:
        raise StoreError(
            f"The age identity {path} holds no identity",
            "It needs a line that starts with AGE-SECRET-KEY-1, as age-keygen writes it.",
        )
    return found


def _ssh_identity(path: Path, data: bytes) -> Identity:
    try:
        return ssh.Identity.from_buffer(data)
    except IdentityError as problem:
        raise StoreError(
            f"The SSH key {path} cannot be used as an age identity: {problem}",
            "Use an ed25519 or RSA key without a passphrase, or an identity made by age-keygen.",
        ) from None


def _identities(path: Path, data: bytes) -> Iterable[Identity]:
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            yield x25519.Identity.from_str(line.strip())
        except IdentityError:
            raise StoreError(
                f"Line {number} of the age identity {path} is not an identity that keyform can use",
                "It must start with AGE-SECRET-KEY-1 and be whole; plugin identities are not supported.",
            ) from None


def create_identity(path: Path) -> None:
    """Make an identity file as age-keygen would, mode 0600. If another process was faster, its file stays."""
    identity = x25519.Identity.generate()
    text = (
        f"# created: {instant(datetime.now(UTC).replace(microsecond=0))}\n"
        f"# public key: {identity.to_public()}\n{identity}\n"
    )
    try:
        files.make_folders(path.parent)
        files.create_private(path, text.encode())
    except OSError as problem:
        raise StoreError(
            f"The age identity {path} could not be created: {files.reason(problem)}",
            f"{files.advice(problem)} Or set {ENVIRONMENT} to another path.",
        ) from None


def own_recipients(path: Path, identities: tuple[Identity, ...]) -> tuple[Recipient, ...]:
    """The public keys of ``identities``, which were read from ``path``."""
    return tuple(
        identity.to_public() if isinstance(identity, x25519.Identity) else _public_half(path)
        for identity in identities
    )


def _public_half(path: Path) -> Recipient:
    public = path.with_name(path.name + ".pub")
    try:
        return parse_recipient(public.read_text(), str(public))
    except (OSError, UnicodeDecodeError):
        raise StoreError(
            f"The public half of the SSH key {path} could not be read from {public}",
            "Put it there, or list it under `recipients` in the store's options.",
        ) from None


def parse_recipient(text: str, origin: str) -> Recipient:
    """An age or SSH public key. ``origin`` says where it was written, for messages."""
    text = text.strip()
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise StoreError(
            f"{origin} holds a secret identity where a public key is needed",
            "Take it out at once, and give the key that starts with age1 (age-keygen -y FILE shows it).",
        )
    for kind in (x25519.Recipient, ssh.Recipient, tag.Recipient, tagpq.Recipient):
        try:
            return kind.from_str(text)
        except RecipientError:
            continue
    raise StoreError(
        f"{origin} is not an age recipient: {text[:80]!r}",
        "A recipient starts with age1, ssh-ed25519 or ssh-rsa, and must be whole.",
    )


def read_recipients(path: Path) -> tuple[Recipient, ...]:
    """The recipients of a file: one a line, blank lines and ``#`` comments between them."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        why = files.reason(problem) if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise StoreError(
            f"The recipients file {path} could not be read: {why}",
            "Check `recipients_files` in the store's options.",
        ) from None
    return tuple(
        parse_recipient(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    )
