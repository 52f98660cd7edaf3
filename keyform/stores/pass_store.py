"""The store of ``pass``, the standard Unix password manager: one file per secret, encrypted by gpg.

All is done by the programs themselves, ``pass`` and through it ``gpg`` and ``git``; a secret goes to them and
comes from them through pipes. ``pass`` writes an entry over the old one, which a crash could leave half
written; so a new value goes to an entry beside it, which ``pass`` then moves there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets as _random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keyform import files
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.over import allow, allow_deletion
from keyform.stores.pass_entry import SUFFIX, check_place, labels_in, secret_in, written
from keyform.stores.programs import Ended, run, small_environment
from keyform.stores.quoting import quoted
from keyform.stores.turns import Turn, settled, turn

_ENVIRONMENT = (
    "PASSWORD_STORE_*", "GNUPGHOME", "GPG_TTY", "GPG_AGENT_INFO", "TERM", "DISPLAY", "WAYLAND_DISPLAY",
    "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "XDG_*", "SSH_AUTH_SOCK", "GIT_AUTHOR_*", "GIT_COMMITTER_*",
    "GIT_CONFIG_*", "GIT_SSH*", "EMAIL",
)  # fmt: skip
"""What gpg needs to ask for a passphrase, and git to commit."""
_TEMPORARY = ".keyform-"


def folder_of(options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]) -> Path:
    """Where a store with these options keeps its entries."""
    home = env.get("HOME") or str(Path("~").expanduser())
    text = str(options.get("path") or env.get("PASSWORD_STORE_DIR") or "~/.password-store")
    return project_folder / (Path(home, text[2:]) if text.startswith("~/") else Path(text))


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> PassStore:
    """The store that a configuration declares.

    Options: ``path`` (default ``$PASSWORD_STORE_DIR``, or ``~/.password-store``), ``content`` (``first_line``
    or ``whole``: what of an entry is the secret) and ``timeout`` (seconds that ``pass`` may take, 60).
    """
    return PassStore(
        name,
        folder_of(options, project_folder, env),
        env,
        whole=options.get("content") == "whole",
        timeout=float(options.get("timeout", 60)),
    )


class PassStore:
    """A :class:`~keyform.ports.Store` over a password store. See :func:`open_store`."""

    readable = True

    def __init__(
        self, name: str, folder: Path, env: Mapping[str, str], *, whole: bool = False, timeout: float = 60.0
    ) -> None:
        self.name = name
        self._folder = folder
        self._whole = whole
        self._timeout = timeout
        self._home_env = env
        self._env = small_environment(env, _ENVIRONMENT) | {"PASSWORD_STORE_DIR": str(folder.absolute())}

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        check_place(self.name, place)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. gpg encrypts and decrypts a canary, which is written nowhere."""
        recipients = self._recipients()
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(
                f"Store {self.name!r} may not read and write {self._folder}",
                "Check who owns the folder, and its permissions.",
            )
        try:
            files.check_room(self._folder)
        except OSError as problem:
            raise StoreError(
                f"Store {self.name!r} could not write to {self._folder}: {files.reason(problem)}",
                files.advice(problem),
            ) from None
        self._pass("be used", "version")
        canary = _random.token_urlsafe(32).encode()
        gpg = ("gpg", "--batch", "--quiet", "--no-encrypt-to")
        to = [part for recipient in recipients for part in ("-r", recipient)]
        sealed = self._program("encrypt", [*gpg, "-e", *to], canary)
        if self._program("decrypt", [*gpg, "-d"], sealed.output).output != canary:
            raise StoreError(
                f"Store {self.name!r}: gpg gave back something else than it encrypted",
                "Try `gpg -e` and `gpg -d` by hand.",
            )
        return (
            f"secrets can be written to {self._folder} and read, with the gpg key of {', '.join(recipients)}"
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. Also clears away what killed processes left half done."""
        self._recipients()
        with self._turn() as lock:
            for left in list(self._folder.rglob(f"{_TEMPORARY}*{SUFFIX}")):
                entry = str(left.relative_to(self._folder)).removesuffix(SUFFIX)
                self._pass("clear away a half-done write", "rm", "-f", "--", entry, lock=lock)
        place = Place(self.name, f"keyform-canary-{_random.token_hex(8)}")
        if not keeps(self, place) or self._file(place).exists():
            raise StoreError(
                f"Store {self.name!r}: pass did not keep and delete what it was given in {self._folder}",
                "Try `pass insert`, `pass show` and `pass rm` by hand.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is a digest of the file, and gpg never makes the
        same file twice."""
        self.check(place)
        self._settled()
        version = self._version(place)
        if version is None:
            return None
        entry = None if self._whole else self._entry(place)
        return Held(version, {} if entry is None else labels_in(entry, whole=self._whole))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Older versions are in git at best, which is not asked."""
        self.check(place)
        self._settled()
        if version is not None and version != self._version(place):
            return None
        entry = self._entry(place)
        return None if entry is None else secret_in(entry, whole=self._whole)

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        if not self._whole and "\n" in secret.reveal():
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: the first line of an entry is the secret, and "
                "this secret has several",
                "Set `content: whole` on the store, or keep it in another one.",
            )
        self._recipients()
        with self._turn() as lock:
            entry = None if self._whole and over == ANYTHING else self._entry(place)
            if over != ANYTHING:
                present = None if entry is None else secret_in(entry, whole=self._whole)
                if present == secret:
                    return self._version(place)
                allow(self.name, place, over, present)
            content = self._encoded(place, written(entry, secret, labels, whole=self._whole))
            self._write(place, content, secret, lock)
            return self._version(place)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. Folders that become empty go too."""
        self.check(place)
        with self._turn() as lock:
            if self._file(place).exists():
                if over != ANYTHING and (entry := self._entry(place)) is not None:
                    allow_deletion(self.name, place, over, secret_in(entry, whole=self._whole))
                self._pass(f"delete {place}", "rm", "-f", "--", place.path, lock=lock)
                self._check_committed(f"delete {place}", place)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""

    def _write(self, place: Place, content: bytes, secret: Secret, lock: Turn) -> None:
        doing = f"write {place}"
        hide = (secret,)
        if (self._folder / place.path).is_dir():
            # pass would move the new entry into the folder of the same name.
            self._pass(doing, "insert", "-m", "-f", "--", place.path, stdin=content, hide=hide, lock=lock)
        else:
            above, _, _ = place.path.rpartition("/")
            beside = f"{above}/{_TEMPORARY}{_random.token_hex(8)}".removeprefix("/")
            try:
                self._pass(doing, "insert", "-m", "-f", "--", beside, stdin=content, hide=hide, lock=lock)
                self._pass(doing, "mv", "-f", "--", beside, place.path, hide=hide, lock=lock)
            finally:
                if (self._folder / f"{beside}{SUFFIX}").exists():
                    with contextlib.suppress(StoreError):  # the first problem is the one to tell
                        self._pass(doing, "rm", "-f", "--", beside, lock=lock)
        self._check_committed(doing, place)

    def _encoded(self, place: Place, content: str) -> bytes:
        try:
            return content.encode()
        except UnicodeEncodeError:
            pass
        raise StoreError(
            f"Store {self.name!r} cannot keep {place}: the secret is not valid Unicode text",
            "See what the key service gave.",
        )

    def _entry(self, place: Place) -> str | None:
        """What stands in the entry, or None when there is none."""
        if not self._file(place).is_file():
            self._recipients()  # tells a store that is not there from an entry that is not
            return None  # of a folder, pass would print what is in it
        try:
            shown = self._pass(f"read {place}", "show", "--", place.path)
        except StoreError:
            if not self._file(place).exists():  # gone meanwhile
                return None
            raise
        try:
            return shown.output.decode()
        except UnicodeDecodeError:
            pass
        raise StoreError(
            f"Store {self.name!r} could not read {place}: it does not hold text",
            "Something else wrote it. Move it away, then let keyform write the secret again.",
        )

    def _version(self, place: Place) -> str | None:
        try:
            return hashlib.sha256(self._file(place).read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            self._recipients()
            return None
        except OSError as problem:
            raise StoreError(
                f"Store {self.name!r} could not read {place} in {self._folder}: {files.reason(problem)}",
                files.advice(problem),
            ) from None

    def _file(self, place: Place) -> Path:
        return self._folder / f"{place.path}{SUFFIX}"

    def _turn(self) -> contextlib.AbstractContextManager[Turn]:
        return turn(self.name, self._what, self._home_env, 300.0)

    def _settled(self) -> None:
        settled(self.name, self._what, self._home_env, 300.0)

    @property
    def _what(self) -> str:
        return f"pass {self._folder.resolve()}"  # the whole store: git has one index

    def _recipients(self) -> list[str]:
        """Whom the store's entries are encrypted to. Raises ``StoreError`` where there is no store."""
        try:
            lines = (self._folder / ".gpg-id").read_text().splitlines()
        except OSError as problem:
            raise StoreError(
                f"Store {self.name!r}: there is no password store in {self._folder} "
                f"(.gpg-id: {files.reason(problem)})",
                f"Run `PASSWORD_STORE_DIR={self._folder} pass init YOUR-GPG-KEY`, or set the store's `path`.",
            ) from None
        named = self._env.get("PASSWORD_STORE_KEY", "").split()
        return named or [line for line in (text.partition("#")[0].strip() for text in lines) if line]

    def _check_committed(self, doing: str, place: Place) -> None:
        """Where git keeps the store, raise ``StoreError`` for a change that is not committed; ``pass`` itself
        calls that a success."""
        file = self._file(place)
        above = next(folder for folder in file.parents if folder.is_dir())
        folders = (folder for folder in (above, *above.parents) if folder.is_relative_to(self._folder))
        if not any((folder / ".git").exists() for folder in folders):
            return
        state = self._program(doing, ["git", "-C", str(above), "status", "--porcelain", "--", str(file)])
        if state.output.strip():
            raise StoreError(
                f"Store {self.name!r} could not commit {place} to git in {above}",
                "Run `pass git commit` by hand to see what git lacks: a name and an address, or a hook.",
            )

    def _pass(
        self,
        doing: str,
        *arguments: str,
        stdin: bytes = b"",
        hide: Iterable[Secret] = (),
        lock: Turn = (),
    ) -> Ended:
        return self._program(doing, ["pass", *arguments], stdin, hide, lock)

    def _program(
        self,
        doing: str,
        command: list[str],
        stdin: bytes = b"",
        hide: Iterable[Secret] = (),
        lock: Turn = (),
    ) -> Ended:
        what = f"Store {self.name!r} could not {doing}"
        ended = run(what, command, stdin, self._env, self._folder, self._timeout, lock)
        if ended.code != 0:
            raise StoreError(
                f'{what}: {command[0]} said "{quoted(ended.told, hide)}"',
                "Check that gpg has the keys that .gpg-id names, the private one of yours too, and that its "
                "agent can ask for the passphrase; `pass show` must work by hand.",
            )
        return ended
