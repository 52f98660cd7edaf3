"""What a store must do whose values cannot be read back. See :class:`WriteOnlyConformance`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.conformance.store_basics import CANARY, LABELS, StoreBasics
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store


class WriteOnlyConformance(StoreBasics):
    """The same for a store whose values cannot be read back. Override the fixture ``open_store``, and
    ``read``: how the test, not keyform, sees the value that arrived."""

    def read(self, place: Place) -> str | None:
        """What arrived in a place, as whoever uses it sees it."""
        raise NotImplementedError("override read")

    def test_what_was_put_arrives_exactly(self, store: Store) -> None:
        for what, text in self.texts.items():
            store.put(self.place("text"), Secret(text), LABELS)
            assert self.read(self.place("text")) == text, what

    def test_it_says_that_it_cannot_be_read(self, store: Store) -> None:
        assert not store.readable
        store.put(self.place("prod/unread"), Secret(CANARY), LABELS)
        with pytest.raises(StoreError) as refused:
            store.get(self.place("prod/unread"))
        assert refused.value.diagnostics[0].detail
        assert CANARY not in f"{refused.value.diagnostics}"

    def test_versions_differ(self, store: Store, open_store: Callable[[], Store]) -> None:
        place = self.place("prod/version")
        assert store.look(place) is None
        first = store.put(place, Secret("first"), LABELS)
        second = store.put(place, Secret("second"), LABELS)
        held = open_store().look(place)
        assert held is not None
        assert held.version == second
        assert first != second
        store.delete(place)
        assert store.look(place) is None
        store.delete(place)

    def test_nothing_is_replaced_that_the_caller_did_not_see(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        place = self.place("prod/over")
        store.put(place, Secret("mine"), LABELS, None)
        seen = store.look(place)
        open_store().put(place, Secret("theirs"), LABELS)
        for over in (None, seen):
            with pytest.raises(Taken):
                store.put(place, Secret("mine again"), LABELS, over)
            assert self.read(place) == "theirs"
        store.put(place, Secret("mine again"), LABELS, store.look(place))
        assert self.read(place) == "mine again"

    def test_nothing_is_deleted_that_the_caller_did_not_see(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        place = self.place("prod/doomed")
        store.put(place, Secret("mine"), LABELS)
        seen = store.look(place)
        open_store().put(place, Secret("theirs"), LABELS)
        for over in (None, seen):
            with pytest.raises(Taken):
                store.delete(place, over)
            assert self.read(place) == "theirs"
        now = store.look(place)
        store.delete(place, now)
        assert self.read(place) is None
        store.delete(place, now)

    def test_probing_leaves_nothing_and_access_writes_nothing(self, store: Store) -> None:
        assert store.access()
        store.probe()
        store.probe()

    def test_a_text_that_is_too_long_is_refused(self, store: Store) -> None:
        if self.largest is not None:
            store.put(self.place("size"), Secret("x" * self.largest), LABELS)
            with pytest.raises(StoreError) as refused:
                store.put(self.place("size"), Secret("y" * (self.largest + 1)), LABELS)
            assert f"{self.largest:,}" in f"{refused.value.diagnostics[0]}"
            assert self.read(self.place("size")) == "x" * self.largest
