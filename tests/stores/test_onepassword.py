"""1Password Connect, against a stand-in that does what its OpenAPI document says and refuses the rest."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import LABELS, TEXTS
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.stores.onepassword import OnePasswordStore, open_store
from tests.stores.standins import Refusal, Wire, nobody, silent
from tests.stores.standins.connect import VAULT, Connect

ADDRESS = "https://connect.example"


def store_of(
    app: Connect,
    credential: str = "good-token",
    vault: str = "Keys",
    sleep: Callable[[float], None] = time.sleep,
) -> OnePasswordStore:
    wire = Wire(app)
    return OnePasswordStore("op", ADDRESS, Secret(credential), vault, os.environ, transport=wire, sleep=sleep)


@pytest.fixture
def app() -> Iterator[Connect]:
    app = Connect()
    yield app
    app.blame()


class TestOnePasswordStore(StoreConformance):
    fields = True
    labels = True
    texts: ClassVar = {what: text for what, text in TEXTS.items() if what != "empty"}
    refused = (
        Place("op", ""),
        Place("op", " checkout"),
        Place("op", 'say "checkout"'),
        Place("op", "back\\slash"),
        Place("op", "new\nline"),
        Place("op", "checkout", ""),
        Place("op", "checkout", "keyform credential"),
    )

    @pytest.fixture(autouse=True)
    def _servers(self, app: Connect) -> Iterator[None]:
        self.app = app
        with ExitStack() as stack:
            self.silent = stack.enter_context(silent())
            yield

    @pytest.fixture
    def open_store(self, app: Connect) -> Callable[[], OnePasswordStore]:
        return functools.partial(store_of, app)

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        def at(address: str) -> Callable[[], Store]:
            token = Secret("good-token")
            return lambda: OnePasswordStore(
                "op", address, token, VAULT, os.environ, timeout=0.05, sleep=lambda _: None
            )

        return {
            "unreachable": at(nobody()),
            "expired": lambda: store_of(self.app, "expired-token"),
            "refused": lambda: store_of(self.app, "foreign-token", VAULT),
            "slow": at(self.silent),
        }


PLACE = Place("op", "prod/checkout")


def told(problem: pytest.ExceptionInfo[StoreError]) -> str:
    (diagnostic,) = problem.value.diagnostics
    return f"{diagnostic.summary}\n{diagnostic.detail}"


def test_the_other_fields_and_the_tags_of_an_item_stay(app: Connect) -> None:
    made = app.add("prod/checkout", username="wendy", password="hers")
    store = store_of(app)
    store.put(PLACE, Secret("sk_1"), LABELS, None)
    store.put(PLACE, Secret("sk_2"), LABELS, Secret("sk_1"))
    fields = app.fields("prod/checkout")
    assert (fields["username"], fields["password"], fields["credential"]) == ("wendy", "hers", "sk_2")
    store.delete(PLACE)
    assert app.fields("prod/checkout") == {"username": "wendy", "password": "hers", "notesPlain": ""}
    assert app.items[made["id"]]["tags"] == ["ours"]


def test_a_field_with_somebody_elses_value_is_left_alone(app: Connect) -> None:
    app.add("prod/checkout", password="theirs")
    with pytest.raises(Taken):
        store_of(app).put(Place("op", "prod/checkout", "password"), Secret("mine"), LABELS, None)
    assert app.fields("prod/checkout")["password"] == "theirs"


def test_what_keyform_made_goes_whole(app: Connect) -> None:
    store = store_of(app)
    store.put(PLACE, Secret("value"), LABELS)
    assert [item["tags"] for item in app.items.values()] == [["keyform"]]
    store.delete(PLACE)
    store.probe()
    assert app.items == {}


def test_what_somebody_adds_to_an_item_while_it_is_deleted_stays(app: Connect) -> None:
    """The deletion is put off, and the item changes until it is asked for again."""

    def change(_: float) -> None:
        (item,) = app.items.values()
        if not any(field["label"] == "theirs" for field in item["fields"]):
            new = {"id": "theirs", "type": "STRING", "label": "theirs", "value": "new"}
            app.items[item["id"]] = {**item, "version": 2, "fields": [*item["fields"], new]}

    store = store_of(app, sleep=change)
    store.put(PLACE, Secret("mine"), LABELS)
    app.busy = 1
    store.delete(PLACE, Secret("mine"))
    assert app.fields("prod/checkout") == {"theirs": "new", "notesPlain": ""}


def test_several_items_of_one_title_are_not_guessed_at(app: Connect) -> None:
    app.add("prod/checkout", password="one")
    app.add("prod/checkout", password="two")
    store = store_of(app, sleep=lambda _: None)
    with pytest.raises(StoreError) as problem:
        store.put(PLACE, Secret("value"), LABELS)
    assert "several items titled 'prod/checkout'" in told(problem)
    assert len(app.items) == 2


def test_access_writes_nothing_and_a_read_only_token_is_told_at_the_probe(app: Connect) -> None:
    store = store_of(app, "reader-token")
    assert "the vault 'Keys' can be read" in store.access()
    with pytest.raises(StoreError) as problem:
        store.probe()
    assert "not in scope" in told(problem)
    assert "op connect token create" in told(problem)
    assert {line.split()[0] for line in app.seen} == {"GET", "POST"}


def test_a_vault_that_the_token_does_not_see_is_named(app: Connect) -> None:
    with pytest.raises(StoreError) as problem:
        store_of(app, vault="Kyes").access()
    assert "no vaults named 'Kyes'" in told(problem)


def test_it_waits_as_long_as_it_is_asked_to(app: Connect) -> None:
    slept: list[float] = []
    store = store_of(app, sleep=slept.append)
    app.troubles += [Refusal(429, {"status": 429, "message": "slow down"}, {"Retry-After": "7"})] * 2
    store.put(PLACE, Secret("value"), LABELS)
    assert slept == [7.0, 7.0]
    slept.clear()
    app.troubles += [Refusal(429, {"status": 429, "message": "slow down"}, {"Retry-After": "3600"})]
    with pytest.raises(StoreError) as problem:
        store.put(PLACE, Secret("other"), LABELS)
    assert slept == [], "an hour is beyond all patience"
    assert "429" in told(problem)


def test_a_conflict_of_the_vault_is_tried_again(app: Connect) -> None:
    store = store_of(app, sleep=lambda _: None)
    app.troubles += [Refusal(409, {"status": 409, "message": "Internal server conflict"})]
    store.put(PLACE, Secret("value"), LABELS)
    assert store.get(PLACE) == Secret("value")


def test_a_lost_answer_makes_no_second_item(app: Connect) -> None:
    store = store_of(app, sleep=lambda _: None)
    app.lose = 1
    with pytest.raises(StoreError):
        store.put(PLACE, Secret("value"), LABELS, None)
    store.put(PLACE, Secret("value"), LABELS, None)
    assert len(app.items) == 1
    assert store.get(PLACE) == Secret("value")


def test_an_empty_value_is_refused(app: Connect) -> None:
    with pytest.raises(StoreError) as problem:
        store_of(app).put(PLACE, Secret(""), LABELS)
    assert "empty" in told(problem)
    assert app.items == {}


def test_what_the_server_repeats_is_masked(app: Connect) -> None:
    store = store_of(app, vault=VAULT)
    app.echo = True
    with pytest.raises(StoreError) as problem:
        store.put(PLACE, Secret("sk_live_0123456789abcdef"), LABELS)
    assert "good-token" not in told(problem)
    app.echo = False
    app.add("prod/checkout", password="x")
    item = store._item(PLACE)
    assert item is not None
    app.echo = True
    with pytest.raises(StoreError) as problem:
        store._change(PLACE, item, Secret("sk_live_0123456789abcdef"), LABELS)
    assert "0123456789abcdef" not in told(problem)
    assert "[hidden]" in told(problem)


def test_it_opens_by_what_1passwords_own_tools_read(tmp_path: Path) -> None:
    env = {"OP_CONNECT_HOST": "http://localhost:8080", "OP_CONNECT_TOKEN": "t0ken"}
    assert open_store("op", {"vault": "Keys"}, tmp_path, env).name == "op"
    for lacking, named in (
        ({"OP_CONNECT_HOST": ""}, "OP_CONNECT_HOST"),
        ({"OP_CONNECT_TOKEN": ""}, "OP_CONNECT_TOKEN"),
    ):
        with pytest.raises(StoreError) as problem:
            open_store("op", {"vault": "Keys"}, tmp_path, {**env, **lacking})
        assert named in told(problem)
    for address in ("http://connect.example", "ftp://x", "https://user:pw@host"):
        with pytest.raises(StoreError) as problem:
            open_store("op", {"vault": "Keys", "endpoint": address}, tmp_path, env)
        assert "pw" not in told(problem)
    with pytest.raises(StoreError) as problem:
        open_store("op", {"vault": "Keys", "token": Secret("two words")}, tmp_path, env)
    assert "two words" not in told(problem)
    open_store("op", {"vault": "Keys", "endpoint": "http://connect.example", "insecure": True}, tmp_path, env)
