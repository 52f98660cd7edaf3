"""The proof that a store keeps secrets: a canary is written, seen again and deleted."""

from __future__ import annotations

import contextlib
import secrets

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Store


def keeps(store: Store, place: Place) -> bool:
    """Write a canary to ``place``, read it back where the store can be read, and delete it. Whether what
    came back is what was written. Raises ``StoreError``, and leaves nothing behind as far as can be."""
    canary = Secret(secrets.token_urlsafe(32))
    try:
        store.put(place, canary, {})
        found = store.get(place) if store.readable else canary
    except StoreError:
        with contextlib.suppress(StoreError):  # the first problem is the one to tell
            store.delete(place)
        raise
    store.delete(place)
    return found == canary
