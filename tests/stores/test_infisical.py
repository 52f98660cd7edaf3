"""Infisical, against a stand-in that does what its reference and its source say and refuses the rest."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import LABELS, TEXTS
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.stores.infisical import InfisicalStore, open_store, rest_to
from keyform.stores.infisical_login import UniversalAuth
from tests.stores.standins import Refusal, Wire, nobody, silent
from tests.stores.standins.infisical import PROJECT, Infisical

ADDRESS = "https://infisical.example"
PLACE = Place("inf", "prod/CHECKOUT")


def store_of(
    app: Infisical,
    identity: str = "keyform",
    environment: str = "prod",
    project: str = PROJECT,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> InfisicalStore:
    rest = rest_to("inf", ADDRESS, transport=Wire(app), sleep=sleep)
    known = app.identities.get(identity, ("gone-client-secret", ""))[0]
    return InfisicalStore(
        "inf", rest, UniversalAuth(rest, identity, Secret(known), clock), project, environment
    )


def told(problem: pytest.ExceptionInfo[StoreError]) -> str:
    (diagnostic,) = problem.value.diagnostics
    return f"{diagnostic.summary}\n{diagnostic.detail}"


@pytest.fixture
def app() -> Iterator[Infisical]:
    app = Infisical()
    yield app
    app.blame()


class TestInfisicalStore(StoreConformance):
    labels = True
    versions = True
    texts: ClassVar = {what: text for what, text in TEXTS.items() if what != "spaces"}
    refused = (
        Place("inf", ""),
        Place("inf", "/CHECKOUT"),
        Place("inf", "prod//CHECKOUT"),
        Place("inf", "prod/"),
        Place("inf", "pröd/CHECKOUT"),
        Place("inf", "a.b/CHECKOUT"),
        Place("inf", "CHECK OUT"),
        Place("inf", "CHECK:OUT"),
        Place("inf", "prod/.."),
        Place("inf", "new\nline"),
        Place("inf", "CHECKOUT", "live"),
    )

    @pytest.fixture(autouse=True)
    def _servers(self, app: Infisical) -> Iterator[None]:
        self.app = app
        with ExitStack() as stack:
            self.silent = stack.enter_context(silent())
            yield

    @pytest.fixture
    def open_store(self, app: Infisical) -> Callable[[], InfisicalStore]:
        return functools.partial(store_of, app)

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        def at(address: str) -> Callable[[], Store]:
            rest = rest_to("inf", address, timeout=0.05, sleep=lambda _: None)
            who = UniversalAuth(rest, "keyform", Secret("good-client-secret"))
            return lambda: InfisicalStore("inf", rest, who, PROJECT, "prod")

        return {
            "unreachable": at(nobody()),
            "expired": lambda: store_of(self.app, "gone"),
            "refused": lambda: store_of(self.app, "stranger"),
            "slow": at(self.silent),
        }


@pytest.mark.parametrize("status", [401, 403])
def test_it_logs_in_again_when_a_token_ends_in_the_middle(app: Infisical, status: int) -> None:
    app.ends_with = status
    store = store_of(app)
    store.put(PLACE, Secret("one"), LABELS)
    assert app.logins == 1
    app.tokens.clear()
    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(lambda _: store.get(PLACE) == Secret("one"), range(12)))
    assert app.logins == 2, "one login for all threads"


def test_it_logs_in_again_before_a_token_ends(app: Infisical) -> None:
    now = [0.0]
    app.life = 100
    store = store_of(app, clock=lambda: now[0])
    store.get(PLACE)
    now[0] = 89.0
    store.get(PLACE)
    assert app.logins == 1
    now[0] = 91.0
    store.get(PLACE)
    assert app.logins == 2


def test_what_others_note_about_a_secret_stays(app: Infisical) -> None:
    store = store_of(app)
    store.put(PLACE, Secret("one"), LABELS)
    ((at, (kept,)),) = app.secrets.items()
    theirs = {"key": "team", "value": "payments", "isEncrypted": True}
    kept |= {"comment": "ask Ann", "metadata": [*kept["metadata"], theirs]}
    store.put(PLACE, Secret("two"), {"generation": "2"}, Secret("one"))
    last = app.secrets[at][-1]
    assert (last["value"], last["comment"]) == ("two", "ask Ann")
    assert theirs in last["metadata"]
    assert [m["key"] for m in last["metadata"]] == ["team", "keyform_generation"]


def test_metadata_is_encrypted_where_the_project_demands_it(app: Infisical) -> None:
    app.encrypted = True
    store = store_of(app)
    store.put(PLACE, Secret("one"), LABELS)
    held = store.look(PLACE)
    assert held is not None
    assert dict(held.labels) == LABELS


def test_looking_does_not_fetch_the_value(app: Infisical) -> None:
    store_of(app).put(PLACE, Secret("one"), LABELS)
    with pytest.raises(StoreError):
        store_of(app, "blind").get(PLACE)
    held = store_of(app, "blind").look(PLACE)
    assert held is not None
    assert dict(held.labels) == LABELS


def test_a_secret_made_anew_has_another_version(app: Infisical) -> None:
    store = store_of(app)
    first = store.put(PLACE, Secret("one"), LABELS)
    store.delete(PLACE)
    second = store.put(PLACE, Secret("two"), LABELS)
    assert first != second
    assert store.get(PLACE, first) is None


def test_folders_are_made_as_they_are_needed_by_many_at_once(app: Infisical) -> None:
    def write(number: int) -> None:
        store_of(app).put(Place("inf", f"a/b/c/KEY_{number}"), Secret(f"value {number}"), LABELS, None)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(12)))
    assert app.held() == {f"a/b/c/KEY_{number}": f"value {number}" for number in range(12)}


@pytest.mark.parametrize(
    ("project", "environment", "says"),
    [("0000", "prod", "Check `project_id`"), (PROJECT, "production", "one of: dev, prod")],
)
def test_a_project_or_environment_that_is_not_there_is_no_absent_secret(
    app: Infisical, project: str, environment: str, says: str
) -> None:
    store = store_of(app, project=project, environment=environment)
    acts = (lambda: store.get(PLACE), lambda: store.delete(PLACE), lambda: store.put(PLACE, Secret("x"), {}))
    for act in (*acts, store.access):
        with pytest.raises(StoreError) as problem:
            act()
        assert says in told(problem)


def test_an_identity_that_only_reads_is_told_at_the_probe(app: Infisical) -> None:
    store = store_of(app, "reader")
    assert "the project 'Payments' can be seen" in store.access()
    with pytest.raises(StoreError) as problem:
        store.probe()
    assert "not allowed" in told(problem)
    assert "docs/stores/infisical.md" in told(problem)
    assert app.held() == {}


def test_a_write_that_waits_for_approval_is_no_write(app: Infisical) -> None:
    store = store_of(app)
    store.put(PLACE, Secret("one"), LABELS)
    app.approval = True
    for act in (lambda: store.put(PLACE, Secret("two"), LABELS), lambda: store.delete(PLACE), store.probe):
        with pytest.raises(StoreError) as problem:
            act()
        assert "approval" in told(problem)
    assert app.held() == {"prod/CHECKOUT": "one"}


def test_one_with_somebody_elses_value_is_left_alone(app: Infisical) -> None:
    store_of(app).put(PLACE, Secret("theirs"), {})
    with pytest.raises(Taken):
        store_of(app).put(PLACE, Secret("mine"), LABELS, None)
    assert app.held() == {"prod/CHECKOUT": "theirs"}


def test_a_lost_answer_to_a_first_write_is_no_failure(app: Infisical) -> None:
    store = store_of(app, sleep=lambda _: None)
    assert store.get(PLACE) is None
    store.put(Place("inf", "prod/OTHER"), Secret("other"), LABELS)
    app.lose = 1
    store.put(PLACE, Secret("one"), LABELS, None)
    assert store.get(PLACE) == Secret("one")


@pytest.mark.parametrize("text", [" blank", "blank ", "${STRIPE}", "\ufefftext", "half \udcff"])
def test_what_would_not_come_out_as_it_went_in_is_refused(app: Infisical, text: str) -> None:
    with pytest.raises(StoreError) as problem:
        store_of(app).put(PLACE, Secret(text), LABELS)
    assert problem.value.diagnostics[0].detail
    assert app.held() == {}


def test_it_waits_as_long_as_it_is_asked_to(app: Infisical) -> None:
    slept: list[float] = []
    store = store_of(app, sleep=slept.append)
    store.access()
    app.troubles.append(Refusal(429, app.error(429, "Rate limit exceeded"), {"Retry-After": "41"}))
    store.put(Place("inf", "CHECKOUT"), Secret("one"), LABELS)
    assert slept == [41.0]


def test_nothing_of_a_credential_or_value_is_told(app: Infisical) -> None:
    store = store_of(app)
    app.echo = True
    with pytest.raises(StoreError) as problem:
        store.access()
    assert "good-client-secret" not in told(problem)
    app.echo = False
    store.access()
    (token,) = app.tokens
    app.echo = True
    for act in (store.access, lambda: store._write(PLACE, None, Secret("sk_live_0123456789abcdef"), {})):
        with pytest.raises(StoreError) as problem:
            act()
        assert token not in told(problem)
        assert "0123456789abcdef" not in told(problem)


@pytest.mark.parametrize("body", [[], {}, {"secret": None}, {"secret": {"id": "x"}}, "text"])
def test_an_answer_of_another_form_is_an_error(body: object) -> None:
    app = Infisical()
    store = store_of(app)
    store.access()
    app.troubles.append(Refusal(200, body))
    with pytest.raises(StoreError):
        store.get(PLACE)


def test_it_opens_by_what_infisicals_own_tools_read(tmp_path: Path) -> None:
    options = {"project_id": PROJECT, "environment": "prod"}
    universal = {"INFISICAL_UNIVERSAL_AUTH_CLIENT_ID": "a", "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET": "b"}
    for env in (universal, {"INFISICAL_TOKEN": "t"}):
        assert open_store("inf", options, tmp_path, env).name == "inf"
    given = {**options, "client_id": "a", "client_secret": Secret("b")}
    assert open_store("inf", given, tmp_path, {}).name == "inf"
    assert open_store("inf", {**options, "token": Secret("t")}, tmp_path, {}).name == "inf"
    for env, named in (
        ({}, "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID"),
        ({"INFISICAL_UNIVERSAL_AUTH_CLIENT_ID": "a"}, "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET"),
    ):
        with pytest.raises(StoreError) as problem:
            open_store("inf", options, tmp_path, env)
        assert named in told(problem)
