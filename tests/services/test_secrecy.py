"""No credential and no secret in any log, message, repr or traceback, at the most verbose level."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.errors import KeyformError
from keyform.model import KeySpec, Secret
from keyform.reference.faults import FaultRule

CREDENTIAL = "CANARY-credential"
PRESENTED = "CANARY-secret"
SPEC = KeySpec(kind="secret", environment="live", name="key", scopes=("events:write",))


def everything(problem: BaseException) -> str:
    """The traceback with the exceptions behind it, every repr, and every local that keyform's frames hold."""
    texts = ["".join(traceback.format_exception(problem)), repr(problem)]
    if isinstance(problem, KeyformError):
        texts += [repr(problem.diagnostics), str([found.as_json() for found in problem.diagnostics])]
    behind: BaseException | None = problem
    while behind is not None:
        texts += [repr(behind), repr(vars(behind))]
        behind = behind.__cause__ or behind.__context__
    return "\n".join(texts)


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"action": "drop_request"},
        {"action": "drop_answer"},
        {"action": "half_page"},
        {"action": "garbage"},
        {
            "action": "status",
            "status": 401,
            "body": {"error": {"code": CREDENTIAL, "message": "no " + CREDENTIAL}},
        },
        {"action": "status", "status": 500, "body": {"error": {"code": "x", "message": CREDENTIAL}}},
    ],
    ids=str,
)
def test_in_process(world: Any, caplog: pytest.LogCaptureFixture, rule: dict[str, Any] | None) -> None:
    caplog.set_level(logging.NOTSET)
    minted = world.service.create(SPEC, "lineage/1")
    secret = minted.secret.reveal()
    seen = [repr(minted), repr(world.service.__dict__), repr(world.service._http.__dict__)]
    if rule:
        world.strike(FaultRule(times=None, **rule))
    for operation in (
        lambda: world.service.prove(minted.secret, minted.key),
        lambda: world.service.create(SPEC, "lineage/2"),
        lambda: world.service.list(),
        lambda: world.service.own_key(),
        lambda: world.service.update(minted.key, SPEC, frozenset({"name"})),
        lambda: world.service.revoke(minted.key.id),
    ):
        try:
            seen.append(repr(operation()))
        except KeyformError as problem:
            assert problem.__cause__ is None
            assert problem.__context__ is None, "it must not hang on to the request"
            seen.append(everything(problem))
    seen.append(caplog.text)
    seen += [repr(record.__dict__) for record in caplog.records]
    text = "\n".join(seen)
    from_conftest = world.record.requests[0].headers["Authorization"].removeprefix("Bearer ")
    assert secret not in text
    assert secret[-43:] not in text
    assert from_conftest not in text


def test_what_a_service_echoes_is_masked(answering: Callable[..., Any]) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        said = request.headers.get("Authorization", "") + request.content.decode()
        return httpx.Response(401, json={"error": {"code": said[:300], "message": said}})

    service = answering(echo, credential=CREDENTIAL)
    key = (
        answering(
            lambda request: httpx.Response(201, json={"key": {"id": "k", "status": "active"}, "secret": "s"})
        )
        .create(SPEC, "l/m")
        .key
    )
    for operation in (service.own_key, lambda: service.prove(Secret(PRESENTED), key)):
        with pytest.raises(KeyformError, match=r"\[hidden\]") as caught:
            operation()
        assert "CANARY" not in everything(caught.value)


def test_over_a_socket(served: Any, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """httpcore logs requests and response headers at DEBUG."""
    endpoint, root = served
    caplog.set_level(logging.NOTSET)
    for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection", "hpack"):
        caplog.set_level(logging.NOTSET + 1, logger=name)
    service = connect(endpoint, credential=root)
    minted = service.create(SPEC, "lineage/1")
    service.prove(minted.secret, minted.key)
    service.close()
    text = caplog.text + repr([record.__dict__ for record in caplog.records])
    assert "httpcore" in text, "the library's own debug log was on"
    assert root not in text
    assert minted.secret.reveal() not in text
    with pytest.raises(TypeError):
        pickle.dumps(minted)
