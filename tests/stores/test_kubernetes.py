"""The Kubernetes store without a cluster: options, places, credentials, and servers that misbehave."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyform.errors import ConfigError, StoreError
from keyform.model import Place, Secret
from keyform.registry import load_config, open_store
from keyform.stores.kubernetes import KubernetesStore
from keyform.stores.kubernetes_client import Access, Cluster, find_access
from tests.servers import free_port
from tests.world import MovedClock

CANARY = Secret("sk_live_" + "must-not-appear")


class Api(BaseHTTPRequestHandler):
    """Answers as told by ``server.answers``, one after the other, the last one for ever."""

    wbufsize = -1  # an answer in one piece

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answers: list[tuple[int, dict[str, Any]]] = self.server.answers  # type: ignore[attr-defined]
        self.server.seen.append((self.command, self.headers["Authorization"]))  # type: ignore[attr-defined]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True).start()
        yield server
        server.shutdown()


def kubeconfig(folder: Path, user: dict[str, Any], port: int = 9) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "test", "user": user}],
            }
        )
    )
    return path


def opened(
    folder: Path, user: dict[str, Any], server: ThreadingHTTPServer, **options: Any
) -> KubernetesStore:
    access = Access(str(kubeconfig(folder, user, server.server_address[1])))
    cluster = Cluster("prod", access, connect=2, answer=2, pause=0.02)
    return KubernetesStore("prod", cluster, namespace="pay", field="token")


def said(problem: StoreError) -> str:
    [diagnostic] = problem.diagnostics
    assert diagnostic.detail, "the message says what to do"
    return f"{diagnostic.summary} | {diagnostic.detail}"


def plugin(folder: Path, script: str, version: str = "v1") -> dict[str, Any]:
    program = folder / "plugin.py"
    program.write_text(script)
    return {
        "exec": {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "command": sys.executable,
            "args": [str(program)],
            "interactiveMode": "Never",
        }
    }


# Options and places


def test_options_are_checked_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "keyform.yaml").write_text(
        "version: 1\n"
        "services: {sandbox: {type: embedded}}\n"
        "stores:\n"
        "  prod: {type: kubernetes, name_space: pay, annotations: {keyform/created: 'true'}}\n"
    )
    with pytest.raises(ConfigError) as wrong:
        load_config(tmp_path, MovedClock())
    told = "\n".join(f"{d.summary} {d.detail}" for d in wrong.value.diagnostics)
    assert "`namespace`" in told
    assert "keyform/created" in told


def test_a_place_that_no_secret_can_have_is_told_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "keyform.yaml").write_text(
        "version: 1\n"
        "services: {sandbox: {type: embedded}}\n"
        "stores: {prod: {type: kubernetes}}\n"
        "keys:\n"
        "  one: {service: sandbox, secret: {store: prod, path: checkout, field: token}}\n"
        "  two: {service: sandbox, secret: {store: prod, path: pay/checkout}}\n"
        "  three: {service: sandbox, secret: {store: prod, path: pay/Checkout, field: token}}\n"
    )
    with pytest.raises(ConfigError) as wrong:
        load_config(tmp_path, MovedClock())
    told = "\n".join(f"{d.summary} {d.detail}" for d in wrong.value.diagnostics)
    for what in ("it names no namespace", "it names no field", "'Checkout' is no name of a Secret"):
        assert what in told
    assert "set `namespace` in the store's options" in told


def test_opening_asks_nobody(tmp_path: Path) -> None:
    store = open_store("prod", "kubernetes", {"kubeconfig": "missing", "namespace": "pay"}, tmp_path)
    store.check(Place("prod", "checkout", "token"))
    store.check(Place("prod", "web/checkout", "token"))
    store.close()


# Credentials


def test_the_credential_is_the_one_that_kubectl_would_use(tmp_path: Path) -> None:
    home, pod = Path("/home/me"), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    by_env = {**pod, "KUBECONFIG": "/a:/b"}
    assert find_access("kube.yaml", "x", tmp_path, by_env, home) == Access(str(tmp_path / "kube.yaml"), "x")
    assert find_access("~/kube.yaml", None, tmp_path, {}, home) == Access("/home/me/kube.yaml")
    assert find_access(None, "x", tmp_path, by_env, home) == Access("/a:/b", "x")
    assert find_access(None, None, tmp_path, pod, home) == Access(None)
    assert find_access(None, "x", tmp_path, pod, home) == Access("/home/me/.kube/config", "x")
    assert find_access(None, None, tmp_path, {}, home) == Access("/home/me/.kube/config")


def test_a_missing_kubeconfig_or_context_is_told(tmp_path: Path) -> None:
    for access in (
        Access(str(tmp_path / "missing")),
        Access(str(kubeconfig(tmp_path, {"token": "x"})), "elsewhere"),
        Access(None),
    ):
        store = KubernetesStore("prod", Cluster("prod", access), namespace="pay", field="token")
        with pytest.raises(StoreError) as refused:
            store.get(Place("prod", "checkout"))
        assert f"no credential could be had from {access}" in said(refused.value)
        assert ("automountServiceAccountToken" if access == Access(None) else "kubectl auth whoami") in said(
            refused.value
        )


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import sys; sys.exit('Error: sign in first')", "sign in first"),
        ("print('no JSON')", "failed to decode"),
        ("print('{}')", "missing key"),
    ],
)
def test_a_plugin_that_fails_is_told(
    script: str, why: str, tmp_path: Path, api: ThreadingHTTPServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client itself would log it, install a log handler for the process and go on as nobody."""
    before = list(logging.getLogger().handlers)
    store = opened(tmp_path, plugin(tmp_path, script), api)
    with pytest.raises(StoreError) as refused:
        store.get(Place("prod", "checkout"))
    assert why in said(refused.value)
    assert api.seen == []  # type: ignore[attr-defined]
    assert logging.getLogger().handlers == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_token_that_the_server_refuses_is_had_anew_once(
    version: str, tmp_path: Path, api: ThreadingHTTPServer
) -> None:
    """As when the plugin's token, or the one in a file that the kubelet rewrites, has expired."""
    script = f"""
import json, pathlib
runs = pathlib.Path({str(tmp_path / "runs")!r})
number = len(runs.read_text()) if runs.exists() else 0
runs.write_text("x" * (number + 1))
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/{version}", "kind": "ExecCredential",
                  "status": {{"token": f"token-{{number}}"}}}}))
"""
    refusal = {"message": "Unauthorized"}
    api.answers = [(401, refusal), (404, {}), (404, {}), (401, refusal)]  # type: ignore[attr-defined]
    store = opened(tmp_path, plugin(tmp_path, script, version), api)
    assert store.get(Place("prod", "checkout")) is None
    assert store.get(Place("prod", "checkout")) is None
    seen = [token for _, token in api.seen]  # type: ignore[attr-defined]
    assert seen == ["Bearer token-0", "Bearer token-1", "Bearer token-1"]
    with pytest.raises(StoreError) as refused:
        store.get(Place("prod", "checkout"))
    assert "does not accept the credential of the current context" in said(refused.value)
    assert (tmp_path / "runs").read_text() == "xxx"


# Servers that misbehave


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    access = Access(str(kubeconfig(tmp_path, {"token": "good"}, free_port())))
    store = KubernetesStore("prod", Cluster("prod", access, pause=0.02), namespace="pay", field="token")
    with pytest.raises(StoreError) as refused:
        store.put(Place("prod", "checkout"), CANARY, {})
    assert "could not write prod:checkout: no answer from http://127.0.0.1:" in said(refused.value)
    assert ": Failed to establish a new connection" in said(refused.value)
    assert "HTTPConnection" not in said(refused.value)


def test_a_busy_server_is_asked_again(tmp_path: Path, api: ThreadingHTTPServer) -> None:
    busy = (429, {"message": "too many requests, please try again later"})
    api.answers = [busy, busy, (404, {})]  # type: ignore[attr-defined]
    store = opened(tmp_path, {"token": "good"}, api)
    assert store.get(Place("prod", "checkout")) is None
    api.answers = [busy]  # type: ignore[attr-defined]
    with pytest.raises(StoreError) as refused:
        store.get(Place("prod", "checkout"))
    assert "busy or failing: too many requests" in said(refused.value)


def test_a_secret_that_never_stops_changing_is_given_up(tmp_path: Path, api: ThreadingHTTPServer) -> None:
    found = {"type": "Opaque", "metadata": {"uid": "u", "resourceVersion": "1"}}
    moved = {"message": "the object has been modified", "reason": "Conflict"}
    api.answers = [(200, found), (409, moved)] * 200  # type: ignore[attr-defined]
    store = opened(tmp_path, {"token": "good"}, api)
    with pytest.raises(StoreError) as refused:
        store.put(Place("prod", "checkout"), CANARY, {})
    assert "somebody else changed the Secret each time" in said(refused.value)


@pytest.mark.parametrize("status", [200, 403, 500])
def test_garbage_is_told(status: int, tmp_path: Path, api: ThreadingHTTPServer) -> None:
    api.answers = [(status, {"message": 7, "kind": []})]  # type: ignore[attr-defined]
    store = opened(tmp_path, {"token": "good"}, api)
    if status == 200:
        assert store.get(Place("prod", "checkout")) is None
    else:
        with pytest.raises(StoreError) as refused:
            store.get(Place("prod", "checkout"))
        assert f"it answered {status}" in said(refused.value)


def test_what_the_server_repeats_of_a_secret_is_not_logged(
    tmp_path: Path, api: ThreadingHTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers = [(404, {}), (422, {"message": "invalid"})]  # type: ignore[attr-defined]
    store = opened(tmp_path, {"token": "good-" + "0" * 20}, api)
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreError):
        store.put(Place("prod", "checkout"), CANARY, {})
    assert "/api/v1/namespaces/pay/secrets" in caplog.text, "the client was logging"
    assert CANARY.reveal() not in caplog.text
    assert "c2tfbGl2ZV9" not in caplog.text, "nor in base64"
    assert "good-000" not in caplog.text
