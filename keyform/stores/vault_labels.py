"""Labels of secrets in the custom metadata of their path, ``keyform.FIELD.LABEL`` each, since several fields
may share a path."""

from __future__ import annotations

from collections.abc import Mapping

from keyform.model import Secret, fingerprint, fingerprint_matches

_OF = "fingerprint"
"""The entry that tells the value the labels belong to: they are not written in one step with it."""

_LONGEST_NAME = 128
_LONGEST_TEXT = 512
"""In bytes; https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 (``custom_metadata``)."""


def labels_of(metadata: Mapping[str, str], field: str, value: Secret) -> dict[str, str]:
    """The labels of a field, if they are those of this value."""
    there = _entries(metadata, field)
    return there if fingerprint_matches(value, there.pop(_OF, "")) else {}


def label_entries(
    metadata: Mapping[str, str], field: str, labels: Mapping[str, str], value: Secret
) -> dict[str, str | None]:
    """What to change in ``metadata`` so that the field has these labels, None for what is to go. Empty where
    nothing changes, and where the server would have no room for them."""
    wanted = {label: text for label, text in labels.items() if text}
    if not wanted or wanted == labels_of(metadata, field, value):
        return {}
    wanted[_OF] = fingerprint(value)
    entries = {_name(field, label): wanted.get(label) for label in {**_entries(metadata, field), **wanted}}
    fits = all(
        len(entry.encode()) <= _LONGEST_NAME and len((text or "").encode()) <= _LONGEST_TEXT
        for entry, text in entries.items()
    )
    return entries if fits else {}


def label_removals(metadata: Mapping[str, str], field: str) -> dict[str, str | None]:
    """What to change so that the field has no labels."""
    return {_name(field, label): None for label in _entries(metadata, field)}


def _name(field: str, label: str) -> str:
    return f"keyform.{field}.{label}"


def _entries(metadata: Mapping[str, str], field: str) -> dict[str, str]:
    start = _name(field, "")
    found = {entry.removeprefix(start): text for entry, text in metadata.items() if entry.startswith(start)}
    return {label: text for label, text in found.items() if "." not in label}
