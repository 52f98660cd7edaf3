"""Labels of secrets in the custom metadata of their path, ``keyform.FIELD.LABEL`` each, since several fields
may share a path."""

from __future__ import annotations

from collections.abc import Mapping

WRITTEN = "version"
"""The entry that says which version the labels belong to: metadata has no versions of its own."""

_LONGEST_NAME = 128
_LONGEST_TEXT = 512
"""In bytes; https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 (``custom_metadata``)."""


def labels_of(metadata: Mapping[str, str], field: str) -> dict[str, str]:
    """The labels of a field, :data:`WRITTEN` among them."""
    start = f"keyform.{field}."
    found = {entry.removeprefix(start): text for entry, text in metadata.items() if entry.startswith(start)}
    return {label: text for label, text in found.items() if "." not in label}


def label_entries(
    metadata: Mapping[str, str], field: str, labels: Mapping[str, str], version: int
) -> dict[str, str | None]:
    """What to change in ``metadata`` so that the field has these labels, None for what is to go. Empty where
    nothing changes, and where the server would have no room for them."""
    there = labels_of(metadata, field)
    wanted = {label: text for label, text in labels.items() if text}
    if wanted:
        wanted[WRITTEN] = str(version)
    if there == wanted:
        return {}
    entries = {f"keyform.{field}.{label}": wanted.get(label) for label in {**there, **wanted}}
    fits = all(
        len(entry.encode()) <= _LONGEST_NAME and len((text or "").encode()) <= _LONGEST_TEXT
        for entry, text in entries.items()
    )
    return entries if fits else {}
