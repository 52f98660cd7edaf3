"""What every store must do. See :class:`StoreConformance`."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Store

LABELS = {"address": "keys.checkout", "id": "key_1", "generation": "1"}


class StoreConformance:
    """Subclass it and override the fixture ``open_store``: a function that opens the same, at first
    empty store anew at each call, as another process would. Override :meth:`place` where the store
    needs fields or has names of its own, and :attr:`refused` with places that it cannot hold.
    """

    refused: tuple[Place, ...] = ()

    @pytest.fixture
    def open_store(self) -> Callable[[], Store]:
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def store(self, open_store: Callable[[], Store]) -> Store:
        return open_store()

    def place(self, path: str) -> Place:
        """A place of this store for ``path``, such as ``prod/checkout``."""
        return Place("conformance", path)

    def test_what_was_put_is_got_exactly(self, store: Store) -> None:
        secret = Secret("sk_live_0123456789abcdef")
        store.put(self.place("prod/checkout"), secret, LABELS)
        assert store.get(self.place("prod/checkout")) == secret

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " leading and trailing ",
            "line\nline\n",
            "\u00fcn\u00efc\u00f6d\u00e9 \U0001f511",
            '{"json": "\\"}',
            "x" * 20_000,
        ],
        ids=["empty", "spaces", "newlines", "unicode", "json", "long"],
    )
    def test_text_is_kept_as_it_is(self, store: Store, text: str) -> None:
        store.put(self.place("text"), Secret(text), LABELS)
        found = store.get(self.place("text"))
        assert found is not None
        assert found.reveal() == text

    def test_there_is_none_at_first(self, store: Store) -> None:
        assert store.get(self.place("prod/absent")) is None

    def test_another_client_sees_it(self, store: Store, open_store: Callable[[], Store]) -> None:
        store.put(self.place("prod/shared"), Secret("one"), LABELS)
        assert open_store().get(self.place("prod/shared")) == Secret("one")

    def test_a_new_value_replaces_the_old(self, store: Store) -> None:
        store.put(self.place("prod/twice"), Secret("a much longer first value"), LABELS)
        store.put(self.place("prod/twice"), Secret("second"), LABELS)
        assert store.get(self.place("prod/twice")) == Secret("second")

    def test_versions_differ_where_there_are_any(self, store: Store) -> None:
        first = store.put(self.place("prod/version"), Secret("first"), LABELS)
        second = store.put(self.place("prod/version"), Secret("second"), LABELS)
        assert (first is None and second is None) or first != second

    def test_places_do_not_mix(self, store: Store) -> None:
        paths = ["a", "a/b", "a/b/c", "ab", "b", "a-b", "a.b", "a_b"]
        for path in paths:
            store.put(self.place(path), Secret(f"value of {path}"), LABELS)
        for path in paths:
            assert store.get(self.place(path)) == Secret(f"value of {path}")
        store.delete(self.place("a/b"))
        assert store.get(self.place("a/b")) is None
        assert store.get(self.place("a")) == Secret("value of a")
        assert store.get(self.place("a/b/c")) == Secret("value of a/b/c")

    def test_deleting_takes_the_value_away(self, store: Store) -> None:
        store.put(self.place("prod/old"), Secret("old"), LABELS)
        store.delete(self.place("prod/old"))
        assert store.get(self.place("prod/old")) is None

    def test_deleting_what_is_gone_is_no_error(self, store: Store) -> None:
        store.delete(self.place("prod/never"))
        store.put(self.place("prod/once"), Secret("once"), LABELS)
        store.delete(self.place("prod/once"))
        store.delete(self.place("prod/once"))

    def test_a_deleted_place_can_be_used_again(self, store: Store) -> None:
        store.put(self.place("prod/again"), Secret("first"), LABELS)
        store.delete(self.place("prod/again"))
        store.put(self.place("prod/again"), Secret("second"), LABELS)
        assert store.get(self.place("prod/again")) == Secret("second")

    def test_probing_harms_nothing_and_can_be_repeated(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        store.probe()
        store.put(self.place("prod/kept"), Secret("kept"), LABELS)
        store.probe()
        open_store().probe()
        assert store.get(self.place("prod/kept")) == Secret("kept")

    def test_a_usual_place_is_accepted(self, store: Store) -> None:
        store.check(self.place("prod/revkeen/checkout"))

    def test_places_it_cannot_hold_are_refused_everywhere(self, store: Store) -> None:
        secret = Secret("must-not-appear-anywhere")
        for place in self.refused:
            for act in (
                lambda p: store.check(p),
                lambda p: store.put(p, secret, LABELS),
                lambda p: store.get(p),
                lambda p: store.delete(p),
            ):
                with pytest.raises(StoreError) as refused:
                    act(place)
                [diagnostic] = refused.value.diagnostics
                assert str(place) in diagnostic.summary, "the message names the place"
                assert diagnostic.detail, "the message says what to do"
                assert secret.reveal() not in f"{diagnostic}"

    def test_labels_are_not_kept_by_reference(self, store: Store) -> None:
        labels = copy.copy(LABELS)
        store.put(self.place("prod/labels"), Secret("value"), labels)
        labels.clear()
        assert store.get(self.place("prod/labels")) == Secret("value")

    def test_many_threads_write_many_places(self, store: Store) -> None:
        def write(number: int) -> None:
            store.put(self.place(f"many/{number % 5}/{number}"), Secret(f"value {number}"), LABELS)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, range(40)))
        for number in range(40):
            assert store.get(self.place(f"many/{number % 5}/{number}")) == Secret(f"value {number}")

    def test_two_writers_of_one_place_leave_one_whole_value(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        # Values of different lengths, so that a mixture of two shows.
        values = [chr(97 + writer) * (100 + 900 * writer) for writer in range(4)]
        place = self.place("prod/contested")
        store.put(place, Secret(values[0]), LABELS)
        over = threading.Event()

        def write(value: str) -> None:
            writer = open_store()
            for _ in range(10):
                writer.put(place, Secret(value), LABELS)

        def read() -> set[str]:
            seen = set()
            while not over.is_set():
                found = store.get(place)
                seen.add("nothing" if found is None else found.reveal())
            return seen

        with ThreadPoolExecutor(5) as threads:
            reader = threads.submit(read)
            for writing in [threads.submit(write, value) for value in values]:
                writing.result()
            over.set()
            assert reader.result() <= set(values), "a reader saw half a value, or none"
        last = store.get(place)
        assert last is not None
        assert last.reveal() in values

    def test_deleting_beside_a_writer_loses_nothing(self, store: Store) -> None:
        def churn() -> None:
            for _ in range(20):
                store.put(self.place("folder/passing"), Secret("passing"), LABELS)
                store.delete(self.place("folder/passing"))

        def keep(number: int) -> None:
            store.put(self.place(f"folder/kept-{number}"), Secret(f"kept {number}"), LABELS)
            store.delete(self.place(f"folder/kept-{number}"))
            store.put(self.place(f"folder/kept-{number}"), Secret(f"kept {number}"), LABELS)

        with ThreadPoolExecutor(4) as threads:
            work = [threads.submit(churn), threads.submit(churn)]
            work += [threads.submit(keep, number) for number in range(20)]
            for done in work:
                done.result()
        for number in range(20):
            assert store.get(self.place(f"folder/kept-{number}")) == Secret(f"kept {number}")
