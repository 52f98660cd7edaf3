"""A store that is the user's own commands: one to write, one to delete, and one to read or to look.

A secret goes to the command's standard input and comes from its standard output, and is never among its
arguments or in its environment. Commands are lists, run without a shell; ``{path}`` and ``{field}`` in them
stand for those of the place, and ``KEYFORM_…`` variables tell the rest.
"""

from __future__ import annotations

import json
import re
import secrets as _random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyform.errors import StoreError
from keyform.masking import in_json, without_opaque
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.over import allow, allow_deletion, allow_held
from keyform.stores.programs import Ended, run, small_environment
from keyform.stores.quoting import quoted
from keyform.stores.turns import Turn, settled, turn

ABSENT = 44
"""Exit code that means "there is no such secret" unless ``absent`` names others."""
_PLACEHOLDER = re.compile(r"\{(path|field)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHELLS = ("sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "zsh")
_SCRIPT_OPTION = re.compile(r"-[A-Za-z]*c\Z")
_COMMANDS = ("put", "get", "delete", "look")


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> ExecStore:
    """The store that a configuration declares.

    Options: the commands ``put`` and ``delete``, and ``get`` or ``look`` or both; ``absent`` (exit codes that
    mean that there is no such secret), ``environment`` (names of variables that the commands get; ``NAME*``
    for all that start so), ``line_end`` (True: a line end follows the secret on its way in and out) and
    ``timeout`` (seconds that a command may take, by default 30). Raises ``StoreError``.
    """
    commands = {verb: _absolute(options[verb], project_folder) for verb in _COMMANDS if options.get(verb)}
    missing = [verb for verb in ("put", "delete") if verb not in commands]
    if missing or not ("get" in commands or "look" in commands):
        raise StoreError(
            f"Store {name!r} lacks the command `{missing[0] if missing else 'get'}`",
            "Give `put` and `delete`, and `get` or `look`, so that keyform can see what became of a write.",
        )
    with_field = {verb for verb, command in commands.items() if "{field}" in "".join(command)}
    if with_field and with_field != commands.keys():
        raise StoreError(
            f"Store {name!r}: `{min(with_field)}` has `{{field}}`, and "
            f"`{min(commands.keys() - with_field)}` has not",
            "Use it in all of the commands, or in none.",
        )
    return ExecStore(
        name,
        commands,
        project_folder,
        env,
        fields=bool(with_field),
        absent=tuple(options.get("absent", (ABSENT,))),
        environment=tuple(options.get("environment", ())),
        line_end=bool(options.get("line_end", False)),
        timeout=float(options.get("timeout", 30)),
    )


def _absolute(command: Sequence[object], folder: Path) -> tuple[str, ...]:
    """A command whose program, where it has a slash, is found from the project's folder."""
    program, *arguments = map(str, command)
    return (str((folder / program).absolute()) if "/" in program else program, *arguments)


def _spliced(command: Sequence[str]) -> bool:
    """Whether the script that a shell is given with ``-c`` has a placeholder in it."""
    words = iter(command)
    return (
        any(Path(word).name in _SHELLS for word in words)
        and any(_SCRIPT_OPTION.match(word) for word in words)
        and _PLACEHOLDER.search(next(words, "")) is not None
    )


class ExecStore:
    """A :class:`~keyform.ports.Store` over commands. See :func:`open_store`."""

    def __init__(
        self,
        name: str,
        commands: Mapping[str, tuple[str, ...]],
        folder: Path,
        env: Mapping[str, str],
        *,
        fields: bool,
        absent: tuple[int, ...],
        environment: tuple[str, ...],
        line_end: bool,
        timeout: float,
    ) -> None:
        self.name = name
        self.readable = "get" in commands
        self._commands = commands
        self._folder = folder
        self._env = env
        self._fields = fields
        self._absent = absent
        self._environment = environment
        self._end = b"\n" if line_end else b""
        self._timeout = timeout

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        texts = [place.path] if place.field is None else [place.path, place.field]
        if place.field is None and self._fields:
            why, do = "its commands name a field", "Write `secret: {path: …, field: …}`."
        elif place.field is not None and not self._fields:
            why, do = "its commands name no field", "Leave `field` out, or put `{field}` into the commands."
        elif any(not text or _CONTROL.search(text) for text in texts):
            why, do = "a command cannot be given an empty name or control characters", "Write plain text."
        elif any(text.startswith("-") for text in texts):
            why, do = "a command could take a name that starts with - for an option", "Choose another name."
        elif any(not text.isprintable() for text in texts):
            why, do = "its name holds characters that cannot be shown", "Take them out."
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for a secret that is not there."""
        for verb, command in self._commands.items():
            if shutil.which(command[0], path=self._env.get("PATH")) is None:
                raise StoreError(
                    f"Store {self.name!r}: the program {command[0]} of `{verb}` cannot be found or run",
                    "Install it, or check its name and that it is in PATH and executable.",
                )
        self._expect_nothing(self._canary(), "was never written")
        done = ", ".join(f"`{verb}`" for verb in self._commands)
        told = f"the programs of {done} are there, and tell of a secret that is not"
        spliced = [f"`{verb}`" for verb, command in self._commands.items() if _spliced(command)]
        if spliced:
            told += (
                f"; {' and '.join(spliced)} put {{path}} or {{field}} into a script, where a shell takes it "
                'for code: write "$KEYFORM_PATH" and "$KEYFORM_FIELD" there'
            )
        return told

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = self._canary()
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r}: `get` gave something else than `put` was given",
                "Both must pass the secret on as it is. If a line end comes behind it, set `line_end: true`.",
            )
        self._expect_nothing(place, "was deleted")

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`."""
        self._settled(place)
        return self._look(place)

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Older versions cannot be asked for."""
        self._settled(place)
        if not self.readable:
            raise StoreError(
                f"Store {self.name!r} cannot read {place}: it has no command `get`",
                "Add one, or keep the secret in a second store too.",
            )
        if version is not None:
            held = self._look(place)
            if held is None or held.version != version:
                return None
        return self._get(place)

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`. ``over`` is looked at before the command is run; processes of
        keyform take turns meanwhile. ``labels`` go to the command as variables."""
        self.check(place)
        data = self._encoded(place, secret)
        with turn(self.name, self._turn(place), self._env, self._patience) as lock:
            if over != ANYTHING:
                if self.readable:
                    present = self._get(place)
                    if present == secret:
                        return self._version(place, secret)
                    allow(self.name, place, over, present)
                else:
                    allow_held(self.name, place, over, self._look(place))
            self._run("put", place, data, labels, (secret,), lock)
            return self._version(place, secret)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        with turn(self.name, self._turn(place), self._env, self._patience) as lock:
            if over != ANYTHING:
                present = self._get(place) if self.readable else self._look(place)
                allow_deletion(self.name, place, over, present)
            self._run("delete", place, lock=lock)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""

    def _turn(self, place: Place) -> tuple[str, str]:
        """By the command, which other stores may have too, and by the store, whose commands may be edited
        while one of them is still running."""
        where = f"{place.path} {place.field}"
        return f"exec {self._commands['put']} {where}", f"exec in {self._folder} {self.name} {where}"

    @property
    def _patience(self) -> float:
        """Seconds to wait for others, each of which may run three commands in its turn."""
        return max(240.0, 3 * self._timeout)

    def _settled(self, place: Place) -> None:
        self.check(place)
        settled(self.name, self._turn(place), self._env, self._patience)

    def _look(self, place: Place) -> Held | None:
        if "look" not in self._commands:
            return None if self._get(place) is None else Held()
        ended = self._run("look", place)
        return None if ended is None else self._held(place, ended.output)

    def _get(self, place: Place) -> Secret | None:
        ended = self._run("get", place)
        if ended is None:
            return None
        try:
            return Secret(ended.output.removesuffix(self._end).decode())
        except UnicodeDecodeError:
            pass
        # Raised out here because the first exception carries the output.
        raise StoreError(
            f"Store {self.name!r}: `get` of {place} gave no text", "It must print the secret alone."
        )

    def _canary(self) -> Place:
        name = f"keyform-canary-{_random.token_hex(8)}"
        return Place(self.name, name, "value" if self._fields else None)

    def _expect_nothing(self, place: Place, why: str) -> None:
        if self.look(place) is not None:
            raise StoreError(
                f"Store {self.name!r}: its commands show a secret at {place}, which {why}",
                f"`get` and `look` must exit with {self._codes()} where there is none; `delete` must delete.",
            )

    def _codes(self) -> str:
        return " or ".join(map(str, self._absent))

    def _encoded(self, place: Place, secret: Secret) -> bytes:
        try:
            return secret.reveal().encode() + self._end
        except UnicodeEncodeError:
            pass
        raise StoreError(
            f"Store {self.name!r} cannot keep {place}: the secret is not valid Unicode text",
            "See what the key service gave.",
        )

    def _version(self, place: Place, secret: Secret) -> str | None:
        """The version of what was just written. It goes into the state, where no secret may be."""
        if "look" not in self._commands:
            return None
        held = self._look(place)
        if held is None:
            raise StoreError(
                f"Store {self.name!r}: `put` of {place} succeeded, and `look` sees no secret there",
                "See what the commands do with the same path.",
            )
        if in_json(json.dumps([held.version, *held.labels.values()], ensure_ascii=False).encode(), secret):
            raise StoreError(
                f"Store {self.name!r}: what `look` of {place} tells is the secret itself",
                "Its version goes into the state. Let it be a number, a time or a hash, never the value.",
            )
        return held.version

    def _held(self, place: Place, output: bytes) -> Held:
        try:
            told = json.loads(output)
            version, labels = told.get("version"), told.get("labels", {})
            if isinstance(version, str | int | None) and (version or self.readable):
                pairs = {str(name): str(value) for name, value in labels.items()}
                return Held(None if version is None else str(version), pairs)
        except (ValueError, AttributeError, RecursionError):
            pass
        needed = "version" if self.readable else "version, which is another one after every write"
        raise StoreError(
            f"Store {self.name!r}: what `look` of {place} tells cannot be understood",
            f'It must print a JSON object like {{"version": "7", "labels": {{}}}} with a {needed}.',
        )

    def _run(
        self,
        verb: str,
        place: Place,
        stdin: bytes = b"",
        labels: Mapping[str, str] | None = None,
        hide: Iterable[Secret] = (),
        lock: Turn = (),
    ) -> Ended | None:
        """Run a command; None where it says that there is no such secret."""
        values = {"path": place.path, "field": place.field or ""}
        command = [_PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in self._commands[verb]]
        env = small_environment(self._env, self._environment)
        known = {"operation": verb, "store": self.name, **values, **(labels or {})}
        env.update(
            (f"KEYFORM_{re.sub('[^A-Z0-9]', '_', name.upper())}", text) for name, text in known.items()
        )
        doing = f"Store {self.name!r} could not {verb} {place}"
        ended = run(doing, command, stdin, env, self._folder, self._timeout, lock)
        if ended.code == 0:
            return ended
        if ended.code in self._absent and verb != "put":
            return None
        how = f"was ended by signal {-ended.code}" if ended.code < 0 else f"ended with code {ended.code}"
        # Its error output may repeat a secret: what a failed `get` printed, what is there, what was there.
        printed = Secret(ended.output.decode(errors="replace"))
        said = without_opaque(quoted(ended.told, (*hide, printed)))
        raise StoreError(
            f"{doing}: {command[0]} {how}" + (f' and said "{said}"' if said else ""),
            f"See what the command says; {self._codes()} alone means that there is no such secret.",
        )
