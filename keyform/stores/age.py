"""The age store: one standard age file per secret, ``FOLDER/PATH.age``, that any age tool opens.

The plaintext is exactly the secret's text. age files have no fields and no room for labels, so a place
with a field is refused and labels are left out. Symbolic links inside the folder are never followed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets as _random
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyrage

from keyform import files
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores import age_identity, age_names

_T = TypeVar("_T")

_LARGEST = 1 << 20  # bytes; no secret comes near, and a wrong file is not read into memory
_HEADERS = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")


def folder_of(options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]) -> Path:
    """Where a store with these options keeps its files."""
    return _located(options.get("path", ".keyform/secrets"), project_folder, env)


def _located(text: str, project_folder: Path, env: Mapping[str, str]) -> Path:
    return project_folder / (age_identity.home(env) / text[2:] if text.startswith("~/") else text)


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> AgeStore:
    """The store that a configuration declares.

    Options: ``path`` (default ``.keyform/secrets``), ``identity`` (a path), ``recipients`` (public
    keys) and ``recipients_files`` (paths). Relative paths start at ``project_folder``. Does no I/O
    except reading recipients files. Raises ``StoreError``.
    """

    folder = folder_of(options, project_folder, env)
    if options.get("identity"):
        origin = f"`identity` of store {name!r}"
        identity = project_folder / age_identity.identity_path(options["identity"], origin, env)
    else:
        identity = project_folder / age_identity.default_identity(env)
        if not env.get(age_identity.ENVIRONMENT) and identity.resolve().is_relative_to(folder.resolve()):
            raise StoreError(
                f"Store {name!r} would keep its age identity beside the secrets, in {identity}",
                f"Choose another `path`, or name the identity with `identity` or {age_identity.ENVIRONMENT}.",
            )
    return AgeStore(
        name,
        folder,
        identity=identity,
        recipients=tuple(options.get("recipients", ())),
        recipients_files=tuple(
            _located(text, project_folder, env) for text in options.get("recipients_files", ())
        ),
    )


class AgeStore:
    """A :class:`~keyform.ports.Store` over a folder of age files.

    ``identity`` (default: the user's own) opens secrets, and is created when the first secret is
    written. Secrets are written to ``recipients`` and those of ``recipients_files``; where both are
    empty, to the identity's own public keys.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        identity: Path | None = None,
        recipients: tuple[str, ...] = (),
        recipients_files: tuple[Path, ...] = (),
    ) -> None:
        self.name = name
        self._folder = folder
        self._identity = identity or age_identity.default_identity(os.environ)
        self._given = tuple(
            age_identity.parse_recipient(text, f"A recipient of store {name!r}") for text in recipients
        ) + tuple(r for path in recipients_files for r in age_identity.read_recipients(path))
        self._once = threading.Lock()
        self._flushed: set[tuple[int, int]] = set()  # folders whose name in the one above is on the disk
        self._identities: tuple[age_identity.Identity, ...] | None = None
        self._recipients = self._given

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        age_names.file_parts(self.name, self._folder, place)
        age_names.check_portable(self.name, place)

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. Also clears away what killed processes left half written."""
        if self._recipients and self._readers() is None:
            raise self._no_identity("recipients alone can only write")
        for folder, _, _ in os.walk(self._folder):
            with contextlib.suppress(OSError):
                files.sweep(Path(folder))
        place = Place(self.name, f"keyform-canary-{_random.token_hex(8)}")
        canary = Secret(_random.token_urlsafe(32))
        self.put(place, canary, {})
        try:
            found = self.get(place)
        finally:
            self.delete(place)
        if found != canary:
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._folder}",
                "Check the disk, and that no other program rewrites files there.",
            )

    def put(self, place: Place, secret: Secret, labels: dict[str, str]) -> None:
        """See :class:`~keyform.ports.Store`. ``labels`` are left out: an age file has no room for them."""
        parts = age_names.file_parts(self.name, self._folder, place)
        data = self._encrypted(place, secret)

        def write() -> None:
            with self._folders(parts[:-1], create=True) as chain:
                self._refuse_link(chain[-1], parts[-1])
                files.replace_file(chain[-1], parts[-1], data)
                # Another thread may have made the folders and not flushed them yet; once is enough for each.
                for folder, child in reversed(list(itertools.pairwise(chain))):
                    made = os.fstat(child)
                    if (made.st_dev, made.st_ino) not in self._flushed:
                        files.sync(folder)
                        self._flushed.add((made.st_dev, made.st_ino))

        self._attempt("write", place, write)

    def get(self, place: Place) -> Secret | None:
        """See :class:`~keyform.ports.Store`."""
        parts = age_names.file_parts(self.name, self._folder, place)

        def read() -> bytes | None:
            try:
                with self._folders(parts[:-1], create=False) as chain:
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    fd = os.open(parts[-1], flags, dir_fd=chain[-1])
            except FileNotFoundError:
                return None
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise OSError(errno.EISDIR, "it is not a regular file")
                return files.read_all(fd, min(found.st_size, _LARGEST) + 1)
            finally:
                os.close(fd)

        data = self._attempt("read", place, read)
        return None if data is None else self._decrypted(place, data)

    def delete(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`. Folders that become empty go too."""
        parts = age_names.file_parts(self.name, self._folder, place)

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError), self._folders(parts[:-1], create=False) as chain:
                self._refuse_link(chain[-1], parts[-1])
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(parts[-1], dir_fd=chain[-1])
                    files.sync(chain[-1])
                # rmdir takes only empty folders, so a writer's file is safe; a writer whose folder goes
                # before it has a file there makes the folder anew.
                for parent, child in reversed(list(zip(chain, parts[:-1], strict=False))):
                    try:
                        os.rmdir(child, dir_fd=parent)
                    except OSError:
                        break
                    files.sync(parent)

        self._attempt("delete", place, remove)

    # Folders

    @contextlib.contextmanager
    def _folders(self, names: tuple[str, ...], *, create: bool) -> Iterator[list[int]]:
        """Open folders from the store's own down to the last of ``names``; none is reached by a link."""
        if create:
            files.make_folders(self._folder)
        chain = [files.open_folder(self._folder)]
        try:
            for name in names:
                try:
                    chain.append(files.open_folder(name, chain[-1]))
                except FileNotFoundError:
                    if not create:
                        raise
                    files.make_folder(name, chain[-1])
                    chain.append(files.open_folder(name, chain[-1]))
                except NotADirectoryError:
                    if stat.S_ISLNK(os.lstat(name, dir_fd=chain[-1]).st_mode):
                        raise OSError(errno.ELOOP, f"the folder {name!r} is a symbolic link") from None
                    raise
            yield chain
        finally:
            for fd in chain:
                os.close(fd)

    def _refuse_link(self, folder: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                raise OSError(errno.ELOOP, "the file is a symbolic link")

    def _attempt(self, verb: str, place: Place, act: Callable[[], _T]) -> _T:
        """Run ``act``; once more where a folder went away under it; tell errors as ``StoreError``."""
        for _ in range(100):
            try:
                return act()
            except FileNotFoundError as gone:
                problem: OSError = gone
            except OSError as other:
                problem = other
                break
        raise StoreError(
            f"Store {self.name!r} could not {verb} {place} in {self._folder}: {files.reason(problem)}",
            files.advice(problem),
        )

    # Keys

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
            f"Store {self.name!r} has no age identity to read secrets back with: "
            f"there is no {self._identity}, and {why}",
            f"Restore that file, or set {age_identity.ENVIRONMENT} (or `identity` in the store's options) to "
            "the one that belongs to these secrets.",
        )

    def _encrypted(self, place: Place, secret: Secret) -> bytes:
        recipients = self._writers()
        try:
            return pyrage.encrypt(secret.reveal().encode(), recipients)
        except UnicodeEncodeError:
            why = "it is not valid Unicode text"
        except pyrage.EncryptError as refused:
            why = str(refused)
        # Raised out here because the first exception carries the text.
        raise StoreError(
            f"Store {self.name!r} could not encrypt the secret for {place}: {why}",
            "Check `recipients` in the store's options.",
        )

    def _decrypted(self, place: Place, data: bytes) -> Secret:
        where = f"{place} in {self._folder}"
        if len(data) > _LARGEST or not data.startswith(_HEADERS):
            raise StoreError(
                f"Store {self.name!r} could not read {where}: it is not an age file",
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
        raise StoreError(f"Store {self.name!r} could not open {where}: {why}", do)
