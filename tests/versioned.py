"""A store that gives earlier versions back, as Vault's and the clouds' do: an age store with a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Over, Store
from keyform.stores.age import AgeStore


class Versioned:
    """``inner`` and, in ``memory``, every version that was ever written to it."""

    def __init__(self, inner: Store, memory: Store) -> None:
        self._inner, self._memory = inner, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        found = self._inner.get(place, version)
        return found if found is not None or version is None else self._memory.get(_at(place, version))

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        version = self._inner.put(place, secret, labels, over)
        self._memory.put(_at(place, version or ""), secret, labels)
        return version


def _at(place: Place, version: str) -> Place:
    return Place(place.store, f"{place.path}/{version}")


def versioned(folder: Path) -> Callable[[Store], Store]:
    """For :class:`~keyform.apply.Wrapping`: stores that remember, in ``folder``."""

    def wrap(inner: Store) -> Store:
        both: Any = Versioned(inner, AgeStore(inner.name, folder))
        remembering: Store = both
        return remembering

    return wrap
