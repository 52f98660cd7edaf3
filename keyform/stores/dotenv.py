"""A .env file for local development: one variable per secret, in clear text, readable by its owner alone.

The path of a place is the variable's name. Other lines, comments and the order stay as they are.
"""

from __future__ import annotations

import os
import re
import secrets as _random
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyform import files
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.dotenv_text import Unwritable, unreadable_line, value_of, with_value
from keyform.stores.over import allow, allow_deletion
from keyform.stores.programs import run, small_environment
from keyform.stores.turns import turn

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_LARGEST = 16 << 20
_MEND = "Mend that line, or give the store a file of its own."


def folder_of(options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]) -> Path:
    """Where a store with these options keeps its secrets: a file."""
    text = str(options.get("file", ".env"))
    if text.startswith("~/") and env.get("HOME"):
        return Path(env["HOME"], text[2:])
    return project_folder / Path(text).expanduser()


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> DotenvStore:
    """The store that a configuration declares. Options: ``file`` (default ``.env``, from ``project_folder``)
    and ``tracked`` (True: git may keep the file)."""
    return DotenvStore(
        name, folder_of(options, project_folder, env), env, tracked=options.get("tracked", False)
    )


class DotenvStore:
    """A :class:`~keyform.ports.Store` over one .env file. See :func:`open_store`."""

    readable = True

    def __init__(self, name: str, file: Path, env: Mapping[str, str], *, tracked: bool = False) -> None:
        self.name = name
        self._file = file
        self._env = env
        self._tracked = tracked
        self._untracked = False  # until git has been asked

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        if place.field is not None:
            why, do = (
                "a variable has no fields",
                f"Give it a name of its own, such as {place.path}_{place.field}.",
            )
        elif not _NAME.match(place.path):
            usual = re.sub(r"[^A-Za-z0-9_]", "_", place.path).upper()
            why = "a variable's name has letters, digits and _ alone, and no digit at its start"
            do = f"Write it like {usual}." if _NAME.match(usual) else "Choose another name."
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`."""
        self._guard()
        present = self._read("read")
        above = next(path for path in self._file.absolute().parents if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise StoreError(
                f"Store {self.name!r} may not write to {above}",
                "Check who owns the folder, and its permissions.",
            )
        try:
            files.check_room(above)
        except OSError as problem:
            raise self._failed("write to", problem) from None
        line = None if present is None else unreadable_line(present)
        if line is not None:
            raise StoreError(f"Store {self.name!r} cannot write secrets: {self._bad(line)}", _MEND)
        told = "is there" if present is not None else "is made with the first secret"
        if present is not None and self._file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            told += "; other users may read it until keyform writes to it"
        if self._git("check-ignore", "-q") == 1:
            told += "; git does not ignore it: add it to .gitignore"
        return f"secrets can be written to {self._file}, which {told}"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = Place(self.name, f"KEYFORM_CANARY_{_random.token_hex(8).upper()}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._file}",
                "Check that no other program rewrites the file.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. A file has no versions."""
        return None if self.get(place) is None else Held()

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        document = self._read(f"read {place} from")
        text = None if document is None or version is not None else value_of(document, place.path)
        return None if text is None else Secret(text)

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A file has no room for labels."""
        self.check(place)
        self._guard()
        with turn(self.name, f"dotenv {self._file.resolve()}", self._env):
            document = self._read(f"write {place} to") or ""
            present = value_of(document, place.path)
            if over == ANYTHING or present != secret.reveal():
                allow(self.name, place, over, None if present is None else Secret(present))
            self._write(place, self._changed(place, document, secret.reveal()))

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A file in which nothing is left goes too."""
        self.check(place)
        with turn(self.name, f"dotenv {self._file.resolve()}", self._env):
            document = self._read(f"delete {place} from")
            present = None if document is None else value_of(document, place.path)
            if document is not None and present is not None:
                allow_deletion(self.name, place, over, Secret(present))
                self._write(place, self._changed(place, document, None))

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""

    def _bad(self, line: int) -> str:
        return f"line {line} of {self._file} is not NAME=VALUE"

    def _changed(self, place: Place, document: str, text: str | None) -> bytes:
        """The file's new bytes, in which everything else reads as before."""
        line = unreadable_line(document)
        if line is not None:
            raise StoreError(f"Store {self.name!r} cannot change {place}: {self._bad(line)}", _MEND)
        why = ""
        try:
            return with_value(document, place.path, text).encode()
        except Unwritable as unwritable:
            why = f"{unwritable}"
        except UnicodeEncodeError:
            why = "it is not valid Unicode text"
        # Raised out here because the first exception carries the text.
        raise StoreError(
            f"Store {self.name!r} cannot keep {place} in {self._file}: {why}", "Keep it in another store."
        )

    def _read(self, doing: str) -> str | None:
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise self._failed(doing, problem) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise IsADirectoryError(21, "it is not a regular file")
            return files.read_all(fd, _LARGEST).decode()
        except OSError as problem:
            raise self._failed(doing, problem) from None
        except UnicodeDecodeError:
            pass
        finally:
            os.close(fd)
        raise StoreError(
            f"Store {self.name!r} could not {doing} {self._file}: it is not a text in UTF-8",
            "Write the file anew, or choose another one.",
        )

    def _write(self, place: Place, data: bytes) -> None:
        try:
            if data:
                files.make_folders(self._file.parent)
                files.write_private(self._file, data)
            else:
                self._file.unlink(missing_ok=True)
                files.sync_folder(self._file.parent)
        except OSError as problem:
            raise self._failed(f"write {place} to", problem) from None

    def _failed(self, doing: str, problem: OSError) -> StoreError:
        return StoreError(
            f"Store {self.name!r} could not {doing} {self._file}: {files.reason(problem)}",
            files.advice(problem),
        )

    def _guard(self) -> None:
        """Refuse (``StoreError``) a file that git keeps: with the next commit its secrets would be in it."""
        if not self._tracked and not self._untracked:
            if self._git("ls-files", "--error-unmatch") == 0:
                raise StoreError(
                    f"Store {self.name!r}: git keeps {self._file}: its secrets would be in the next commit",
                    f"Run `git rm --cached {self._file.name}` and add it to .gitignore; `tracked: true` on "
                    "the store allows it all the same.",
                )
            self._untracked = True

    def _git(self, *command: str) -> int | None:
        """How a question to git about the file ends; None where there is no git or no repository."""
        folder = self._file.parent
        if not folder.is_dir():
            return None
        env = small_environment(self._env)
        asked = ["git", "-C", str(folder), *command, "--", self._file.name]
        try:
            code = run(f"Store {self.name!r}", asked, b"", env, folder, 10.0).code
        except StoreError:
            return None
        return code if code in (0, 1) else None
