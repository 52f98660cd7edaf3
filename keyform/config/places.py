"""Where secrets go: the places of all keys, no two of them the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from keyform.config.declared import Declared
from keyform.config.merge import Merged
from keyform.config.values import Bad, has_control, secret_path
from keyform.diagnostics import did_you_mean
from keyform.errors import StoreError
from keyform.model import Place

CheckPlace = Callable[[Place], Place]
"""The place with everything that its store takes for granted, so that it has one name however it is written.
Raises ``StoreError`` for a place that its store cannot hold."""

At = tuple[str | int, ...]
"""Where in a key something stands."""

LONGEST_FIELD = 200


class Places:
    """Reads the ``secret`` of each key and remembers it, so that a second key cannot take its place."""

    def __init__(self, merged: Merged, default_store: str | None, check: CheckPlace) -> None:
        self._check = check
        self._stores = merged.stores.keys() | merged.unusable["stores"] | {"local"}
        self._may_be_elsewhere = merged.incomplete
        self._default_store = default_store
        self._taken: dict[tuple[str, str], list[tuple[Place, Declared, At]]] = {}

    def of(self, key: Declared) -> tuple[Place, ...] | None:
        """The places that a key's ``secret`` means; None after recording what is wrong with one."""
        secret = key.fields.get("secret")
        if secret is None:
            return None
        if not isinstance(secret, list):
            place = self._one(key, secret, ("secret",))
            return None if place is None else (place,)
        places = [self._one(key, entry, ("secret", index)) for index, entry in enumerate(secret)]
        sound = tuple(place for place in places if place is not None)
        return sound if len(sound) == len(places) else None

    def _one(self, key: Declared, secret: Any, at: At) -> Place | None:
        if isinstance(secret, str):
            place = self._place(key, self._default_store, secret, None, "delete", at, at)
        else:
            store, field = secret.get("store", self._default_store), secret.get("field")
            on_revoke = secret.get("on_revoke", "delete")
            place = self._place(key, store, secret["path"], field, on_revoke, at, (*at, "path"))
            if place is None and "store" in secret and not self._may_be_elsewhere:
                self._known_store(key, secret["store"], at)
        if place is not None:
            self._take(place, key, at)
        return place

    def _known_store(self, key: Declared, store: str, at: At) -> None:
        if store not in self._stores:
            hint = did_you_mean(store, self._stores)
            key.error("unknown-store", (*at, "store"), f"there is no store `{store}`", hint)

    def _place(
        self,
        key: Declared,
        store: str | None,
        path: str,
        field: str | None,
        on_revoke: str,
        at: At,
        path_at: At,
    ) -> Place | None:
        try:
            secret_path(path)
        except Bad as bad:
            key.error("bad-path", path_at, bad.summary, bad.detail)
            return None
        if field is not None and (not field or len(field) > LONGEST_FIELD or has_control(field)):
            key.error(
                "bad-path",
                (*at, "field"),
                "this cannot name a field of a secret",
                f"Write 1 to {LONGEST_FIELD} characters, or leave it out.",
            )
            return None
        if store is None:
            key.error(
                "missing-store",
                path_at,
                "several stores are declared, and this names none of them",
                f"Write `secret: {{store: NAME, path: {path}}}`, or set `defaults.store`.",
            )
            return None
        if store not in self._stores:
            return None
        place = Place(store, path, field, on_revoke)
        try:
            return self._check(place)
        except StoreError as refused:
            for found in refused.diagnostics:
                key.error("bad-place", at, found.summary, found.detail)
            return None

    @property
    def stores(self) -> set[str]:
        """The stores that keys use."""
        return {store for store, _ in self._taken}

    def _take(self, place: Place, key: Declared, at: At) -> None:
        # File systems and secrets managers differ in what they call equal, so case and Unicode form
        # do not make a place of its own.
        path = place.path if place.path.isascii() else unicodedata.normalize("NFC", place.path)
        others = self._taken.setdefault((place.store, path.casefold()), [])
        for other, owner, owner_at in others:
            two_fields = None not in (other.field, place.field) and other.field != place.field
            if other.path == place.path and two_fields:
                continue
            detail = "Give each key a place of its own."
            if other.path != place.path:
                summary = f"`{place.path}` and `{other.path}` differ only in case, and may be one place"
            elif other.field != place.field:
                summary = f"`{place}` and `{other}` overlap: one is the whole entry, the other a field of it"
            else:
                summary = f"{key.address} and {owner.address} write the same place, `{place}`"
                if owner.entry is key.entry:
                    summary = f"several keys of this `for_each` write the same place, `{place}`"
                    detail = "Put `${each.key}` into the path, so that each key has a place of its own."
            if owner is key:
                detail = "Leave one of the two out."
                if other == place:
                    summary = f"`secret` names the place `{place}` twice"
            also = (f"{owner.address} is at", owner.at(*owner_at))
            key.error("same-place", at, summary, detail, also=also)
            break
        others.append((place, key, at))
