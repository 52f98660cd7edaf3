"""What every store must do. See :class:`StoreConformance`; :mod:`keyform.conformance.write_only_store` is for
those that cannot be read back."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keyform.conformance.store_basics import LABELS, StoreBasics
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store


class StoreConformance(StoreBasics):
    """Subclass it and override the fixture ``open_store``: a function that opens the same, at first
    empty store anew at each call, as another process would. Override :meth:`place` where the store
    needs fields or has names of its own, and :attr:`refused` with places that it cannot hold.

    ``texts`` are secrets that it must keep as they are; ``fields``: a path may hold several fields;
    ``labels``: labels are kept; ``versions``: older versions can be got; ``exclusive``: of several first
    writers exactly one wins, so False alone for stores that cannot tell making from replacing;
    ``largest``: the bytes that a secret may have, where there is a limit.
    """

    paths: tuple[str, ...] = ("a", "a/b", "a/b/c", "ab", "b", "a-b", "a.b", "a_b")
    fields = False
    labels = False
    versions = False
    exclusive = True

    def test_what_was_put_is_got_exactly(self, store: Store) -> None:
        secret = Secret("sk_live_0123456789abcdef")
        store.put(self.place("prod/checkout"), secret, LABELS)
        assert store.get(self.place("prod/checkout")) == secret

    def test_text_is_kept_as_it_is(self, store: Store) -> None:
        for what, text in self.texts.items():
            store.put(self.place("text"), Secret(text), LABELS)
            found = store.get(self.place("text"))
            assert found is not None, what
            assert found.reveal() == text, what

    def test_a_text_that_is_too_long_is_refused_and_leaves_the_old_one(self, store: Store) -> None:
        if self.largest is not None:
            store.put(self.place("size"), Secret("x" * self.largest), LABELS)
            with pytest.raises(StoreError) as refused:
                store.put(self.place("size"), Secret("y" * (self.largest + 1)), LABELS)
            assert f"{self.largest:,}" in refused.value.diagnostics[0].summary + (
                refused.value.diagnostics[0].detail
            ), "the message says what the limit is"
            assert store.get(self.place("size")) == Secret("x" * self.largest)

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
        place = self.place("prod/version")
        assert store.look(place) is None
        seen = []
        for text in ("first", "second", "first"):
            version = store.put(place, Secret(text), LABELS)
            held = store.look(place)
            assert held is not None
            assert held.version == version, "what put returned is what look tells"
            assert store.get(place, version) == Secret(text)
            seen.append(version)
        assert seen == [None] * 3 or len(set(seen)) == 3
        if self.versions:
            assert store.get(place, seen[0]) == Secret("first")
            assert store.get(place, seen[1]) == Secret("second")
        assert seen[0] is None or store.get(place, "no-such-version") is None
        store.delete(place)
        assert store.look(place) is None

    def test_labels_are_kept_where_there_is_room(self, store: Store, open_store: Callable[[], Store]) -> None:
        place = self.place("prod/labelled")
        store.put(place, Secret("one"), LABELS)
        store.put(place, Secret("two"), {**LABELS, "generation": "2"})
        held = open_store().look(place)
        assert held is not None
        assert dict(held.labels) == ({**LABELS, "generation": "2"} if self.labels else {})

    def test_nothing_is_replaced_that_the_caller_did_not_see(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        place = self.place("prod/over")
        store.put(place, Secret("mine"), LABELS, None)
        open_store().put(place, Secret("theirs"), LABELS)
        for over in (None, Secret("mine")):
            with pytest.raises(Taken) as taken:
                store.put(place, Secret("mine again"), LABELS, over)
            assert str(place) in taken.value.diagnostics[0].summary
            assert "theirs" not in f"{taken.value.diagnostics}"
            assert store.get(place) == Secret("theirs")
        store.put(place, Secret("mine again"), LABELS, Secret("theirs"))
        assert store.get(place) == Secret("mine again")
        store.delete(place)
        with pytest.raises(Taken):
            store.put(place, Secret("late"), LABELS, Secret("mine again"))
        assert store.get(place) is None
        store.put(place, Secret("anew"), LABELS, None)

    def test_a_write_whose_answer_was_lost_can_be_repeated(self, store: Store) -> None:
        place = self.place("prod/repeated")
        store.put(place, Secret("value"), LABELS, None)
        store.put(place, Secret("value"), LABELS, None)
        store.put(place, Secret("value"), LABELS, Secret("before"))
        assert store.get(place) == Secret("value")

    def test_of_many_first_writers_one_wins(self, store: Store, open_store: Callable[[], Store]) -> None:
        place = self.place("prod/first")

        def write(number: int) -> bool:
            try:
                open_store().put(place, Secret(f"value {number}"), LABELS, None)
            except Taken:
                return False
            return True

        with ThreadPoolExecutor(6) as threads:
            won = list(threads.map(write, range(6)))
        if self.exclusive:
            assert won.count(True) == 1
        kept = store.get(place)
        assert kept is not None
        assert kept.reveal() in {f"value {number}" for number in range(6) if won[number]}

    def test_fields_of_one_path_do_not_disturb_each_other(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        if not self.fields:
            return
        path = self.place("prod/fields").path
        one, two, three = (Place("conformance", path, field) for field in ("one", "two", "three"))

        def write(place: Place) -> None:
            for number in range(5):
                open_store().put(place, Secret(f"{place.field} {number}"), LABELS)

        with ThreadPoolExecutor(3) as threads:
            list(threads.map(write, (one, two, three)))
        for place in (one, two, three):
            assert store.get(place) == Secret(f"{place.field} 4"), "no writer took another's field back"
        store.delete(two)
        assert store.get(two) is None
        assert store.look(two) is None
        assert store.get(one) == Secret("one 4")
        assert store.get(three) == Secret("three 4")
        store.delete(one)
        store.delete(three)
        assert store.get(three) is None

    def test_places_do_not_mix(self, store: Store) -> None:
        for path in self.paths:
            store.put(self.place(path), Secret(f"value of {path}"), LABELS)
        for path in self.paths:
            assert store.get(self.place(path)) == Secret(f"value of {path}")
        store.delete(self.place(self.paths[1]))
        assert store.get(self.place(self.paths[1])) is None
        for path in (self.paths[0], *self.paths[2:]):
            assert store.get(self.place(path)) == Secret(f"value of {path}")

    def test_what_may_be_done_is_told_without_writing(self, store: Store) -> None:
        assert store.readable
        told = store.access()
        assert told
        assert "\n" not in told

    def test_it_can_be_closed_twice(self, open_store: Callable[[], Store]) -> None:
        store = open_store()
        store.put(self.place("prod/closed"), Secret("value"), LABELS)
        store.close()
        store.close()

    def test_deleting_takes_the_value_away(self, store: Store) -> None:
        store.put(self.place("prod/old"), Secret("old"), LABELS)
        store.delete(self.place("prod/old"))
        assert store.get(self.place("prod/old")) is None

    def test_deleting_what_is_gone_is_no_error(self, store: Store) -> None:
        store.delete(self.place("prod/never"))
        store.put(self.place("prod/once"), Secret("once"), LABELS)
        store.delete(self.place("prod/once"))
        store.delete(self.place("prod/once"))

    def test_nothing_is_deleted_that_the_caller_did_not_see(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        place = self.place("prod/doomed")
        store.put(place, Secret("mine"), LABELS)
        open_store().put(place, Secret("theirs"), LABELS)
        for over in (None, Secret("mine")):
            with pytest.raises(Taken) as taken:
                store.delete(place, over)
            assert str(place) in taken.value.diagnostics[0].summary
            assert "theirs" not in f"{taken.value.diagnostics}"
            assert store.get(place) == Secret("theirs")
        store.delete(place, Secret("theirs"))
        assert store.get(place) is None
        store.delete(place, Secret("theirs"))

    def test_deleting_a_field_beside_a_writer_of_another_loses_nothing(
        self, store: Store, open_store: Callable[[], Store]
    ) -> None:
        """The last field takes its path with it; one that somebody adds meanwhile does not go too."""
        if not self.fields:
            return
        path = self.place("prod/emptied").path
        going, coming = (Place("conformance", path, field) for field in ("going", "coming"))
        for number in range(5):
            store.put(going, Secret("going"), LABELS)
            with ThreadPoolExecutor(2) as threads:
                deleted = threads.submit(open_store().delete, going, Secret("going"))
                put = threads.submit(open_store().put, coming, Secret(f"coming {number}"), LABELS)
                deleted.result()
                put.result()
            assert store.get(coming) == Secret(f"coming {number}")
            assert store.get(going) is None
            store.delete(coming)

    def test_forgetting_an_earlier_version_leaves_the_present_value(self, store: Store) -> None:
        place = self.place("prod/before")
        first = store.put(place, Secret("first"), LABELS)
        second = store.put(place, Secret("second"), LABELS, Secret("first"))
        for version in (first, second, first):
            store.forget(place, version or "none")
        assert store.get(place) == Secret("second")
        store.delete(place)
        store.forget(place, first or "none")

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
            try:
                for writing in [threads.submit(write, value) for value in values]:
                    writing.result()
            finally:
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
