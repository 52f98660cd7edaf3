"""All six vendors in one configuration, through the command line, against the reference service over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from keyform.cli.main import run
from keyform.clock import SystemClock
from keyform.reference import DIALECTS
from keyform.reference.app import root_token

CONFIG = """
version: 1
services:
  revenium: {type: revenium, endpoint: "${env:SERVED}/revenium", credential: "${env:ROOT}"}
  revkeen: {type: revkeen, endpoint: "${env:SERVED}/revkeen", credential: "${env:ROOT}", auth: x-revkeen-key}
  millimetric: {type: millimetric, endpoint: "${env:SERVED}/millimetric", credential: "${env:ROOT}"}
  climeter:
    {type: climeter, endpoint: "${env:SERVED}/climeter", email: keyform@example.com, password: "${env:ROOT}"}
  devtune: {type: devtune, endpoint: "${env:SERVED}/devtune", credential: "${env:ROOT}"}
  unkey: {type: unkey, endpoint: "${env:SERVED}/unkey", credential: "${env:ROOT}", api_id: api_keyform}
projects:
  web: {service: millimetric, allowed_origins: ["https://yoursite.com", "https://www.yoursite.com"]}
  acme: {service: devtune}
  storefront: {service: revkeen, allowed_origins: ["https://shop.example"]}
keys:
  otel: {service: revenium, kind: metering-only, name: Production ingestion, secret: revenium/otel}
  audit: {service: revenium, kind: read-only, name: Audit, secret: revenium/audit}
  checkout: {service: revkeen, scopes: ["checkout:write", "customers:read"], secret: revkeen/checkout}
  snippet: {service: millimetric, kind: pk, project: web, secret: millimetric/pk}
  reader: {service: millimetric, kind: rk, project: web, secret: millimetric/rk}
  agency: {service: millimetric, kind: ak, secret: millimetric/ak}
  report:
    {service: devtune, project: acme, scopes: [visibility.read], expires_in: 180d, secret: devtune/report}
  meter: {service: climeter, scopes: ["events:write", "tools:read"], secret: climeter/meter}
  backend:
    {service: unkey, scopes: [documents.read], expires_in: 90d, rate_limit: {limit: 10, per: 60s},
     secret: unkey/backend}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    data = tmp_path_factory.mktemp("vendors")
    code = (
        "import sys, pathlib\n"
        "from keyform.reference import DIALECTS\n"
        "from keyform.reference.server import serve\n"
        "serve(pathlib.Path(sys.argv[1]), services=DIALECTS, on_ready=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), root_token(data)
        finally:
            server.terminate()


def test_from_yaml_to_stored_secret_and_back(
    served: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, root = served
    monkeypatch.setenv("SERVED", url)
    monkeypatch.setenv("ROOT", root)
    bearer = {"Authorization": f"Bearer {root}"}
    config = tmp_path / "keyform.yaml"
    config.write_text(CONFIG)

    def keyform(*arguments: str) -> int:
        return run(["-C", str(tmp_path), *arguments], clock=SystemClock())

    def in_state() -> list[str]:
        return sorted(json.loads((tmp_path / ".keyform" / "state.json").read_bytes())["keys"])

    assert keyform("apply", "--auto-approve") == 0
    assert len(in_state()) == 9
    assert keyform("plan", "--detailed-exitcode") == 0
    edited = CONFIG.replace("name: Production ingestion", "name: Ingestion in us-east")
    edited = edited.replace("[visibility.read]", "[visibility.read, actions.write]")
    edited = edited.replace("[documents.read]", "[documents.read, documents.write]")
    edited = edited.replace(', "https://www.yoursite.com"', "").replace('"tools:read"]', '"events:read"]')
    config.write_text(edited)
    assert keyform("plan", "--detailed-exitcode") == 2
    assert keyform("apply", "--auto-approve") == 0
    assert keyform("plan", "--detailed-exitcode") == 0
    assert keyform("destroy", "--auto-approve") == 0
    assert in_state() == []
    for vendor in ("revenium", "revkeen", "millimetric", "devtune"):
        header = {"x-api-key": root} if vendor == "revenium" else bearer
        shown = httpx.get(f"{url}/{vendor}/v1/keys", headers=header, trust_env=False).json()["data"]
        assert {key["status"] for key in shown} == {"revoked"}, vendor
    assert set(DIALECTS) == {"revenium", "revkeen", "millimetric", "climeter", "devtune", "unkey"}
