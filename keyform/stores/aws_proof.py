"""What the credential of an AWS store may do, and the proof that secrets can be kept with it."""

from __future__ import annotations

import secrets as _random
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.stores.aws_errors import DENIED, AwsError

Call = Callable[..., dict[str, Any]]


def canary(store: str) -> Place:
    """A place that nobody uses."""
    return Place(store, f"keyform-canary-{_random.token_hex(8)}")


def ask(
    store: str, service: str, call: Call, asked: Mapping[str, Mapping[str, Any]], absent: Collection[str]
) -> None:
    """Make each of the requests, all on what is not there, which changes nothing. AWS answers that it is
    missing (``absent``), or that the credential may not even ask. Raises ``StoreError`` with all that it
    may not."""
    lacking = []
    for operation, request in asked.items():
        try:
            call(operation, f"{store}:keyform-canary-*", **request)
        except AwsError as refused:
            if refused.reason in DENIED:
                lacking.append(f"{service}:{operation}")
            elif refused.reason not in absent:
                raise
    if lacking:
        raise StoreError(
            f"Store {store!r}: the credential lacks {', '.join(lacking)}",
            "Add it to its policy, for what this store is to hold and for keyform-canary-*, by which keyform "
            "proves before each apply that secrets can be kept.",
        )


def prove(store: Store, place: Place, remove: Callable[[Place], None]) -> None:
    """Write a canary, replace it, which takes other permissions, read it back and remove it."""
    try:
        for _ in range(2):
            value = Secret(_random.token_urlsafe(32))
            store.put(place, value, {})
            if store.get(place) != value:
                raise StoreError(
                    f"Store {store.name!r} gave back something else than was written to {place}",
                    "Something rewrites what is stored there. Find out what, then run it again.",
                )
    except StoreError:
        with suppress(StoreError):
            remove(place)
        raise
    remove(place)
