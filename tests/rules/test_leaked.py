"""What ``whose`` says of leaked keys at services that end old keys themselves, or that list none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from keyform.apply.ahead import calendar_now
from keyform.apply.leak import owner_of, standing_of
from keyform.engine.options import Options
from keyform.engine.whose import Standing
from keyform.model import Secret
from keyform.report.style import Style
from keyform.report.whose import answer_text
from tests.rules.conftest import Rules

CART = "keys:\n  back: {service: it, secret: back, kind: secret, rotation: {every: 30d, overlap: 3d}}\n"


def asked(it: Rules, leaked: Secret, *, at_once: bool = False) -> tuple[str, Standing]:
    """What is told of a leaked string, on one line, and what it is made from."""
    with it.world.open() as ws:
        owner = owner_of(ws, leaked)
        standing = standing_of(ws, leaked, owner.matches, at_once=at_once, reason="leaked")
    return " ".join(answer_text(owner, standing, at_once, Style(False), {}).split()), standing


def stored(it: Rules, address: str) -> Secret:
    secret = it.world.stored(address)
    assert secret is not None
    return secret


def test_an_old_cart_key_works_for_its_grace_and_nothing_ends_it_sooner(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(CART)
    old = stored(it, "keys.back")
    it.world.apply(Options(rotate=("keys.back",)))
    it.clock.move(hours=1)
    assert it.vendor.verify(old.reveal()).status_code == 200
    for at_once in (False, True):
        told, standing = asked(it, old, at_once=at_once)
        assert "active: it works until 2026-11-23T12:00:00Z" in told
        assert "RevKeen cart keys ends it by itself; nothing ends it sooner" in told
        assert "The plan" not in told
        assert "--now" not in told
        assert standing.plan is None
    assert it.world.plan(Options(end_old=("keys.back",))).empty
    it.clock.move(days=3)
    assert it.vendor.verify(old.reveal()).status_code == 401
    told, _ = asked(it, old)
    assert "it works no more" in told


def test_a_cart_key_that_is_in_use_is_not_said_to_end_at_once(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(CART)
    told, standing = asked(it, stored(it, "keys.back"), at_once=True)
    assert standing.plan is not None
    assert "The plan that ends it as soon as its service lets it:" in told
    assert "lives on for 1h" in told


def test_a_rotation_at_once_names_the_older_keys_that_live_on(rules: Callable[..., Rules]) -> None:
    it = rules("revkeen-cart")
    it.apply(CART)
    first = it.world.state().keys["keys.back"].current.id
    it.world.apply(Options(rotate=("keys.back",)))
    ends = (it.clock.now() + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (change,) = it.world.plan(Options(rotate=("keys.back",), rotate_now=True)).changes
    assert f"{first} (generation 1) works until {ends}" in change.reason
    assert "nothing ends it sooner" in change.reason


def test_where_no_keys_are_listed_only_the_state_says_that_one_works(rules: Callable[..., Rules]) -> None:
    it = rules("climeter")
    it.apply("keys:\n  k: {service: it, secret: k, scopes: ['events:write']}\n")
    told, standing = asked(it, stored(it, "keys.k"))
    assert [seen.status for seen in standing.seen] == ["unknown"]
    assert "unknown: by the state alone it is active; CLIMeter lists no keys" in told
    assert "it works" not in told


def test_the_calendar_says_what_the_service_ends_and_how_long_that_really_takes(
    rules: Callable[..., Rules],
) -> None:
    it = rules("revkeen-cart")
    it.apply(CART)
    it.world.apply(Options(rotate=("keys.back",), rotate_now=True))
    with it.world.open() as ws:
        found, _, _ = calendar_now(ws, it.clock.now() + timedelta(days=1))
    (entry,) = found.entries
    assert entry.why == "RevKeen cart keys ends it by itself, 1h after its successor"
