"""The proof that a store keeps secrets: a canary is written, seen again and deleted."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Store


def keeps(store: Store, place: Place, remove: Callable[[Place], object] | None = None) -> bool:
    """Write a canary to ``place``, read it back where the store can be read, and delete it (``remove``: by
    more than a deletion). Whether what came back is what was written. Raises ``StoreError``, and leaves
    nothing behind as far as can be."""
    remove = remove or store.delete
    canary = Secret(secrets.token_urlsafe(32))
    try:
        store.put(place, canary, {})
        found = store.get(place) if store.readable else canary
    except StoreError:
        with contextlib.suppress(StoreError):  # the first problem is the one to tell
            remove(place)
        raise
    remove(place)
    return found == canary
