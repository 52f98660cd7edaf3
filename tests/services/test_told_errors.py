"""Services that tell of errors in answers with a status of success."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from keyform.errors import Refused, ServiceError
from keyform.model import KeySpec, LiveKey, Secret
from tests.services.conftest import ManualClock
from tests.services.speaking import profile_text, speaking

ERRORS = "errors: {code: [error], message: [detail], failed_if: {ok: false}%s}\nkey: {id: id}"
STATUSES = ", statuses: {invalid_auth: 401, token_not_found: 404, ratelimited: 429, oops: 500}"
CALLS = """\
  list: {backing: documented, path: /keys, items: keys}
  prove: {backing: documented, path: /me, expect: {ok: true}}
"""


class Told:
    """A service that always answers 200, and ``says`` by path what went wrong."""

    def __init__(self, *, statuses: str = "", revoke: str = "", calls: str = CALLS) -> None:
        self.says: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.times: dict[str, int] = {}
        self.clock = ManualClock()
        text = profile_text(ERRORS % statuses, calls, revoke=revoke)
        self.client = speaking(text, self.answer, self.clock)

    def answer(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path}"
        self.asked.append(call)
        if call in self.says and self.times.get(call, 1):
            self.times[call] = self.times.get(call, 10**6) - 1
            return httpx.Response(200, json={"ok": False, **self.says[call]})
        if request.method == "POST":
            return httpx.Response(200, json={"ok": True, "id": "k1", "secret": "s3cret-of-a-test"})
        return httpx.Response(200, json={"ok": True, "keys": [{"id": "k1"}]})


SPEC = KeySpec(name="a")


def test_the_services_own_word_is_shown_and_nothing_is_taken_to_be_done() -> None:
    told = Told()
    told.says["POST /keys"] = {"error": "quota_exceeded", "detail": "You have 30 tokens."}
    with pytest.raises(Refused) as refused:
        told.client.create(SPEC, "l/m")
    assert str(refused.value) == (
        "service 'made-up': creating a key failed: 200 quota_exceeded: \"You have 30 tokens.\""
    )
    assert (refused.value.status, refused.value.reason) == (200, "quota_exceeded")
    assert told.asked == ["POST /keys"]


@pytest.mark.parametrize(("statuses", "status"), [("", 200), (STATUSES, 401)])
def test_a_refused_credential_is_no_incomplete_listing(statuses: str, status: int) -> None:
    told = Told(statuses=statuses)
    told.says["GET /keys"] = {"error": "invalid_auth"}
    with pytest.raises(Refused, match="listing the keys failed: ") as refused:
        told.client.list()
    assert (refused.value.status, refused.value.reason) == (status, "invalid_auth")
    if status == 401:
        assert "Check the service's `credential`" in refused.value.diagnostics[0].detail


@pytest.mark.parametrize(
    ("statuses", "revoke"),
    [("", ', accept: ["200 token_not_found"]'), (STATUSES, ', accept: ["404 token_not_found"]')],
)
def test_a_key_that_is_gone_can_be_accepted(statuses: str, revoke: str) -> None:
    told = Told(statuses=statuses, revoke=revoke)
    told.says["DELETE /keys/k1"] = {"error": "token_not_found"}
    told.client.revoke("k1")
    told.says["DELETE /keys/k1"] = {"error": "not_allowed"}
    with pytest.raises(Refused, match="200 not_allowed"):
        told.client.revoke("k1")


def test_what_may_hide_a_missing_right_is_looked_up() -> None:
    told = Told(statuses=STATUSES)
    told.says["DELETE /keys/k1"] = {"error": "token_not_found"}
    with pytest.raises(Refused, match="404 token_not_found"):
        told.client.revoke("k1")  # it is listed
    told.says["DELETE /keys/k2"] = {"error": "token_not_found"}
    told.client.revoke("k2")


def test_a_revocation_that_failed_is_never_taken_for_one_that_was_made() -> None:
    told = Told()
    told.says["DELETE /keys/k1"] = {"error": "token_not_found"}
    with pytest.raises(Refused, match="200 token_not_found"):
        told.client.revoke("k1")


def test_a_rate_limit_is_waited_for_and_a_fault_tried_again() -> None:
    told = Told(statuses=STATUSES)
    for call, code in (("POST /keys", "ratelimited"), ("GET /keys", "oops")):
        told.says[call], told.times[call] = {"error": code}, 2
    assert told.client.list().complete
    assert told.client.create(SPEC, "l/m").secret is not None
    assert told.asked.count("POST /keys") == told.asked.count("GET /keys") == 3
    assert told.clock.monotonic() > 0


def test_a_secret_that_does_not_work_is_refused_without_further_words() -> None:
    told = Told()
    told.says["GET /me"] = {"error": "invalid_auth"}
    with pytest.raises(Refused, match="proving key k1 failed: 200 invalid_auth"):
        told.client.prove(Secret("s3cret-of-a-test"), LiveKey("k1", SPEC))


def test_the_words_of_an_error_hold_no_credential() -> None:
    told = Told()
    told.says["POST /keys"] = {"error": "bad CANARY-credential", "detail": "s"}
    with pytest.raises(ServiceError) as refused:
        told.client.create(SPEC, "l/m")
    assert "CANARY" not in str(refused.value)


def test_an_answer_without_the_sign_of_failure_is_taken_as_it_is() -> None:
    told = Told()
    assert [key.id for key in told.client.list().keys] == ["k1"]
    assert told.client.create(SPEC, "l/m").key.id == "k1"
