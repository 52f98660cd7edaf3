"""A create that takes no order: what it made is handed out once, and never twice or to the wrong one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from keyform.cli.main import run
from keyform.errors import AnswerLost, ConfigError, ServiceError
from keyform.model import KeySpec, Secret
from keyform.services import open_service
from keyform.services import profiles as profiles_module
from keyform.services.check import check_profile
from keyform.services.profiles import load_profile
from keyform.services.trial import try_profile
from tests.services.conftest import ManualClock

FILE = Path(profiles_module.__file__).parent / "profiles" / "revkeen-cart.yaml"
MADE = "2026-11-20T12:00:00.000Z"
PAGE, BACK = KeySpec("publishable"), KeySpec("secret")


class Cart:
    """The least of a service: answers of status and ensure, replaceable one by one."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"publishable": None, "secret": None}
        self.rotated: Any = None
        self.calls: list[str] = []
        self.ensure: Callable[[], Any] = self.make

    def make(self) -> Any:
        made = {}
        for kind, key in self.keys.items():
            raw = None if key else f"raw-{kind}-CANARY"
            self.keys[kind] = key or {"id": f"key_{kind}", "key_kind": kind, "created_at": MADE}
            made[kind] = {"api_key": raw, "id": self.keys[kind]["id"], "key_kind": kind}
        return made

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(f"{request.method} {request.url.path}")
        if request.url.path.endswith("/status"):
            return httpx.Response(200, json=self.keys)
        if request.url.path.endswith("/ensure"):
            return httpx.Response(200, json=self.ensure())
        return httpx.Response(200, json=self.rotated)

    def open(self, mode: str | None = None) -> Any:
        profile = load_profile("revkeen-cart", Path())
        assert profile is not None
        return open_service(
            "cart",
            "revkeen-cart",
            profile=profile,
            endpoint=None,
            credential=Secret("credential"),
            options={},
            folder=Path(),
            clock=ManualClock(),
            mode=mode,
            wrap_transport=lambda _: httpx.MockTransport(self.answer),
        )


@pytest.fixture
def cart() -> Cart:
    return Cart()


def text(secret: Secret | None) -> str:
    assert secret is not None
    return secret.reveal()


def test_one_call_serves_both_creates_and_each_once(cart: Cart) -> None:
    service = cart.open()
    found: dict[str, str] = {}

    def create(spec: KeySpec) -> None:
        found[spec.kind or ""] = text(service.create(spec, f"l/{spec.kind}").secret)

    threads = [threading.Thread(target=create, args=(spec,)) for spec in (PAGE, BACK)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {kind: f"raw-{kind}-CANARY" for kind in ("publishable", "secret")}
    assert cart.calls.count("POST /v2/cart-api-keys/ensure") == 1
    with pytest.raises(ServiceError, match="has its one secret key already, key_secret"):
        service.create(BACK, "l/again")


def test_one_that_is_there_is_seen_before_anything_is_asked(cart: Cart) -> None:
    cart.make()
    with pytest.raises(ServiceError, match="already, key_secret") as told:
        cart.open().create(BACK, "l/m")
    advice = told.value.diagnostics[0].detail
    assert "apply again: keyform takes it over" in advice
    assert "Else adopt it with `imports`, by the id key_secret" in advice
    assert cart.calls == ["GET /v2/cart-api-keys/status"]


def test_one_that_somebody_made_in_between_is_not_taken(cart: Cart) -> None:
    def late() -> Any:
        cart.make()
        return cart.make()

    cart.ensure = late
    with pytest.raises(ServiceError, match="already, key_secret") as told:
        cart.open().create(BACK, "l/m")
    assert not isinstance(told.value, AnswerLost)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        "done",
        {"publishable": None, "secret": None},
        {"publishable": None},
        {"publishable": {"id": "x", "key_kind": "publishable", "api_key": "raw"}, "secret": None},
        {"publishable": None, "secret": {"key_kind": "secret", "api_key": "raw"}},
        {"publishable": None, "secret": "raw"},
    ],
)
def test_an_answer_that_makes_no_sense_leaves_it_open_what_was_made(cart: Cart, answer: Any) -> None:
    cart.ensure = lambda: answer
    with pytest.raises(AnswerLost):
        cart.open().create(BACK, "l/m")


@pytest.mark.parametrize(
    "shown", [{}, [], {"publishable": None}, {"publishable": None, "secret": {"id": 7}}, {"error": "x"}]
)
def test_half_a_status_is_no_proof_of_absence(cart: Cart, shown: Any) -> None:
    cart.keys = shown
    service = cart.open()
    assert not service.list().complete
    with pytest.raises(ServiceError, match="cannot be seen as a whole"):
        service.create(BACK, "l/m")
    assert "POST /v2/cart-api-keys/ensure" not in cart.calls


def test_there_is_no_call_that_revokes(cart: Cart) -> None:
    with pytest.raises(ServiceError, match="has no call for `revoke`"):
        cart.open().revoke("key_secret")
    assert cart.calls == []


@pytest.mark.parametrize("mode", ["contract", "assisted"])
def test_no_other_mode(cart: Cart, mode: str) -> None:
    with pytest.raises(ConfigError, match="take no `mode`"):
        cart.open(mode)


def test_a_trial_mints_no_canary_that_nothing_could_revoke(cart: Cart) -> None:
    found = [(trial.step, trial.outcome) for trial in try_profile(cart.open())]
    assert found == [("list", "passed"), ("create", "skipped")]
    assert cart.calls == ["GET /v2/cart-api-keys/status"]


@pytest.mark.parametrize("body", [{"id": "n", "key_kind": "secret"}, {"api_key": "raw"}, "rotated"])
def test_a_rotation_without_key_or_secret_leaves_it_open(cart: Cart, body: Any) -> None:
    cart.rotated = body
    with pytest.raises(AnswerLost, match="rotating key old failed"):
        cart.open().reroll("old", BACK, timedelta(hours=1), "l/m")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree["operations"].pop("reroll"), "cannot be seen, or not be replaced"),
        (lambda tree: tree["operations"].pop("list"), "cannot be seen, or not be replaced"),
        (lambda tree: tree.pop("one_per_kind"), "nothing says how a key is revoked"),
        (lambda tree: tree.update(one_per_kind="each"), "keys have `kind`, and `create` does not send it"),
        (lambda tree: tree["operations"]["list"].update(items=["a[", "b"]), "is no path"),
    ],
)
def test_a_profile_that_lacks_what_goes_with_one_key_per_kind_is_told(
    change: Callable[[Any], object], says: str
) -> None:
    tree = yaml.safe_load(FILE.read_text())
    assert check_profile(yaml.safe_dump(tree).encode(), "it") == ()
    change(tree)
    found = check_profile(yaml.safe_dump(tree).encode(), "it")
    assert any(says in diagnostic.summary for diagnostic in found), found


def test_the_types_own_page_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["services", "revkeen-cart"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Exactly one key per kind, replaced by `reroll`." in told
    assert "no call revokes a key" in told
    for name in ("list", "create", "reroll"):
        assert f"{name} documented RevKeen API reference, cart API keys" in told
    assert run(["services", "revkeen"]) == 0
    assert "they are the type revkeen-cart" in " ".join(capsys.readouterr().out.split())
