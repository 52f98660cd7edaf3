"""Labels as AWS tags: ``keyform:address``, ``keyform:key_id`` and so on, for the field F of a secret
``keyform:address:F``.

AWS writes values and tags in two calls, so a tag ``keyform:of-version`` says which version the labels are
those of; labels of another version count as none. What AWS does not take in a tag is written as ``=`` and two
hexadecimal digits for each byte of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

_PREFIX = "keyform:"
_VERSION = "of-version"
CREATED = f"{_PREFIX}created-by"
"""On secrets that exist because keyform made them."""

# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_LONGEST_NAME, _LONGEST_VALUE, MOST = 128, 256, 50
_NOT_TAKEN = re.compile(r"[^A-Za-z0-9_./+@-]")


def tags_of(labels: Mapping[str, str], version: str, field: str | None = None) -> dict[str, str]:
    """The tags for the labels of a write. One that is too long for a tag is left out."""
    named = {_name(name, field): _quoted(text) for name, text in {**labels, _VERSION: version}.items()}
    return {n: t for n, t in named.items() if len(n) <= _LONGEST_NAME and len(t) <= _LONGEST_VALUE}


def labels_of(tags: Mapping[str, str], version: str, field: str | None = None) -> dict[str, str]:
    """The labels of the write that made this version; none where the tags are those of another one."""
    if tags.get(_name(_VERSION, field)) != _quoted(version):
        return {}
    found = {}
    for tag, text in tags.items():
        name = _part(tag)
        if tag == _name(name, field) and tag != CREATED and name != _VERSION:
            found[name] = _unquoted(text)
    return found


def carried(tags: Mapping[str, str], before: str, now: str) -> dict[str, str]:
    """The tags that make labels of the fields as of version ``before`` those of ``now``, which a write to
    another field made."""
    return {
        tag: _quoted(now)
        for tag, version in tags.items()
        if tag.startswith(f"{_PREFIX}{_VERSION}") and version == _quoted(before)
    }


def names_of(tags: Iterable[str], field: str | None = None) -> list[str]:
    """The tags that hold the labels of a place."""
    return [tag for tag in tags if tag == _name(_part(tag), field) and tag != CREATED]


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as requests have them."""
    return [{"Key": name, "Value": text} for name, text in tags.items()]


def as_mapping(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Tags as answers have them."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags or ()}


def _part(tag: str) -> str:
    return tag.removeprefix(_PREFIX).partition(":")[0]


def _name(label: str, field: str | None) -> str:
    return f"{_PREFIX}{label}" + (f":{_quoted(field)}" if field is not None else "")


def _quoted(text: str) -> str:
    return _NOT_TAKEN.sub(
        lambda found: "".join(f"={byte:02X}" for byte in found[0].encode(errors="replace")), text
    )


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text.replace("%", "%25").replace("=", "%")).decode(errors="replace")
