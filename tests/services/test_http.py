"""Retries, and what a user reads when a call fails."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from keyform.errors import AnswerLost, Refused, ServiceError, Unreachable
from keyform.model import KeySpec, Secret
from keyform.reference.faults import FaultRule
from keyform.services.failures import safe
from keyform.services.http import ATTEMPTS

SPEC = KeySpec(kind="secret", environment="live", name="key", scopes=("events:write",))


def run(service: Any, operation: str) -> Any:
    """One operation by name, on a key that exists."""
    if operation == "create":
        return service.create(SPEC, "lineage/again")
    key = service.create(SPEC, "lineage/first").key
    return {
        "list": lambda: service.list(),
        "update": lambda: service.update(key, KeySpec(name="new"), frozenset({"name"})),
        "revoke": lambda: service.revoke(key.id),
        "set_origins": lambda: service.set_origins("web", ("https://a.example",)),
        "own_key": lambda: service.own_key(),
    }[operation]()


METHODS = {
    "create": "POST", "list": "GET", "update": "PATCH", "revoke": "DELETE", "set_origins": "PUT",
    "own_key": "GET",
}  # fmt: skip


@pytest.mark.parametrize("operation", METHODS)
@pytest.mark.parametrize(
    "rule",
    [
        {"action": "status", "status": 500},
        {"action": "status", "status": 502},
        {"action": "status", "status": 503, "retry_after": 2},
        {"action": "status", "status": 504},
        {"action": "status", "status": 504, "carry_out": True},
        {"action": "status", "status": 429, "retry_after": 1},
        {"action": "drop_request"},
        {"action": "drop_answer"},
    ],
    ids=str,
)
def test_every_operation_survives_passing_trouble(world: Any, operation: str, rule: dict[str, Any]) -> None:
    after = 1 if operation != "create" and METHODS[operation] == "POST" else 0
    world.strike(FaultRule(method=METHODS[operation], after=after, times=2, **rule))
    result = run(world.service, operation)
    if operation == "create":
        assert world.live() == ["key"]
        carried_out = rule["action"] == "drop_answer" or rule.get("carry_out")
        assert (result.secret is None) == bool(carried_out)


def test_the_pause_of_a_503_is_honoured(world: Any) -> None:
    world.strike(FaultRule("status", path="/v1/whoami", status=503, retry_after=20, times=2))
    world.service.own_key()
    assert 40 <= world.clock.monotonic() < 41


def test_attempts_are_bounded_and_pause_longer_and_longer_at_most(world: Any) -> None:
    world.strike(FaultRule("status", path="/v1/whoami", status=500, times=None))
    with pytest.raises(ServiceError, match="500 internal_error"):
        world.service.own_key()
    assert world.record.statuses == [500] * ATTEMPTS
    assert 0 < world.clock.monotonic() <= 0.5 + 1 + 2 + 4


@pytest.mark.parametrize("action", ["drop_request", "drop_answer"])
@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("create", AnswerLost), ("update", AnswerLost), ("revoke", AnswerLost), ("set_origins", AnswerLost),
        ("own_key", Unreachable), ("list", Unreachable),
    ],
)  # fmt: skip
def test_a_lost_answer_is_told_from_no_answer(
    world: Any, action: str, operation: str, expected: type[ServiceError]
) -> None:
    rule = FaultRule(action, method=METHODS[operation], times=None)
    world.strike(rule)
    with pytest.raises(ServiceError, match="the connection broke before an answer came") as caught:
        run(world.service, operation)
    assert type(caught.value) is expected
    assert world.clock.monotonic() > 0


def test_a_create_that_may_have_happened_stays_in_doubt_whatever_comes_after(world: Any) -> None:
    world.strike(
        FaultRule("drop_answer", method="POST"), FaultRule("status", method="POST", after=1, status=401)
    )
    with pytest.raises(AnswerLost, match="401"):
        run(world.service, "create")
    assert world.live() == ["key"]


def test_a_create_that_was_answered_with_a_web_page_is_in_doubt(world: Any) -> None:
    world.strike(FaultRule("garbage", method="POST", carry_out=True))
    with pytest.raises(AnswerLost, match="text/html, not JSON"):
        run(world.service, "create")


def test_a_create_whose_answer_is_cut_is_recognised_again(answering: Callable[..., Any], world: Any) -> None:
    calls: list[httpx.Request] = []

    def cut_the_first(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        answer = world.record.handle_request(request)
        answer.read()
        if len(calls) > 1:
            return answer
        return httpx.Response(201, headers={"Content-Type": "application/json"}, content=answer.content[:40])

    minted = answering(cut_the_first).create(SPEC, "lineage/again")
    assert minted.secret is None
    assert [call.headers["Idempotency-Key"] for call in calls] == [calls[0].headers["Idempotency-Key"]] * 2
    assert world.live() == ["key"]


@pytest.mark.parametrize(
    ("status", "body", "said", "next_step"),
    [
        (400, {}, "400", "report it"),
        (401, {"error": {"code": "invalid_api_key", "message": "Unknown."}},
         '401 invalid_api_key: "Unknown."', "Check the service's `credential`"),
        (403, {"error": {"code": "insufficient_scope"}}, "403 insufficient_scope", "right to manage keys"),
        (404, None, "404", "Check the service's `endpoint`"),
        (405, [], "405", "Check the service's `endpoint`"),
        (409, {"error": "flat"}, "409", "plan again"),
        (413, {"error": {"code": 7, "message": None}}, "413", "shorter"),
        (418, {}, "418", "See what the service says"),
        (422, {"error": {"code": "unknown_scope", "message": "No."}}, "422 unknown_scope", "configuration"),
        (429, {}, "429", "--parallelism"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_and_what_to_do(
    answering: Callable[..., Any], status: int, body: Any, said: str, next_step: str
) -> None:
    service = answering(lambda request: httpx.Response(status, json=body))
    with pytest.raises(Refused) as caught:
        service.own_key()
    (diagnostic,) = caught.value.diagnostics
    assert caught.value.status == status
    assert diagnostic.summary.startswith("service 'sandbox': asking for keyform's own key failed: ")
    assert said in diagnostic.summary
    assert next_step in diagnostic.detail


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(200, html="<h1>Sign in</h1>"), "200: the answer is text/html, not JSON"),
        (httpx.Response(200, content=b"hello"), "200: the answer is of no declared type, not JSON"),
        (httpx.Response(200, content=b""), "200: the answer is empty"),
        (httpx.Response(200, content=b'{"key_id": "k', headers={"Content-Type": "application/json"}),
         "200: the answer is not whole JSON"),
        (httpx.Response(200, content=b"[" * 200_000, headers={"Content-Type": "application/json"}),
         "200: the answer is not whole JSON"),
        (httpx.Response(302, headers={"Location": "https://else.example/x?token=abc"}),
         "302: the service sends the request on to https://else.example/x"),
        (httpx.Response(501, html="no"), "501"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_answer_that_cannot_be_understood_says_so(
    answering: Callable[..., Any], response: httpx.Response, said: str
) -> None:
    with pytest.raises(ServiceError) as caught:
        answering(lambda request: response).own_key()
    assert type(caught.value) is ServiceError
    assert caught.value.diagnostics[0].summary.endswith(said)
    assert caught.value.diagnostics[0].detail


def test_a_redirect_is_not_followed(answering: Callable[..., Any]) -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://else.example/"})

    with pytest.raises(ServiceError):
        answering(answer).own_key()
    assert hosts == ["localhost"]


@pytest.mark.parametrize(
    ("cause", "said", "attempts"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "cannot connect to localhost:1", ATTEMPTS),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "host name localhost:1 cannot be",
            1,
        ),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "host name localhost:1 cannot be", ATTEMPTS),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "certificate of localhost:1 is not", 1),
        (ssl.SSLError(1, "wrong version number"), "does not speak TLS", 1),
    ],
)
def test_what_keeps_a_connection_from_being_made(
    answering: Callable[..., Any], cause: OSError, said: str, attempts: int
) -> None:
    tried = []

    def fail(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        raise httpx.ConnectError(str(cause)) from cause

    for operation in (lambda s: s.own_key(), lambda s: s.create(SPEC, "lineage/1")):
        tried.clear()
        with pytest.raises(Unreachable, match=said) as caught:
            operation(answering(fail))
        assert len(tried) == attempts
        assert caught.value.diagnostics[0].detail


@pytest.mark.parametrize("headers", [{"Content-Length": "40"}, {}])
def test_an_answer_beyond_all_measure_is_given_up(
    answering: Callable[..., Any], clock: Any, headers: dict[str, str]
) -> None:
    class Drip(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            while True:
                clock.sleep(10)
                yield b" "

    service = answering(lambda request: httpx.Response(200, headers=headers, stream=Drip()))
    with pytest.raises(ServiceError, match="too long"):
        service.own_key()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m\nand\tmore", "[31mred[0m and more"),
        ("a\u202eb\u200bc\x00\x9bd", "abcd"),
        ("x" * 500, "x" * 199 + "…"),
        ("key sk_live_abc is bad", "key [hidden] is bad"),
        ("", ""),
    ],
)
def test_foreign_text_is_made_safe(text: str, shown: str) -> None:
    assert safe(text, [Secret("sk_live_abc")]) == shown
