"""A service whose listing and answers hide some fields: what was asked for is what is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Workspace, Wrapping
from tests.apply.outside import backend, crash, declare, die, nth, requests
from tests.world import World

HIDDEN = ("expires_at", "environment")


class ShyWorld(World):
    """The embedded service behind a front that shows neither expiry nor environment; its profile says so."""

    def open(self, wrap: Wrapping | None = None, variables: Mapping[str, str] | None = None) -> Workspace:
        ws = super().open(wrap, variables)
        declared = ws.config.services["sandbox"]
        profile = replace(declared.profile, shown=declared.profile.shown - set(HIDDEN))
        services = {"sandbox": replace(declared, profile=profile)}
        ws.config = replace(ws.config, services=services)
        return ws


@pytest.fixture
def shy(tmp_path: Path) -> World:
    return ShyWorld(tmp_path, wrap=requests(hide))


def hide(request: httpx.Request, send: Any) -> httpx.Response:
    answer = send(request)
    body = json.loads(answer.read())
    keys = [body, *([body["key"]] if isinstance(body.get("key"), dict) else []), *body.get("data", [])]
    for key in keys:
        for field in HIDDEN:
            key.pop(field, None)
    headers = {k: v for k, v in answer.headers.items() if k.startswith("x-")}
    return httpx.Response(answer.status_code, headers=headers, json=body)


def test_a_hidden_expiry_is_recorded_as_it_was_asked_for(shy: World) -> None:
    shy.write(declare(a="secret: a, expires_in: 90d"))
    assert not shy.apply().failed
    assert shy.state().keys["keys.a"].current.spec.expires_at == shy.clock.now() + timedelta(days=90)
    assert shy.plan().empty
    shy.clock.move(days=91)
    assert [c.action for c in shy.plan().changes] == ["rotate"]


def test_so_it_is_after_a_crash(shy: World) -> None:
    shy.write(declare(a="secret: a, expires_in: 90d"))
    dying = Wrapping(transport=shy.wrap.transport, backend=backend(append=nth(4, die)).backend)
    assert crash(shy, dying) == 77
    assert not shy.apply().failed
    assert shy.state().keys["keys.a"].current.spec.expires_at == shy.clock.now() + timedelta(days=90)
    assert shy.plan().empty
