"""What stands in an entry of a password store, and which entries there may be.

By the convention of ``pass`` the first line of an entry is the password, and what follows tells of it in
lines like ``user: alice``. keyform keeps its labels there, as ``keyform-address: keys.checkout``.
Source: https://www.passwordstore.org, "Data Organization".
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from keyform.errors import StoreError
from keyform.model import Place, Secret

SUFFIX = ".gpg"
_LABEL = "keyform-"
_LONGEST_NAME, _LONGEST_PATH = 255 - len(SUFFIX), 3_000  # bytes; paths have room for the store's own


def check_place(store: str, place: Place) -> None:
    """Refuse (``StoreError``) a place that is no entry."""
    parts = place.path.split("/")
    if place.field is not None:
        why = "an entry has no fields"
        do = f"Give each value a path of its own, such as {place.path}/{place.field}."
    elif any(part in ("", ".", "..") for part in parts):
        why, do = "its path has an empty, `.` or `..` part", "Write a plain path, such as prod/checkout."
    elif any(part.startswith((".", "-")) for part in parts):
        why, do = "a part of its path starts with a dot or a dash", "Choose another name."
    elif any(part.endswith(SUFFIX) for part in parts):
        why, do = f"a part of its path ends in {SUFFIX}", "Take that off; pass adds it."
    elif not place.path.isprintable():
        why, do = "its path has characters that cannot be shown", "Take them out."
    elif (
        max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME
        or len(os.fsencode(place.path)) > _LONGEST_PATH
    ):
        why, do = "its path is too long for a file", "Choose a shorter one."
    else:
        return
    raise StoreError(f"Store {store!r} cannot keep {place}: {why}", do)


def secret_in(entry: str, *, whole: bool) -> Secret:
    """The secret of an entry: its first line, or all of it."""
    return Secret(entry if whole else entry.partition("\n")[0])


def labels_in(entry: str, *, whole: bool) -> dict[str, str]:
    """keyform's labels in an entry."""
    if whole:
        return {}
    pairs = (line.partition(": ") for line in _others(entry) if line.startswith(_LABEL))
    return {name.removeprefix(_LABEL): value for name, separator, value in pairs if separator}


def written(entry: str | None, secret: Secret, labels: Mapping[str, str], *, whole: bool) -> str:
    """The entry with another secret and other labels, and all else in it as it was."""
    if whole:
        return secret.reveal()
    kept = [line for line in _others(entry or "") if not line.startswith(_LABEL)]
    ours = [f"{_LABEL}{name}: {' '.join(value.split())}" for name, value in labels.items()]
    return "\n".join((secret.reveal(), *kept, *ours, ""))


def _others(entry: str) -> list[str]:
    """The lines behind the first."""
    rest = entry.partition("\n")[2].removesuffix("\n")
    return rest.split("\n") if rest else []
