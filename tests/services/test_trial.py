"""A live trial of a profile at services that answer badly: the cause is told, and no canary is left behind
without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.services.canary import canary_spec
from keyform.services.trial import Trial, try_profile
from tests.services.conftest import START
from tests.services.speaking import body, speaking
from tests.world import MovedClock

PROFILE = """
version: 1
title: Tills
base_url: https://tills.example
marker: metadata
times: epoch_s
kinds: {reader: {prefix: t_r_, scopes: [read]}}
default_kind: reader
scopes: {read: to read}
fields: [name, scopes, metadata, expires_in]
shown: [name, scopes, metadata, expires_at]
mutable: [name]
key:
  id: id
  kind: {by: prefix, at: start}
  name: name
  scopes: scopes
  metadata: meta
  expires_at: ends
  created_at: iat
  status: {revoked: {killed: true}}
operations:
  list: {backing: documented, path: /keys, items: keys}
  create:
    backing: documented
    path: /keys
    body: {name: "{name}", scopes: "{scopes}", meta: "{metadata}", ends: "{expires_at}"}
    key: ""
    secret: secret
  update: {backing: documented, path: "/keys/{id}", fields: {name: {name: "{name}"}}}
  revoke: {backing: documented, method: DELETE, path: "/keys/{id}"}
  prove: {backing: documented, path: /me, expect: {ok: true}, refused_if: {ok: false}, id: key}
"""


@dataclass
class Tills:
    """Tells of every wrong key with status 200."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    secret: str = "t_r_1"
    spoil: Callable[[httpx.Request, Any], httpx.Response | None] = lambda request, answer: None
    stubborn: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request)
        return self.spoil(request, answer) or httpx.Response(200, json=answer)

    def _answer(self, request: httpx.Request) -> Any:
        if request.url.path == "/me":
            works = request.headers["Authorization"] == f"Bearer {self.secret}"
            alive = works and not self.keys["k1"].get("killed")
            return {"ok": alive, **({"key": "k1"} if alive else {})}
        if request.method == "GET":
            return {"keys": list(self.keys.values())}
        one = request.url.path.rpartition("/")[2]
        if request.method == "DELETE":
            self.keys[one]["killed"] = not self.stubborn
            return {"killed": True}
        if request.url.path == "/keys":
            one = f"k{len(self.keys) + 1}"
            self.keys[one] = {"id": one, "start": "t_r_", "iat": "1767225600", **body(request)}
            return {**self.keys[one], "secret": self.secret}
        self.keys[one].update(body(request))
        return {}


def tried(tills: Tills, text: str = PROFILE) -> dict[str, Trial]:
    service = speaking(text, tills)
    return {trial.step: trial for trial in try_profile(service, canary_spec(service.profile, now=START))}


def failures(trials: dict[str, Trial]) -> dict[str, str]:
    return {step: trial.diagnostics[0].summary for step, trial in trials.items() if trial.outcome == "failed"}


def replaced(path: str, **more: Any) -> Callable[[httpx.Request, Any], httpx.Response | None]:
    """Answers of ``path`` hold something else; a listing is of whole keys."""

    def spoil(request: httpx.Request, answer: Any) -> httpx.Response | None:
        if request.url.path != path or (path == "/me" and not answer["ok"]):
            return None
        if "keys" in answer:
            answer = {"keys": [{**key, **more} for key in answer["keys"]]}
        return httpx.Response(200, json={**answer, **more})

    return spoil


def test_a_sound_service_passes_with_an_expiry_and_times_as_text() -> None:
    tills = Tills()
    trials = tried(tills)
    assert failures(trials) == {}
    assert [trial.outcome for trial in trials.values()].count("passed") == 7
    assert tills.keys["k1"]["killed"] is True
    assert datetime.fromtimestamp(tills.keys["k1"]["ends"], UTC) > START


def test_another_end_than_asked_for_is_told() -> None:
    trials = tried(Tills(spoil=replaced("/keys", ends=4102444800)))
    assert (
        "`expires_at` was asked for as 2026-01-02T00:00:00Z and is shown as 2100-01-01"
        in (failures(trials)["list the new key"])
    )


def test_the_canary_of_an_answer_that_makes_no_sense_is_told_of() -> None:
    trials = tried(Tills(spoil=replaced("/keys", iat="yesterday")))
    found = failures(trials)
    assert "created_at is not a number of seconds since 1970" in found["create"]
    assert "not known whether the create was carried out" in found["clean up"]
    detail = trials["clean up"].diagnostics[0].detail
    assert "'keyform trial'" in detail
    assert "delete it by hand" in detail


def test_a_revocation_that_did_not_happen_leaves_a_canary_to_delete_by_hand() -> None:
    trials = tried(Tills(stubborn=True))
    found = failures(trials)
    assert found["revoke"] == "the revoked key is listed as active"
    assert found["clean up"] == "the canary key k1 may still work: it could not be revoked"
    assert "Delete it at the service by hand" in trials["clean up"].diagnostics[0].detail
    assert "revoke again" not in trials


def test_a_key_that_works_on_after_its_revocation_is_told() -> None:
    tills = Tills()
    tills.spoil = lambda request, answer: (
        httpx.Response(200, json={"ok": True, "key": "k1"})
        if request.url.path == "/me" and request.headers["Authorization"].endswith("t_r_1")
        else None
    )
    found = failures(tried(tills))
    assert found == {"revoke": "the revoked key still works"}


def test_an_id_of_another_key_is_no_proof() -> None:
    found = failures(tried(Tills(spoil=replaced("/me", key="k7"))))
    assert found == {"prove": "the answer names the key k7, and k1 was tried"}


def test_a_secret_that_is_none_of_such_a_key_is_told_and_not_shown() -> None:
    tills = Tills(secret="lol-CANARY")
    found = failures(tried(tills))
    assert list(found) == ["create"]
    assert "not one of such a key: a Tills key of kind reader begins with t_r_" in found["create"]
    assert "CANARY" not in json.dumps(found)
    assert tills.keys["k1"]["killed"] is True


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(200, html="<html>"), "the answer is text/html, not JSON"),
        (
            httpx.Response(200, content=b'{"id": "k', headers={"Content-Type": "application/json"}),
            "not whole",
        ),
    ],
    ids=["page", "half"],
)
def test_the_cause_of_a_create_without_a_secret_is_told(answer: httpx.Response, said: str) -> None:
    tills = Tills()
    tills.spoil = lambda request, _: (
        answer if (request.method, request.url.path) == ("POST", "/keys") else None
    )
    found = failures(tried(tills))
    assert list(found) == ["create"]
    assert said in found["create"]
    assert tills.keys["k1"]["killed"] is True


def test_a_missing_refused_if_is_named() -> None:
    trials = tried(Tills(), PROFILE.replace("refused_if: {ok: false}, ", ""))
    assert "the key works, and the answer to a wrong one is not understood" in failures(trials)["prove"]
    assert "`operations.prove.refused_if`" in trials["prove"].diagnostics[0].detail


def test_no_canary_is_minted_where_keys_cannot_be_listed() -> None:
    tills = Tills(spoil=replaced("/keys", keys=7))
    trials = tried(tills)
    assert (trials["list"].outcome, trials["create"].outcome) == ("failed", "skipped")
    assert tills.keys == {}


def test_an_update_without_a_method_is_a_post() -> None:
    seen: list[str] = []
    tills = Tills()
    tills.spoil = lambda request, _: seen.append(f"{request.method} {request.url.path}")
    tried(tills)
    assert "POST /keys/k1" in seen


def test_an_apply_tells_what_became_of_the_last_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tills = Tills()
    tills.spoil = lambda request, _: (
        httpx.Response(200, html="<html>")
        if (request.method, request.url.path) == ("POST", "/keys")
        else None
    )
    monkeypatch.setenv("TILLS", "CANARY-credential")
    (tmp_path / "tills.yaml").write_text(PROFILE)
    (tmp_path / "keyform.yaml").write_text(
        'version: 1\nservices: {it: {type: ./tills.yaml, credential: "${env:TILLS}"}}\n'
        "keys: {k: {service: it, scopes: [read], secret: k}}\n"
    )
    wrap = Wrapping(transport=lambda _: httpx.MockTransport(tills))
    assert run(["-C", str(tmp_path), "apply", "--auto-approve"], clock=MovedClock(), wrap=wrap) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "creates of keys.k in a row without a secret" in told
    assert (
        "Of the last answer this is known: service 'it': creating a key failed: 200: the answer is text"
        in told
    )
    assert all(key["killed"] for key in tills.keys.values())
