"""Where secrets go: the places of all keys, no two of them the same."""

from __future__ import annotations

import unicodedata
from typing import Any

from keyform.config.merge import Entry, Merged
from keyform.config.problems import Problems, did_you_mean
from keyform.config.values import Bad, has_control, secret_path
from keyform.model import Place, SourceRef


class Places:
    """Reads the ``secret`` of each key and remembers it, so that a second key cannot take its place."""

    def __init__(self, merged: Merged, default_store: str | None, problems: Problems) -> None:
        self._stores = merged.stores.keys() | merged.unusable["stores"] | {"local"}
        self._may_be_elsewhere = merged.incomplete
        self._default_store = default_store
        self._problems = problems
        self._taken: dict[tuple[str, str], list[tuple[Place, str, Entry]]] = {}

    def place(self, secret: Any, entry: Entry, address: str) -> Place | None:
        """The place that a ``secret`` field means; None after recording what is wrong with it."""
        if isinstance(secret, str):
            store, path, field, on_revoke, where = (
                self._default_store,
                secret,
                None,
                "delete",
                entry.at("secret"),
            )
        else:
            store, path, field = secret.get("store", self._default_store), secret["path"], secret.get("field")
            on_revoke, where = secret.get("on_revoke", "delete"), entry.at("secret", "path")
        try:
            secret_path(path)
        except Bad as bad:
            self._problems.error("bad-path", where, bad.summary, bad.detail, address=address)
            return None
        if field is not None and (not field or len(field) > 200 or has_control(field)):
            self._problems.error(
                "bad-path",
                entry.at("secret", "field"),
                "this is no name for a field of a secret",
                "Write 1 to 200 characters, or leave it out.",
                address=address,
            )
            return None
        if store is None:
            self._problems.error(
                "missing-store",
                where,
                "several stores are declared, and this names none of them",
                f"Write `secret: {{store: NAME, path: {path}}}`, or set `defaults.store`.",
                address=address,
            )
            return None
        if store not in self._stores:
            if not self._may_be_elsewhere and isinstance(secret, dict) and "store" in secret:
                self._problems.error(
                    "unknown-store",
                    entry.at("secret", "store"),
                    f"there is no store `{store}`",
                    did_you_mean(store, self._stores),
                    address=address,
                )
            return None
        place = Place(store, path, field, on_revoke)
        self._take(place, where, entry, address)
        return place

    def _take(self, place: Place, where: SourceRef, entry: Entry, address: str) -> None:
        path = place.path if place.path.isascii() else unicodedata.normalize("NFC", place.path)
        folded = (place.store, path.casefold())
        others = self._taken.get(folded)
        if others is None:
            self._taken[folded] = [(place, address, entry)]
            return
        for other, owner, owner_entry in others:
            if (
                other.path == place.path
                and None not in (other.field, place.field)
                and other.field != place.field
            ):
                continue
            detail = "Give each key a place of its own."
            if other.path != place.path:
                what = f"`{place.path}` and `{other.path}` differ only in case, and may be one place"
            elif other.field != place.field:
                what = f"`{place}` and `{other}` overlap: one is the whole entry, the other a field of it"
            else:
                what = f"{address} and {owner} write the same place `{place}`"
                if owner_entry is entry:
                    detail = "Put `${each.key}` into the path, so that each key has a place of its own."
            self._problems.error(
                "same-place",
                where,
                what,
                detail,
                address=address,
                also=(f"{owner} is at", owner_entry.at("secret")),
            )
            break
        others.append((place, address, entry))
