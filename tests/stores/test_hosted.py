"""From the YAML to a hosted secrets manager and back, by the command line, with every logger talking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyform.cli.main import run
from tests.stores.standins import Refusal, StandIn, served
from tests.stores.standins.connect import Connect
from tests.stores.standins.doppler import Doppler
from tests.stores.standins.infisical import PROJECT, Infisical
from tests.world import World


@dataclass(frozen=True)
class Hosted:
    """``held``: what the stand-in keeps, by place. ``options`` of the store beside its ``endpoint``."""

    app: Callable[[], StandIn]
    options: str
    env: Mapping[str, str]
    path: str
    moved: str
    held: Callable[[StandIn], Mapping[str, str]]


def _connect(app: StandIn) -> Mapping[str, str]:
    assert isinstance(app, Connect)
    return {item["title"]: app.fields(item["title"])["credential"] for item in app.items.values()}


HOSTED = {
    "onepassword": Hosted(
        Connect, "vault: Keys", {"OP_CONNECT_TOKEN": "good-token"}, "prod/checkout", "prod/till", _connect
    ),
    "doppler": Hosted(
        Doppler,
        "project: payments, config: prd",
        {"DOPPLER_TOKEN": "dp.sa.good"},
        "CHECKOUT",
        "TILL",
        lambda app: app.secrets if isinstance(app, Doppler) else {},
    ),
    "infisical": Hosted(
        Infisical,
        f"project_id: {PROJECT}, environment: prod, client_id: keyform",
        {"INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET": "good-client-secret"},
        "prod/CHECKOUT",
        "shop/prod/TILL",
        lambda app: app.held() if isinstance(app, Infisical) else {},
    ),
}


def yaml(kind: str, url: str, path: str = "") -> str:
    it = HOSTED[kind]
    return f"""version: 1
services: {{sandbox: {{type: embedded}}}}
stores: {{hosted: {{type: {kind}, endpoint: "{url}", {it.options}}}}}
keys:
  checkout: {{service: sandbox, secret: {{store: hosted, path: {path or it.path}}}}}
"""


@pytest.fixture(params=HOSTED)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in HOSTED[request.param].env.items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def test_a_key_goes_there_and_away_again_and_nothing_is_told(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    it, world = HOSTED[kind], World(tmp_path)
    app = it.app()

    def keyform(*argv: str) -> int:
        return run(["-C", str(tmp_path), "-vv", *argv])

    with served(app) as url:
        world.write(yaml(kind, url))
        assert keyform("apply", "--auto-approve") == 0, capsys.readouterr().err
        first = dict(it.held(app))
        assert list(first) == [it.path]
        assert keyform("plan", "--detailed-exitcode") == 0, capsys.readouterr().out
        world.write(yaml(kind, url, it.moved))
        assert keyform("apply", "--auto-approve") == 0, capsys.readouterr().err
        assert it.held(app) == {it.moved: first[it.path]}
        assert keyform("doctor") == 0, capsys.readouterr().out
        assert keyform("destroy", "--auto-approve") == 0, capsys.readouterr().err
        assert it.held(app) == {}
    app.blame()
    told = "".join(capsys.readouterr()) + caplog.text
    for value in (*first.values(), *it.env.values()):
        assert value not in told


def test_nothing_is_minted_for_a_store_that_refuses(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it, world = HOSTED[kind], World(tmp_path)
    app = it.app()
    with served(app) as url:
        world.write(yaml(kind, url))
        app.troubles += [Refusal(403, app.error(403, "not yours"))] * 50
        assert run(["-C", str(tmp_path), "apply", "--auto-approve"]) == 1
        told = capsys.readouterr().err
        assert "not yours" in told
        assert "hosted" in told
    assert world.live() == {}
