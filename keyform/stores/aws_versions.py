"""A version of a secret in AWS Secrets Manager, and the fields of the JSON object that it may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
WRITTEN = "KEYFORM"
"""The staging label of the version that keyform wrote last; it is current too once it has been read back."""
EMPTY = "KEYFORM_EMPTY"
"""The staging label of a version that stands for no value, its text being ``{}``."""


@dataclass(frozen=True, slots=True)
class Version:
    """``text`` is None where somebody stored binary data."""

    id: str
    text: Secret | None
    stages: tuple[str, ...]


def members(store: str, place: Place, version: Version) -> dict[str, Any]:
    """The JSON object of a version. Raises ``StoreError`` where it holds something else."""
    try:
        found = json.loads(_text(store, place, version).reveal())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        # Raised out here because the first exception carries the text.
        raise StoreError(
            f"Store {store!r}: {place} names a field, and what is stored at {place.path} is no JSON object",
            "Leave out `field` to replace the whole of it, or choose another path.",
        )
    return found


def value_in(store: str, place: Place, version: Version) -> Secret | None:
    """What a version holds in a place, or None. Raises ``StoreError`` for what keyform cannot read."""
    if EMPTY in version.stages:
        return None
    if place.field is None:
        return _text(store, place, version)
    value = members(store, place, version).get(place.field)
    return None if value is None else Secret(value if isinstance(value, str) else json.dumps(value))


def json_text(fields: Mapping[str, Any]) -> Secret:
    """A JSON object as it is stored, in the order that it has."""
    return Secret(json.dumps(fields, ensure_ascii=False))


def check_text(store: str, place: Place, text: Secret, largest: int) -> None:
    """Refuse (``StoreError``) what AWS does not take for a value: none, more than ``largest`` bytes, or what
    is no Unicode."""
    try:
        size = len(text.reveal().encode())
    except UnicodeEncodeError:
        size = -1
    if 0 < size <= largest:
        return
    if size > largest:
        what = "with the other fields of the secret, it has" if place.field is not None else "it has"
        why, do = f"{what} {size:,} bytes, and AWS takes {largest:,}", "Keep it at a path of its own."
    elif size == 0:
        why, do = "AWS stores no empty value", "Check where it comes from."
    else:
        why, do = "it is not valid Unicode text", "Check where it comes from."
    raise StoreError(f"Store {store!r} cannot keep the secret for {place}: {why}", do)


def _text(store: str, place: Place, version: Version) -> Secret:
    if version.text is None:
        raise StoreError(
            f"Store {store!r}: {place} holds binary data, which keyform did not write",
            "Choose another path, or delete what is there.",
        )
    return version.text
