"""Each scripted fault, and when it strikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyform.reference.faults import ConnectionDropped, FaultRule, Faults

from .conftest import Service, refusal

Starter = Callable[..., Service]
CREATE = {"method": "POST", "path": "^/v1/keys$"}


def names(service: Service) -> list[str]:
    return [key["name"] for key in service.http.get("/v1/keys").json()["data"]]


def test_a_dropped_answer_hides_a_create_that_happened(start: Starter) -> None:
    service = start(faults=Faults([FaultRule("drop_answer", **CREATE)]))
    with pytest.raises(ConnectionDropped):
        service.create("marker", name="hidden")
    assert names(service) == ["hidden"]
    assert service.create("marker", name="hidden").headers["Idempotency-Replayed"] == "true"


def test_a_dropped_request_never_happened(start: Starter) -> None:
    service = start(faults=Faults([FaultRule("drop_request", **CREATE)]))
    with pytest.raises(ConnectionDropped):
        service.create("marker")
    assert names(service) == []
    assert service.create("marker").status_code == 201


@pytest.mark.parametrize(
    ("status", "code"), [(500, "internal_error"), (503, "unavailable"), (429, "rate_limited")]
)
def test_a_status_is_answered_with_its_retry_after(start: Starter, status: int, code: str) -> None:
    service = start(faults=Faults([FaultRule("status", **CREATE, status=status, retry_after=7)]))
    answer = service.create()
    assert refusal(answer) == (status, code)
    assert answer.headers["Retry-After"] == "7"
    assert names(service) == []


def test_a_status_may_hide_a_create_that_happened(start: Starter) -> None:
    body = {"error": "BOOM"}
    service = start(faults=Faults([FaultRule("status", **CREATE, status=502, body=body, carry_out=True)]))
    answer = service.create(name="hidden")
    assert (answer.status_code, answer.json()) == (502, body)
    assert "Retry-After" not in answer.headers
    assert names(service) == ["hidden"]


@pytest.mark.parametrize(("carry_out", "kept"), [(False, []), (True, ["Backend"])])
def test_garbage_is_html_that_claims_success(start: Starter, carry_out: bool, kept: list[str]) -> None:
    service = start(faults=Faults([FaultRule("garbage", **CREATE, carry_out=carry_out)]))
    answer = service.create()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert names(service) == kept


def test_half_a_page_is_no_json(start: Starter) -> None:
    service = start(faults=Faults([FaultRule("half_page", path="^/v1/keys$", method="GET")]))
    service.minted()
    answer = service.http.get("/v1/keys")
    assert answer.status_code == 200
    assert answer.text.startswith('{"data": [{"id"')
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()
    assert names(service) == ["Backend"]


def test_a_repeated_cursor_never_ends_the_list(start: Starter) -> None:
    faults = Faults([FaultRule("repeat_cursor", path="^/v1/keys$", method="GET", times=None)])
    service = start(faults=faults)
    service.minted()
    cursors = set()
    parameters: dict[str, str] = {}
    for _ in range(5):
        page = service.http.get("/v1/keys", params=parameters).json()
        assert len(page["data"]) == 1
        parameters["cursor"] = page["next_cursor"]
        cursors.add(page["next_cursor"])
    assert len(cursors) == 1


def test_latency_waits_and_goes_on_to_the_next_rule(start: Starter) -> None:
    waited: list[float] = []
    rules = [FaultRule("latency", seconds=2.5, times=2), FaultRule("status", status=503)]
    service = start(faults=Faults(rules, sleep=waited.append))
    assert [service.http.get("/v1/keys").status_code for _ in range(3)] == [503, 200, 200]
    assert waited == [2.5, 2.5]


def test_a_rule_strikes_after_some_requests_and_so_many_times(start: Starter) -> None:
    faults = Faults([FaultRule("status", method="GET|PUT", path="/projects", after=2, times=3)])
    service = start(faults=faults)
    service.http.get("/v1/keys")
    service.http.delete("/v1/projects/web")
    statuses = [service.http.get("/v1/projects").status_code for _ in range(7)]
    assert statuses == [200, 200, 503, 503, 503, 200, 200]
    assert faults.seen() == (7,)
    faults.clear()
    assert faults.seen() == ()


def test_a_script_is_installed_and_cleared_over_http(start: Starter) -> None:
    service = start(faults=Faults())
    rule = {"action": "status", "path": ".*", "times": None, "status": 500}
    assert service.http.put("/_faults", json={"rules": [rule]}).status_code == 204
    assert [service.http.get("/v1/keys").status_code for _ in range(2)] == [500, 500]
    assert service.http.delete("/_faults").status_code == 204
    assert service.http.get("/v1/keys").status_code == 200


def test_a_script_needs_the_management_credential(start: Starter) -> None:
    service = start(faults=Faults())
    stranger = service.client(None)
    assert refusal(stranger.put("/_faults", json={"rules": []})) == (401, "invalid_api_key")
    assert refusal(stranger.delete("/_faults")) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "script",
    [
        [],
        {},
        {"rules": {}},
        {"rules": [{}]},
        {"rules": [{"action": "explode"}]},
        {"rules": [{"action": "status", "colour": "red"}]},
        {"rules": [{"action": "status", "path": "("}]},
        {"rules": [{"action": "status", "path": 5}]},
        {"rules": [{"action": "status", "status": 200}]},
        {"rules": [{"action": "status", "status": "500"}]},
        {"rules": [{"action": "status", "after": -1}]},
        {"rules": [{"action": "status", "times": 0}]},
        {"rules": [{"action": "latency", "seconds": -1}]},
        {"rules": [{"action": ["status"]}]},
    ],
)
def test_a_script_that_makes_no_sense_is_refused_and_changes_nothing(start: Starter, script: Any) -> None:
    faults = Faults([FaultRule("status", path="/v1/projects", times=None)])
    service = start(faults=faults)
    assert refusal(service.http.put("/_faults", json=script)) == (422, "invalid_request")
    assert service.http.get("/v1/projects").status_code == 503


def test_without_faults_there_is_no_such_route(service: Service) -> None:
    assert refusal(service.http.put("/_faults", json={"rules": []})) == (404, "not_found")
