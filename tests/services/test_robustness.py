"""An ill service (malformed, half, slow, lying, endless): one clear error each, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.errors import AnswerLost, Refused, ServiceError
from keyform.model import KeySpec, LiveKey
from tests.services.conftest import ManualClock
from tests.services.speaking import profile_text, speaking

PROFILE = profile_text(
    top="marker: name\nmutable: [name]\nshown: [name]\nkey: {id: id, name: name}",
    operations="""
  list: {backing: documented, path: /keys, items: keys}
  update: {backing: documented, method: PATCH, path: "/keys/{id}", fields: {name: {name: "{name}"}}}
  prove: {backing: documented, path: /me}
""",
)
KEY = LiveKey("k1", KeySpec(name="one"), label="lineage/1")
JSON = {"Content-Type": "application/json"}


class Drip(httpx.SyncByteStream):
    """An answer that comes in single blanks, ten seconds apart, and never ends."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def __iter__(self) -> Any:
        while True:
            self._clock.sleep(10)
            yield b" "


ILL: dict[str, Callable[[ManualClock], httpx.Response]] = {
    "html": lambda clock: httpx.Response(200, html="<h1>Sign in</h1>"),
    "half": lambda clock: httpx.Response(200, content=b'{"keys": [{"id": "k', headers=JSON),
    "empty": lambda clock: httpx.Response(200, content=b"", headers=JSON),
    "text": lambda clock: httpx.Response(200, json="hello"),
    "number": lambda clock: httpx.Response(200, json=7),
    "null": lambda clock: httpx.Response(200, json=None),
    "list": lambda clock: httpx.Response(200, json=[]),
    "other": lambda clock: httpx.Response(200, json={"ok": True}),
    "deep": lambda clock: httpx.Response(200, content=b"[" * 100_000, headers=JSON),
    "slow": lambda clock: httpx.Response(200, stream=Drip(clock)),
    "broken": lambda clock: httpx.Response(500, html="<h1>500</h1>"),
    "redirect": lambda clock: httpx.Response(302, headers={"Location": "https://login.example/"}),
}


@pytest.fixture(params=ILL)
def ill(request: pytest.FixtureRequest, clock: ManualClock) -> tuple[Any, list[str]]:
    """A client of an ill service, and the methods of what was sent to it."""
    sent: list[str] = []

    def answer(asked: httpx.Request) -> httpx.Response:
        sent.append(asked.method)
        return ILL[request.param](clock)

    return speaking(PROFILE, answer, clock), sent


def test_its_listing_is_never_taken_for_whole(ill: tuple[Any, list[str]]) -> None:
    listing = ill[0].list()
    assert not listing.complete
    assert listing.problem.summary.startswith("service 'made-up': listing the keys is incomplete: page 1")
    assert listing.problem.detail
    assert set(ill[1]) == {"GET"}, "nothing is changed"


def test_its_answer_to_a_create_leaves_the_key_in_doubt(ill: tuple[Any, list[str]]) -> None:
    with pytest.raises(ServiceError) as told:
        ill[0].create(KeySpec(name="one"), "lineage/1")
    if "sends the request on" not in str(told.value):
        assert isinstance(told.value, AnswerLost)
    assert told.value.diagnostics[0].detail
    assert ill[1].count("POST") == 1, "a create without an idempotency key is never sent twice"


@pytest.mark.parametrize("how", ["html", "half", "deep", "slow", "broken", "redirect"])
def test_a_key_is_not_revoked_because_it_says_nonsense(how: str, clock: ManualClock) -> None:
    with pytest.raises(ServiceError, match="revoking key k1 failed") as told:
        speaking(PROFILE, lambda request: ILL[how](clock), clock).revoke("k1")
    assert told.value.diagnostics[0].detail


@pytest.mark.parametrize("status", [404, 410])
def test_a_404_is_only_believed_with_a_whole_listing(status: int, clock: ManualClock) -> None:
    keys: list[Any] = []
    whole = True

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(status, html="not found")
        return httpx.Response(200, json={"keys": keys}) if whole else httpx.Response(500)

    service = speaking(PROFILE, answer, clock)
    service.revoke("k1")
    keys.append({"id": "k1", "name": "one"})
    with pytest.raises(Refused, match=str(status)):
        service.revoke("k1")
    keys.clear()
    whole = False
    with pytest.raises(Refused, match=str(status)):
        service.revoke("k1")


def test_a_create_whose_answer_is_lost_is_found_by_its_label(clock: ManualClock) -> None:
    keys: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            keys.append({"id": "k1", "name": "one [keyform:lineage/1]"})
            raise httpx.ReadError("lost")
        return httpx.Response(200, json={"keys": keys})

    minted = speaking(PROFILE, answer, clock).create(KeySpec(name="one"), "lineage/1")
    assert (minted.key.id, minted.key.spec.name, minted.secret) == ("k1", "one", None)


def test_a_create_whose_answer_is_lost_and_that_is_not_listed_is_in_doubt(clock: ManualClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            raise httpx.ReadError("lost")
        return httpx.Response(200, json={"keys": []})

    with pytest.raises(AnswerLost):
        speaking(PROFILE, answer, clock).create(KeySpec(name="one"), "lineage/1")


def test_other_scopes_than_were_asked_for_come_to_light(clock: ManualClock) -> None:
    text = PROFILE.replace("fields: [name]", "fields: [name, scopes]").replace(
        "shown: [name]", "shown: [name, scopes]"
    )
    text = text.replace("key: {id: id, name: name}", "key: {id: id, name: name, scopes: scopes}")
    text = text.replace('body: {name: "{name}"}', 'body: {name: "{name}", scopes: "{scopes}"}')
    text += '  read: {backing: documented, path: "/keys/{id}", key: ""}\n'

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(201, json={"id": "k1", "secret": "s"})
        return httpx.Response(200, json={"id": "k1", "name": "one", "scopes": ["admin"]})

    minted = speaking(text, answer, clock).create(KeySpec(name="one", scopes=("read",)), "lineage/1")
    assert minted.key.spec.scopes == ("admin",)


def test_a_key_that_cannot_be_read_back_is_not_lost(clock: ManualClock) -> None:
    text = PROFILE + '  read: {backing: documented, path: "/keys/{id}", key: ""}\n'

    def answer(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(201, json={"id": "k1", "secret": "s"})
            if request.method == "POST"
            else httpx.Response(500)
        )

    minted = speaking(text, answer, clock).create(KeySpec(name="one"), "lineage/1")
    assert (minted.key.spec.name, minted.secret.reveal()) == ("one", "s")


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, html="<h1>hi</h1>"), httpx.Response(200, content=b"{", headers=JSON)]
)
def test_a_web_page_proves_nothing(answer: httpx.Response, clock: ManualClock) -> None:
    service = speaking(PROFILE, lambda request: answer, clock)
    with pytest.raises(ServiceError) as told:
        service.prove(service_secret(), KEY)
    assert not isinstance(told.value, Refused)


def test_a_secret_is_in_no_message(clock: ManualClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"error": {"message": f"no {request.headers['Authorization']}"}})

    text = PROFILE.replace("marker: name", "marker: name\nerrors: {message: [error.message]}")
    with pytest.raises(Refused) as told:
        speaking(text, answer, clock).prove(service_secret(), KEY)
    assert "[hidden]" in told.value.diagnostics[0].summary
    assert "CANARY" not in repr(told.value.diagnostics)


def service_secret() -> Any:
    from keyform.model import Secret

    return Secret("CANARY-secret")
