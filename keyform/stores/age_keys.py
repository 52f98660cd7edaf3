"""The keys of an age store: whom it encrypts to, and what opens it again."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pyrage

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores import age_identity, age_names

LARGEST = 1 << 20  # bytes; no secret comes near, and a wrong file is not read into memory
_HEADERS = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")


class AgeKeys:
    """``given`` recipients, or else the public keys of the file at ``identity``, which is made on first
    use. ``folder`` is where the store named ``store`` keeps its secrets."""

    def __init__(
        self, store: str, folder: Path, identity: Path, given: tuple[age_identity.Recipient, ...]
    ) -> None:
        self._store = store
        self._folder = folder
        self._identity = identity
        self._once = threading.Lock()
        self._identities: tuple[age_identity.Identity, ...] | None = None
        self._recipients = given

    def check(self) -> str:
        """How secrets are read back, in words. Raises ``StoreError`` where they could not be."""
        known = self._readers()
        if known is not None:
            return f"{self._identity} opens them"
        if self._recipients:
            raise self._no_identity("recipients alone can only write")
        if self._holds_secrets():
            raise self._no_identity(f"{self._folder} holds secrets already")
        return f"{self._identity} is made with the first of them"

    def _readers(self) -> tuple[age_identity.Identity, ...] | None:
        """The identities, read from their file once, or None while there is no such file."""
        if self._identities is None:
            with self._once, contextlib.suppress(FileNotFoundError):
                self._identities = self._identities or age_identity.load_identities(self._identity)
        return self._identities

    def _writers(self) -> tuple[age_identity.Recipient, ...]:
        """Whom to encrypt to. Makes the identity on first use where nobody else is named."""
        if self._recipients:
            return self._recipients
        identities = self._readers()
        if identities is None:
            # A secret that exists was written for an identity that is missing here; a new one could not
            # open it, and on a machine of passage would be lost with it.
            if self._holds_secrets() and self._readers() is None:
                raise self._no_identity(f"{self._folder} holds secrets already")
            age_identity.create_identity(self._identity)
            identities = self._readers()
        if identities is None:
            raise self._no_identity("it may be a symbolic link that leads nowhere")
        self._recipients = age_identity.own_recipients(self._identity, identities)
        return self._recipients

    def _holds_secrets(self) -> bool:
        return any(name.endswith(age_names.SUFFIX) for _, _, names in os.walk(self._folder) for name in names)

    def _no_identity(self, why: str) -> StoreError:
        return StoreError(
            f"Store {self._store!r} has no age identity to read secrets back with: "
            f"there is no {self._identity}, and {why}",
            f"Restore that file, or set {age_identity.ENVIRONMENT} (or `identity` in the store's options) to "
            "the one that belongs to these secrets.",
        )

    def encrypt(self, place: Place, secret: Secret) -> bytes:
        """The age file for a secret. Raises ``StoreError``."""
        recipients = self._writers()
        try:
            return pyrage.encrypt(secret.reveal().encode(), recipients)
        except UnicodeEncodeError:
            why = "it is not valid Unicode text"
        except pyrage.EncryptError as refused:
            why = str(refused)
        # Raised out here because the first exception carries the text.
        raise StoreError(
            f"Store {self._store!r} could not encrypt the secret for {place}: {why}",
            "Check `recipients` in the store's options.",
        )

    def decrypt(self, place: Place, data: bytes) -> Secret:
        """The secret in an age file. Raises ``StoreError``."""
        where = f"{place} in {self._folder}"
        if len(data) > LARGEST or not data.startswith(_HEADERS):
            raise StoreError(
                f"Store {self._store!r} could not read {where}: it is not an age file",
                "Something else wrote it. Move it away, then let keyform write the secret again.",
            )
        identities = self._readers()
        if identities is None:
            raise self._no_identity(f"{place} was written for one")
        try:
            return Secret(pyrage.decrypt(data, identities).decode())
        except pyrage.DecryptError as refused:
            why, do = (
                f"{refused}",
                f"The identity {self._identity} does not open it, or the file is damaged. Set "
                f"{age_identity.ENVIRONMENT} to the identity it was written for, or restore the file. Where "
                "the store's options name `recipients`, that identity's public key must be among them.",
            )
        except UnicodeDecodeError:
            why, do = "it does not hold text", "Something else wrote it. Move it away and run it again."
        raise StoreError(f"Store {self._store!r} could not open {where}: {why}", do)
