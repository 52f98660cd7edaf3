"""The six services in examples/six-services, by the command line, against `keyform serve --all-services`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Workspace
from keyform.cli.main import run
from keyform.clock import SystemClock
from keyform.registry import load_config

EXAMPLE = Path(__file__).parent.parent / "examples" / "six-services"
SITE, DOCS = "https://www.yoursite.com", "https://docs.yoursite.com"
GONE = "https://yoursite.com"

EDITS = {
    # In place: a name at Revenium, scopes at DevTune, scopes and metadata at Unkey.
    'name: "Production ingestion - ${each.key}"': 'name: "Ingestion in ${each.key}"',
    "scopes: [actions.write, webhooks.write]": "scopes: [webhooks.write]",
    'metadata: {tenant: "${each.key}"}': 'metadata: {tenant: "${each.key}", tier: gold}',
    # A new key: a kind at Revenium, scopes at RevKeen and CLIMeter, a name at Millimetric.
    "kind: write\n    name: MCP server": "kind: read-only\n    name: MCP server",
    "scopes: [customers:read, invoices:read, subscriptions:read]": "scopes: [customers:read, invoices:read]",
    "name: Event forwarder": "name: Event relay",
    'scopes: ["billing:read", "events:read"]': 'scopes: ["billing:read", "tools:read"]',
}
UPDATED = {'ingestion["us-east"]', 'ingestion["eu-west"]', "automation", 'tenant["north"]', 'tenant["south"]'}
REPLACED = {"mcp", "support", "events", "billing"}


class Served:
    """`keyform serve --all-services` in a process of its own, and the folder that works with it."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder, self.url, self.token = folder, url, token

    def keyform(self, *arguments: str) -> int:
        return run(["-C", str(self.folder), *arguments])

    def state(self) -> dict[str, Any]:
        keys: dict[str, Any] = json.loads((self.folder / ".keyform/state.json").read_bytes())["keys"]
        return {address.removeprefix("keys."): record["current"] for address, record in keys.items()}

    def secrets(self) -> dict[str, tuple[str, str]]:
        """Service and stored text of every key."""
        with Workspace(load_config(self.folder, SystemClock()), SystemClock(), "test") as ws:
            found = {}
            for address, record in ws.read_state()[0].keys.items():
                (place,) = record.current.places
                secret = ws.store(place.store).get(place)
                assert secret is not None
                found[address.removeprefix("keys.")] = (record.current.service, secret.reveal())
            return found

    def ask(self, service: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return httpx.request(method, f"{self.url}/{service}{path}", headers=headers, **content)

    def managed(self, service: str) -> dict[str, str]:
        name = {"revenium": "x-api-key", "revkeen": "x-revkeen-key"}.get(service)
        return {name: self.token} if name else {"Authorization": f"Bearer {self.token}"}

    def answer(self, name: str, service: str, secret: str) -> tuple[int, str]:
        """What the service's own data plane says to a key: the status, and who is meant for the rest."""
        bearer = {"Authorization": f"Bearer {secret}"}
        if service == "revenium":
            if secret.startswith("rev_mk_"):
                return self.ask(
                    service, "POST", "/meter/v2/events", {}, **{"x-api-key": secret}
                ).status_code, "meter"
            path = "/profitstream/v2/api/users/me"
            return self.ask(service, "GET", path, **{"x-api-key": secret}).status_code, "me"
        if service == "cart":
            told = self.ask("revkeen", "POST", "/v1/verify", {"key": secret})
            return told.status_code, "verify"
        if service == "revkeen":
            return self.ask(
                service, "GET", "/v2/customers", **{"x-revkeen-key": secret}
            ).status_code, "customers"
        if service == "millimetric":
            origin = DOCS if name == 'snippet["docs"]' else SITE
            method, path = {"rk": ("GET", "/v1/stats"), "ak": ("POST", "/mcp/account")}.get(
                secret[:2], ("POST", "/v1/track")
            )
            body = {} if method == "POST" else None
            return self.ask(service, method, path, body, Origin=origin, **bearer).status_code, path
        if service == "climeter":
            if name == "sdk":
                return self.ask(service, "POST", "/v1/events", {}, **bearer).status_code, "events"
            return self.ask(service, "GET", "/v1/tools", **bearer).status_code, "tools"
        if service == "devtune":
            return self.ask(
                service, "GET", "/api/v2/projects/acme/visibility", **bearer
            ).status_code, "visibility"
        told = self.ask(
            service, "POST", "/v2/keys.verifyKey", {"key": secret}, **self.managed(service)
        ).json()
        return (200 if told["data"]["valid"] else 401), "verifyKey"


NARROW = {"checkout": 403, 'demo["products"]': 403, "automation": 403, "billing": 403}
"""Keys that may not make the call they are tried with, and are told so: they are known."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "six"))
    data = tmp_path / "service"
    command = [sys.executable, "-m", "keyform", "serve", "--all-services", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            addresses = [server.stdout.readline().strip() for _ in range(7)]
            assert [address.rpartition("/")[2] for address in addresses[1:]] == [
                "revenium", "revkeen", "millimetric", "climeter", "devtune", "unkey",
            ]  # fmt: skip
            token = (data / "root-token").read_text().strip()
            monkeypatch.setenv("KEY_SERVICES", addresses[0])
            monkeypatch.setenv("ROOT_TOKEN", token)
            one = Served(folder, addresses[0], token)
            yield one
        finally:
            server.terminate()


def test_the_whole_story(served: Served, capsys: pytest.CaptureFixture[str], figures: Any) -> None:
    assert served.keyform("validate") == 0
    assert served.keyform("plan", "--detailed-exitcode") == 2
    assert "climeter: keyform sees no listing of keys" in capsys.readouterr().err
    assert served.keyform("apply", "--auto-approve") == 0
    assert served.keyform("plan", "--detailed-exitcode") == 0
    first, secrets = served.state(), served.secrets()
    assert len(first) == 26
    capsys.readouterr()
    assert served.keyform("audit", "--fail-on", "error", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {finding["rule"] for finding in found["findings"]} == {"KF004", "KF005", "KF008"}
    assert [told["code"] for told in found["diagnostics"]] == ["no-listing", "no-last-use"]
    assert {
        name: served.answer(name, *found)[0] // 100 for name, found in secrets.items() if name not in NARROW
    } == (dict.fromkeys(secrets.keys() - NARROW.keys(), 2))
    assert {name: served.answer(name, *secrets[name])[0] for name in NARROW} == NARROW
    snippet = {"Authorization": "Bearer " + secrets['snippet["web"]'][1]}
    foreign = served.ask("millimetric", "POST", "/v1/track", {}, Origin="https://evil.example", **snippet)
    assert (foreign.status_code, foreign.json()["error"]) == (403, "origin_not_allowed")

    # Edit, look, apply exactly that, look again.
    keys, services = served.folder / "keys.yaml", served.folder / "services.yaml"
    text = keys.read_text()
    for before, after in EDITS.items():
        assert before in text
        text = text.replace(before, after)
    keys.write_text(text)
    text = services.read_text()
    services.write_text(
        text.replace(f'"{GONE}", ', "").replace(
            ', "https://checkout.yoursite.com"', ', "https://pay.yoursite.com"'
        )
    )
    capsys.readouterr()
    assert served.keyform("plan", "--detailed-exitcode", "--out", "six.plan") == 2
    plan, told = capsys.readouterr()
    # projects.web and projects.storefront are updated too.
    assert "Plan: 7 to update, 4 to replace; 2 origins lose access; 19 unchanged." in plan
    assert "cannot change name, so a new key replaces it (Millimetric Docs, API keys)" in " ".join(
        plan.split()
    )
    assert f"projects.web: {GONE} will lose access, as if the keys there were revoked" in " ".join(
        told.split()
    )
    assert "a revoked key at millimetric may go on working for up to 5m" in " ".join(told.split())
    assert served.keyform("apply", "six.plan") == 0
    assert served.keyform("plan", "--detailed-exitcode") == 0
    second, later = served.state(), served.secrets()
    assert {name for name in first if first[name]["id"] != second[name]["id"]} == REPLACED
    assert {name for name in secrets if secrets[name] != later[name]} == REPLACED
    assert later["mcp"][1].startswith("rev_rk_")
    assert all(
        served.answer(name, *later[name])[0] // 100 == 2 for name in UPDATED - {"automation"} | REPLACED
    )
    # Replaced keys are refused, except where the service still believes them or their overlap runs.
    assert served.answer("mcp", *secrets["mcp"])[0] == 403
    assert served.answer("billing", *secrets["billing"])[0] == 401
    assert served.answer("support", *secrets["support"])[0] == 200
    listed = served.ask("millimetric", "GET", "/v1/keys", **served.managed("millimetric")).json()["data"]
    assert {key["status"] for key in listed if key["id"] == first["events"]["id"]} == {"revoked"}
    for origin, status in ((GONE, 403), (SITE, 202)):
        assert (
            served.ask("millimetric", "POST", "/v1/track", {}, Origin=origin, **snippet).status_code == status
        )
    origins = served.ask("revkeen", "GET", "/v2/storefront/origins", **served.managed("revkeen")).json()[
        "data"
    ]
    assert {entry["origin"] for entry in origins} == {"https://shop.yoursite.com", "https://pay.yoursite.com"}

    capsys.readouterr()
    assert served.keyform("destroy", "--auto-approve", "--allow-mass-change") == 0
    assert 'keys.cart["secret"]' in capsys.readouterr().err
    assert served.state() == {}
    left = {file.stem for file in (served.folder / ".keyform" / "secrets").rglob("*.age")}
    assert left == {"cart-publishable", "cart-secret"}
    carts = {name: found for name, found in later.items() if found[0] == "cart"}
    assert {served.answer(name, *found)[0] for name, found in carts.items()} == {200}
    refused = {
        name: served.answer(name, *found)[0]
        for name, found in later.items()
        if found[0] not in ("millimetric", "cart")
    }
    assert set(refused.values()) <= {401, 403}
    assert all(status == 401 for name, status in refused.items() if later[name][0] != "revenium")
    for service in ("revenium", "revkeen", "millimetric", "devtune"):
        listed = served.ask(service, "GET", "/v1/keys", **served.managed(service)).json()["data"]
        assert {key["status"] for key in listed} == {"revoked"}
    figures("six services", f"{len(first)} keys: applied, {len(EDITS)} edits, destroyed")
