"""The canary of tests/conftest.py knows the keys of every service that the reference stands in for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MINTED
from tests.reference.conftest import Clock
from tests.reference.vendors import Vendor
from tests.rules.conftest import Rules

CREATES: dict[str, dict[str, Any]] = {
    "revenium": {"kind": "write"},
    "revkeen": {"environment": "sandbox", "scopes": ["customers:read"]},
    "millimetric": {"kind": "ak", "environment": "live"},
    "climeter": {"scopes": ["events:write"]},
    "devtune": {"project": "acme"},
    "unkey": {"prefix": "acme"},
}


@pytest.mark.parametrize("name", CREATES)
def test_the_canary_knows_the_keys_of(name: str, tmp_path: Path) -> None:
    it = Rules(name, tmp_path)
    if name == "devtune":
        it.vendor.project("acme")
    body = it.create(CREATES[name]).json()
    secret = body.get("secret") or body.get("key") or body["data"]["key"]
    assert MINTED.findall(f"a log line with {secret}, and more".encode()) == [secret.encode()]


def test_the_canary_knows_cart_keys(tmp_path: Path) -> None:
    vendor = Vendor("revkeen", tmp_path, Clock())
    text = vendor.call("POST", "/v2/cart-api-keys/ensure", {}).text
    assert len(MINTED.findall(text.encode())) >= 2
