"""A service or a store that quotes what it was given, or repeats a new secret where anybody may read it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.errors import StoreError
from keyform.model import Place, Secret
from tests.world import World, inspect

ONE = "version: 1\nservices: {sandbox: {type: embedded}}\nkeys: {a: {service: sandbox, secret: x}}\n"


@pytest.fixture
def seen() -> list[str]:
    """The secrets that the service gave out."""
    return []


@pytest.fixture
def answering(seen: list[str]) -> Callable[..., Wrapping]:
    """A wrapping under which the answers to creates are altered."""

    def make(alter: Callable[[dict[str, Any], str], httpx.Response | None]) -> Wrapping:
        def handle(inner: httpx.BaseTransport, request: httpx.Request) -> httpx.Response:
            response = inner.handle_request(request)
            response.read()
            if (request.method, request.url.path) != ("POST", "/v1/keys"):
                return response
            answer = response.json()
            seen.append(answer["secret"])
            return alter(answer["key"], answer["secret"]) or httpx.Response(201, json=answer)

        return Wrapping(transport=lambda inner: httpx.MockTransport(lambda request: handle(inner, request)))

    return make


def leaks(world: World, outcome: Any, secrets: list[str]) -> list[str]:
    """Where a secret is: in what is told, in the state or in the journal."""
    texts = {"failed": repr(outcome.failed), "told": json.dumps(world.told, default=repr)}
    for file in world.folder.rglob("*"):
        if file.is_file() and file.suffix != ".age":
            texts[file.name] = file.read_bytes().decode(errors="replace")
    return [name for name, text in texts.items() if any(secret.lower() in text.lower() for secret in secrets)]


POSITIONS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "name": lambda key, secret: key.update(name=f"a {secret}"),
    "description": lambda key, secret: key.update(description=secret.upper()),
    "metadata": lambda key, secret: key["metadata"].update(copy=secret),
    "metadata name": lambda key, secret: key["metadata"].update({secret: "copy"}),
    "scopes": lambda key, secret: key.update(scopes=[secret]),
    "kind": lambda key, secret: key.update(kind=secret),
    "start": lambda key, secret: key.update(start=secret),
    "base64": lambda key, secret: key.update(description=base64.b64encode(secret.encode()).decode()),
    "invisible": lambda key, secret: key.update(description="\u200b".join(secret)),
}


@pytest.mark.parametrize("position", POSITIONS)
def test_a_key_that_shows_its_secret_is_revoked_and_nothing_of_it_is_kept(
    world: World, answering: Callable[..., Wrapping], seen: list[str], position: str
) -> None:
    outcome = world.write(ONE).apply(wrap=answering(POSITIONS[position]))
    assert [d.code for d in outcome.failed] == ["service", "mint-undone"]
    assert "shows the new secret" in outcome.failed[0].summary
    assert leaks(world, outcome, seen) == []
    assert world.live() == {}
    assert not world.apply().failed
    assert not inspect(world)


def test_a_secret_as_the_label_is_no_key_of_ours(
    world: World, answering: Callable[..., Wrapping], seen: list[str]
) -> None:
    def relabel(key: dict[str, Any], secret: str) -> None:
        key.update(id=secret)
        key["metadata"].update(keyform=secret)

    outcome = world.write(ONE).apply(wrap=answering(relabel))
    assert "answer-lost" in [d.code for d in outcome.failed]
    assert leaks(world, outcome, seen) == []
    assert not world.apply().failed
    assert not inspect(world)


def test_a_secret_as_the_id_reaches_neither_journal_nor_message(
    world: World, answering: Callable[..., Wrapping], seen: list[str]
) -> None:
    outcome = world.write(ONE).apply(wrap=answering(lambda key, secret: key.update(id=secret)))
    assert outcome.failed
    assert leaks(world, outcome, seen) == []


@pytest.mark.parametrize("spell", [str, str.upper, "\u2060".join], ids=["plain", "upper", "invisible"])
def test_a_store_that_quotes_what_it_was_given_is_not_quoted(
    world: World, answering: Callable[..., Wrapping], seen: list[str], spell: Callable[[str], str]
) -> None:
    class Quoting:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def put(self, place: Place, secret: Secret, labels: dict[str, str], over: Any) -> None:
            raise StoreError(
                f"PUT failed: {spell(secret.reveal())}", f"the body was {spell(secret.reveal())}"
            )

    wrap = answering(lambda key, secret: None)
    outcome = world.write(ONE).apply(wrap=Wrapping(transport=wrap.transport, store=Quoting))
    assert outcome.failed[0].summary == "PUT failed: [hidden]"
    assert outcome.failed[0].detail == "the body was [hidden]"
    assert leaks(world, outcome, seen) == []
    assert world.live() == {}
