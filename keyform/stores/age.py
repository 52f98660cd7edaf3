"""The age store: one standard age file per secret, ``FOLDER/PATH.age``, that any age tool opens.

The plaintext is exactly the secret's text. age files have no fields and no room for labels, so a place
with a field is refused and labels are left out. Symbolic links inside the folder are never followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import secrets as _random
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from keyform import files
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores import age_identity, age_names
from keyform.stores.age_keys import LARGEST, AgeKeys
from keyform.stores.canary import keeps
from keyform.stores.over import allow, allow_deletion, taken

_T = TypeVar("_T")
_BEFORE = ".before"
"""Behind the name of a file: what the last write of a known value replaced."""


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

    readable = True

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
        given = tuple(
            age_identity.parse_recipient(text, f"A recipient of store {name!r}") for text in recipients
        ) + tuple(r for path in recipients_files for r in age_identity.read_recipients(path))
        self._flushed: set[tuple[int, int]] = set()  # folders whose name in the one above is on the disk
        self._keys = AgeKeys(name, folder, identity or age_identity.default_identity(os.environ), given)

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        age_names.file_parts(self.name, self._folder, place)
        age_names.check_portable(self.name, place)

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. Also clears away what killed processes left half written."""
        self._keys.check()
        for folder, _, _ in os.walk(self._folder):
            with contextlib.suppress(OSError):
                files.sweep(Path(folder))
        place = Place(self.name, f"keyform-canary-{_random.token_hex(8)}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._folder}",
                "Check the disk, and that no other program rewrites files there.",
            )

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`."""
        above = next(path for path in (self._folder, *self._folder.absolute().parents) if path.exists())
        if not os.access(above, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(
                f"Store {self.name!r} may not read and write {above}",
                "Check who owns the folder, and its permissions.",
            )
        try:
            files.check_room(above)
        except OSError as problem:
            raise StoreError(
                f"Store {self.name!r} could not write to {self._folder}: {files.reason(problem)}",
                files.advice(problem),
            ) from None
        return f"secrets can be written to {self._folder}; {self._keys.check()}"

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> str:
        """See :class:`~keyform.ports.Store`. ``labels`` are left out: an age file has no room for them."""
        parts = age_names.file_parts(self.name, self._folder, place)
        data = self._keys.encrypt(place, secret)
        # A file system replaces what is there or creates what is not, each in one step; it has no way to
        # replace one certain content.
        if over not in (ANYTHING, None):
            present = self.get(place)
            if present == secret:
                return self._version(place)
            allow(self.name, place, over, present)

        def write() -> bool:
            with self._folders(parts[:-1], create=True) as chain:
                self._refuse_link(chain[-1], parts[-1])
                if isinstance(over, Secret):
                    self._keep(chain[-1], parts[-1])
                write = files.create_file if over is None else files.replace_file
                if write(chain[-1], parts[-1], data) is False:
                    return False
                # Another thread may have made the folders and not flushed them yet; once is enough for each.
                for folder, child in reversed(list(itertools.pairwise(chain))):
                    made = os.fstat(child)
                    if (made.st_dev, made.st_ino) not in self._flushed:
                        files.sync(folder)
                        self._flushed.add((made.st_dev, made.st_ino))
                return True

        if not self._attempt("write", place, write):
            if self.get(place) != secret:
                raise taken(self.name, place)
            return self._version(place)
        return _version(data)

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is a digest of the file, and no two
        writes make the same file."""
        data = self._read(place)
        return None if data is None else Held(_version(data))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Of older versions, an age folder keeps the one that the last
        write over a known value replaced."""
        data = self._read(place)
        if version is not None and (data is None or version != _version(data)):
            data = self._read(place, _BEFORE)
            if data is None or version != _version(data):
                return None
        return None if data is None else self._keys.decrypt(place, data)

    def _version(self, place: Place) -> str:
        held = self.look(place)
        return held.version or "" if held else ""

    def _keep(self, folder: int, name: str) -> None:
        """Keep what a file holds beside it: the key may be rolled back to it."""
        with contextlib.suppress(FileNotFoundError):
            present = self._content(folder, name)
            try:
                files.replace_file(folder, name + _BEFORE, present)
            except OSError as problem:
                if problem.errno != errno.ENAMETOOLONG:  # then a rollback is not to be had
                    raise

    def _content(self, folder: int, name: str) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=folder)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EISDIR, "it is not a regular file")
            return files.read_all(fd, min(found.st_size, LARGEST) + 1)
        finally:
            os.close(fd)

    def _read(self, place: Place, suffix: str = "") -> bytes | None:
        parts = age_names.file_parts(self.name, self._folder, place)

        def read() -> bytes | None:
            try:
                with self._folders(parts[:-1], create=False) as chain:
                    return self._content(chain[-1], parts[-1] + suffix)
            except OSError as problem:
                if isinstance(problem, FileNotFoundError) or (suffix and problem.errno == errno.ENAMETOOLONG):
                    return None
                raise

        return self._attempt("read", place, read)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. Folders that become empty go too."""
        parts = age_names.file_parts(self.name, self._folder, place)
        if over != ANYTHING:  # a file system has no way to remove one certain content
            allow_deletion(self.name, place, over, self.get(place))

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError), self._folders(parts[:-1], create=False) as chain:
                self._refuse_link(chain[-1], parts[-1])
                for name in (parts[-1] + _BEFORE, parts[-1]):
                    _unlink(chain[-1], name)
                # rmdir takes only empty folders, so a writer's file is safe; a writer whose folder goes
                # before it has a file there makes the folder anew.
                for parent, child in reversed(list(zip(chain, parts[:-1], strict=False))):
                    try:
                        os.rmdir(child, dir_fd=parent)
                    except OSError:
                        break
                    files.sync(parent)

        self._attempt("delete", place, remove)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`."""
        parts = age_names.file_parts(self.name, self._folder, place)
        kept = self._read(place, _BEFORE)
        if kept is None or _version(kept) != version:
            return

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError), self._folders(parts[:-1], create=False) as chain:
                _unlink(chain[-1], parts[-1] + _BEFORE)

        self._attempt("delete", place, remove)

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""

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


def _unlink(folder: int, name: str) -> None:
    """Remove a file that may be gone, or that can never have been."""
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
    else:
        files.sync(folder)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
