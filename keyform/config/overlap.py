"""Stores that keep their secrets in one place: a key of one would write over a key of the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from keyform.config.configuration import StoreConfig
from keyform.config.merge import Merged
from keyform.config.sections import digestible, is_known
from keyform.documents.problems import Problems
from keyform.model import canonical_json

FolderOf = Callable[[StoreConfig, Path], Path | None]
"""The folder where a store keeps its files, None for one that keeps none."""


def report_overlaps(
    merged: Merged,
    stores: Mapping[str, StoreConfig],
    used: Collection[str],
    folder: Path,
    folder_of: FolderOf,
    problems: Problems,
) -> None:
    """Record each store that shares a folder, or whole options, with one before it. ``used`` are the stores
    that keys name, for ``local`` need not be declared."""
    files: list[tuple[str, Path]] = []
    others: dict[bytes, str] = {}
    for name, store in stores.items():
        entry = merged.stores.get(name)
        if entry is None and name not in used:
            continue
        if entry is not None and not is_known(entry.body.keys() - {"type"}, store.options):
            continue
        path = folder_of(store, folder)
        if path is not None:
            real = path.resolve()
            twin = next((n for n, p in files if real.is_relative_to(p) or p.is_relative_to(real)), None)
            same = (twin, real) in files
            what = f"both keep their files in {path}" if same else "the folder of one lies in the other's"
            files.append((name, real))
        else:
            options = canonical_json([store.type, digestible(store.options)])
            twin = others.setdefault(options, name)
            what = "they have the same options"
        if twin is None or twin == name:
            continue
        # One of the two is declared, since only `local` may be missing.
        here, there = (entry, merged.stores.get(twin)) if entry else (merged.stores[twin], None)
        problems.error(
            "same-store",
            here.at(),
            f"the stores `{twin}` and `{name}` are one place: {what}",
            "Keep one of the two, or give each a place of its own."
            if there
            else "The store `local` exists without being declared. Use one of the two.",
            on_name=True,
            also=(f"`{twin}` is at", there.at()) if there else None,
        )
