"""Which file of an age store holds which secret."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from keyform.errors import StoreError
from keyform.model import Place

SUFFIX = ".age"
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, the limits of common file systems

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?\Z", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ON_WINDOWS = frozenset('<>:"|?*')


def check_portable(store: str, place: Place) -> None:
    """Refuse (``StoreError``) a new place that some file system, Windows's above all, cannot hold or takes
    for another one, since the folder may be checked out there."""
    for part in place.path.split("/"):
        if _DEVICES.match(part):
            why, do = f"Windows takes `{part}` for a device", "Choose another name."
        elif _NOT_ON_WINDOWS & set(part):
            why = f"Windows cannot have `{next(c for c in part if c in _NOT_ON_WINDOWS)}` in a file name"
            do = "Write it without that character."
        elif part != part.rstrip(". "):
            why, do = f"Windows drops the dot or space at the end of `{part}`", "Take it off."
        else:
            continue
        raise StoreError(f"Store {store!r} cannot keep {place}: {why}", do)


@functools.lru_cache(maxsize=16_384)  # asked for at the check, the write and the reads of each secret
def file_parts(store: str, folder: Path, place: Place) -> tuple[str, ...]:
    """Folder names and the file name of a place. Raises ``StoreError`` for what cannot be one."""

    def refuse(why: str, do: str) -> StoreError:
        return StoreError(f"Store {store!r} cannot keep {place}: {why}", do)

    if place.field is not None:
        raise refuse(
            "an age file holds one value and has no fields",
            f"Give each value a path of its own, such as {place.path}/{place.field}.",
        )
    parts = place.path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise refuse(
            "its path has an empty, `.` or `..` part",
            "Write a plain path below the store's folder, such as prod/checkout.",
        )
    if _CONTROL.search(place.path):
        raise refuse("its path has a control character", "Take that character out.")
    if any(part.endswith(SUFFIX) for part in parts[:-1]):
        raise refuse(
            f"a folder whose name ends in {SUFFIX} could be mistaken for a secret",
            "Choose another name.",
        )
    parts[-1] += SUFFIX
    try:
        place.path.encode()
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise refuse("its path cannot be a file name here", "Use plain letters, or a UTF-8 locale.") from None
    if max(sizes) > _LONGEST_NAME:
        raise refuse(
            f"a part of its path is longer than {_LONGEST_NAME - len(SUFFIX)} bytes",
            "Choose a shorter one.",
        )
    if sum(sizes) + len(sizes) + len(os.fsencode(folder)) > _LONGEST_PATH:
        raise refuse(f"its path is longer than {_LONGEST_PATH} bytes", "Choose a shorter one.")
    return tuple(parts)
