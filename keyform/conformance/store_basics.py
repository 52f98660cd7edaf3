"""What the suites of all stores have in common. See :mod:`keyform.conformance.store`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Store

LABELS = {"address": "keys.checkout", "key_id": "key_1", "generation": "1"}
TEXTS: Mapping[str, str] = {
    "empty": "",
    "spaces": " leading and trailing ",
    "newlines": "line\nline\n",
    "unicode": "\u00fcn\u00efc\u00f6d\u00e9 \U0001f511",
    "json": '{"json": "\\"}',
    "long": "x" * 3_000,
}
CANARY = "must-not-appear-anywhere"


class StoreBasics:
    """Refusals and bad days. ``refused`` are places that the store cannot hold, ``texts`` secrets that it
    must keep as they are, ``largest`` the bytes that a secret may have, where there is a limit."""

    refused: tuple[Place, ...] = ()
    texts: Mapping[str, str] = TEXTS
    largest: int | None = None

    @pytest.fixture
    def open_store(self) -> Callable[[], Store]:
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Store:
        return open_store()

    def place(self, path: str) -> Place:
        """A place of this store for ``path``, such as ``prod/checkout``."""
        return Place("conformance", path)

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        """Ways to open the store in which nothing can work, by what is wrong with them: ``unreachable``
        (nobody answers), ``expired`` (the credential was good once), ``refused`` (the credential may not),
        ``slow`` (the answer never comes; the store gives up within seconds there)."""
        return {}

    def test_bad_days_are_told(self) -> None:
        for what, opened in self.bad_days().items():
            store = opened()
            place = self.place("prod/bad-day")
            acts: tuple[Callable[[], object], ...] = (
                store.access,
                store.probe,
                lambda store=store, place=place: store.put(place, Secret(CANARY), LABELS),  # type: ignore[misc]
                lambda store=store, place=place: store.look(place),  # type: ignore[misc]
            )
            for act in acts:
                with pytest.raises(StoreError) as told:
                    act()
                for diagnostic in told.value.diagnostics:
                    assert diagnostic.detail, f"{what}: the message says what to do"
                    assert store.name in diagnostic.summary, f"{what}: the message names the store"
                    assert CANARY not in f"{diagnostic}", what
            store.close()

    def test_places_it_cannot_hold_are_refused_everywhere(self, store: Store) -> None:
        secret = Secret(CANARY)
        for place in self.refused:
            for act in (
                lambda p: store.check(p),
                lambda p: store.put(p, secret, LABELS),
                lambda p: store.look(p),
                lambda p: store.delete(p),
            ):
                with pytest.raises(StoreError) as refused:
                    act(place)
                [diagnostic] = refused.value.diagnostics
                assert str(place) in diagnostic.summary, "the message names the place"
                assert diagnostic.detail, "the message says what to do"
                assert secret.reveal() not in f"{diagnostic}"
