"""A store whose values cannot be read back, as GitHub's are: any store with its reading taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over, Store
from keyform.stores.over import allow_deletion, allow_held


class WriteOnly:
    """``inner`` without a way to read. It knows writes by their versions, and keeps no labels."""

    readable = False

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.name = inner.name

    def check(self, place: Place) -> None:
        self._inner.check(place)

    def access(self) -> str:
        return "values can be written"

    def probe(self) -> None:
        self._inner.probe()

    def look(self, place: Place) -> Held | None:
        return self._inner.look(place)

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        raise StoreError(f"Store {self.name!r} gives no value back: {place}", "Look at it where it is used.")

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        allow_held(self.name, place, over, self._inner.look(place))
        return self._inner.put(place, secret, labels, None if over is None else ANYTHING)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        allow_deletion(self.name, place, over, self._inner.look(place))
        self._inner.delete(place)

    def forget(self, place: Place, version: str) -> None:
        self._inner.forget(place, version)

    def close(self) -> None:
        self._inner.close()


def write_only(*names: str) -> Callable[[Store], Store]:
    """For :class:`~keyform.apply.Wrapping`: the stores of these names cannot be read."""
    return lambda store: WriteOnly(store) if store.name in names else store
