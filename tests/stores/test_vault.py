"""The store ``vault`` against a real server: logins, policies, other writers, bad days, whole runs."""

from __future__ import annotations

import http.server
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from requests.adapters import HTTPAdapter

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.errors import PlanError, StoreError, Taken
from keyform.model import Place, Secret, fingerprint_matches
from keyform.stores import vault_login
from keyform.stores.vault import VaultStore, open_store
from keyform.stores.vault_kv import Beaten, KvTwo
from tests.servers.vault import KUBERNETES, ROOT, Vault, vault
from tests.stores.whole_run import check_whole_run
from tests.world import World, inspect

pytestmark = pytest.mark.integration

TEXT = "sk_live_canary_5d41402abc4b2a76"
LABELS = {"address": "keys.checkout", "key_id": "key_1", "generation": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with vault(tmp_path_factory.mktemp("vault")) as running:
        yield running


@pytest.fixture
def base(server: Vault) -> str:
    """A path of this test's own, below which there is nothing yet."""
    return f"test/{uuid.uuid4().hex}"


Opened = Callable[..., VaultStore]


@pytest.fixture
def opened(server: Vault, tmp_path: Path) -> Iterator[Opened]:
    """``opened(token, **options)``: the store at the server, all options but the address left out."""
    stores: list[VaultStore] = []

    def call(token: str | None = ROOT, **options: Any) -> VaultStore:
        env = {"VAULT_ADDR": server.url, "HOME": str(tmp_path), **({"VAULT_TOKEN": token} if token else {})}
        stores.append(open_store("vault", options, tmp_path, env))
        return stores[-1]

    yield call
    for store in stores:
        store.close()


def told(act: Callable[[], object]) -> str:
    """The whole message of the StoreError that ``act`` must raise; it never shows the secret."""
    with pytest.raises(StoreError) as raised:
        act()
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    message = f"{diagnostic.summary}\n{diagnostic.detail}"
    assert TEXT not in message
    assert ROOT not in message
    return message


def at(path: str, field: str | None = None) -> Place:
    return Place("vault", path, field)


# What is written


def test_the_owner_sees_value_and_labels_where_they_belong(server: Vault, base: str, opened: Opened) -> None:
    server.ask("POST", f"secret/metadata/{base}", {"custom_metadata": {"team": "payments"}})
    store = opened()
    store.put(at(base), Secret(TEXT), LABELS)
    store.put(at(base, "other.field"), Secret("2"), {**LABELS, "address": "keys.other"})
    seen = server.ask("GET", f"secret/data/{base}")["data"]
    assert seen["data"] == {"value": TEXT, "other.field": "2"}
    about = seen["metadata"]["custom_metadata"]
    assert fingerprint_matches(Secret(TEXT), about.pop("keyform.value.fingerprint"))
    assert fingerprint_matches(Secret("2"), about.pop("keyform.other.field.fingerprint"))
    assert about == {
        "team": "payments",
        "keyform.value.address": "keys.checkout",
        "keyform.value.key_id": "key_1",
        "keyform.value.generation": "1",
        "keyform.other.field.address": "keys.other",
        "keyform.other.field.key_id": "key_1",
        "keyform.other.field.generation": "1",
    }
    held = store.look(at(base))
    assert held is not None
    assert dict(held.labels) == LABELS
    store.delete(at(base))
    store.delete(at(base, "other.field"))
    left = server.ask("GET", f"secret/metadata/{base}")["data"]
    assert left["custom_metadata"] == {"team": "payments"}


@pytest.mark.parametrize("mount", ["secret", "old"])
def test_other_fields_stay_as_they_are_whatever_they_hold(
    server: Vault, base: str, opened: Opened, mount: str
) -> None:
    others = {"n": 9007199254740991, "deep": {"a": [1, None, True, 1.5]}, "none": None, "text": "é\n"}
    path = f"secret/data/{base}" if mount == "secret" else f"old/{base}"
    server.ask("POST", path, {"data": others} if mount == "secret" else others)
    store = opened(mount=mount, field="api_key")
    store.put(at(base), Secret(TEXT), LABELS, None)

    def seen() -> Any:
        data = server.ask("GET", path)["data"]
        return data["data"] if mount == "secret" else data

    assert seen() == {**others, "api_key": TEXT}
    store.delete(at(base))
    assert seen() == others
    assert store.get(at(base, "deep")) == Secret('{"a": [1, null, true, 1.5]}'), "somebody's value, as it is"


def test_labels_of_an_earlier_write_are_not_told_of_a_later_value(
    server: Vault, base: str, opened: Opened
) -> None:
    store = opened()
    store.put(at(base), Secret("one"), LABELS)
    server.ask("POST", f"secret/data/{base}", {"data": {"value": "one", "by": "hand"}})
    held = store.look(at(base))
    assert held is not None
    assert (held.version, dict(held.labels)) == ("2", LABELS), "the value is still that of the labels"
    server.ask("POST", f"secret/data/{base}", {"data": {"value": "two", "by": "hand"}})
    held = store.look(at(base))
    assert held is not None
    assert (held.version, dict(held.labels)) == ("3", {})
    store.put(at(base), Secret("two"), {**LABELS, "generation": "2"})
    held = store.look(at(base))
    assert held is not None
    assert (held.version, held.labels["generation"]) == ("3", "2"), "only the labels were missing"


def test_labels_that_do_not_fit_are_left_out(base: str, opened: Opened) -> None:
    store = opened()
    store.put(at(base), Secret("one"), {**LABELS, "address": "x" * 513})
    assert dict((store.look(at(base)) or pytest.fail()).labels) == {}
    field = "f" * 120
    store.put(at(base, field), Secret("one"), LABELS)
    assert dict((store.look(at(base, field)) or pytest.fail()).labels) == {}
    assert store.get(at(base, field)) == Secret("one")


def test_older_versions_can_be_read_until_they_are_gone(server: Vault, base: str, opened: Opened) -> None:
    store = opened()
    versions = [store.put(at(base), Secret(f"v{number}"), LABELS) for number in range(3)]
    assert [store.get(at(base), version) for version in versions] == [Secret(f"v{n}") for n in range(3)]
    server.ask("PUT", f"secret/destroy/{base}", {"versions": [1]})
    server.ask("POST", f"secret/delete/{base}", {"versions": [2]})
    assert [store.get(at(base), version) for version in versions] == [None, None, Secret("v2")]
    assert store.get(at(base), "4") is None
    assert store.get(at(base), "0") is None


# Other writers


def test_a_writer_in_between_is_never_overwritten(server: Vault, base: str, opened: Opened) -> None:
    """The other writer reads and writes with check-and-set itself, on a field of its own."""
    nothing: dict[str, Any] = {"data": {}, "metadata": {"version": 0}}
    wrote = {"n": 0}
    over = threading.Event()

    def others() -> None:
        while not over.is_set():
            read = server.ask("GET", f"secret/data/{base}").get("data") or nothing
            fields = {**read["data"], "theirs": wrote["n"] + 1}
            try:
                options = {"cas": read["metadata"]["version"]}
                server.ask("POST", f"secret/data/{base}", {"data": fields, "options": options})
                wrote["n"] += 1
            except AssertionError as beaten:
                assert "check-and-set" in f"{beaten}"

    thread = threading.Thread(target=others)
    thread.start()
    store = opened()
    try:
        number = 0
        while number < 40 or wrote["n"] < 10:
            number += 1
            store.put(at(base), Secret(f"ours {number}"), LABELS)
            assert store.get(at(base)) == Secret(f"ours {number}")
    finally:
        over.set()
        thread.join()
    seen = server.ask("GET", f"secret/data/{base}")["data"]
    assert seen["data"] == {"value": f"ours {number}", "theirs": wrote["n"]}
    assert seen["metadata"]["version"] == number + wrote["n"], "each write is a version, and none was lost"


@pytest.mark.parametrize("late", [False, True], ids=["before the deletion", "right after it"])
def test_what_somebody_writes_while_a_value_is_deleted_stays(
    server: Vault, base: str, opened: Opened, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    remove = KvTwo.remove

    def racing(*args: Any) -> None:
        if late:
            remove(*args)
        server.ask("POST", f"secret/data/{base}", {"data": {"value": "theirs"}})
        if not late:
            remove(*args)

    store = opened()
    store.put(at(base), Secret("mine"), LABELS)
    monkeypatch.setattr(KvTwo, "remove", racing)
    with pytest.raises(Taken):
        store.delete(at(base), Secret("mine"))
    assert store.get(at(base)) == Secret("theirs")


def test_a_write_that_comes_late_is_refused_after_an_undo(server: Vault, base: str, opened: Opened) -> None:
    """The undo writes the old value over itself, which is a version more."""
    store = opened()
    version = store.put(at(base), Secret("old"), LABELS)
    store.put(at(base), Secret("old"), LABELS, Secret("old"))
    with pytest.raises(AssertionError, match="check-and-set"):
        late = {"data": {"value": "late"}, "options": {"cas": int(version or 0)}}
        server.ask("POST", f"secret/data/{base}", late)
    assert store.get(at(base)) == Secret("old")


def test_what_somebody_else_put_there_first_is_left(server: Vault, base: str, opened: Opened) -> None:
    server.ask("POST", f"secret/data/{base}", {"data": {"value": "theirs"}})
    with pytest.raises(Taken) as taken:
        opened().put(at(base), Secret(TEXT), LABELS, None)
    assert "theirs" not in f"{taken.value.diagnostics}"
    assert server.ask("GET", f"secret/data/{base}")["data"]["metadata"]["version"] == 1


@pytest.mark.parametrize("at_request", [1, 2, 3, 4])
def test_an_answer_that_is_lost_costs_nothing(
    server: Vault, base: str, opened: Opened, monkeypatch: pytest.MonkeyPatch, at_request: int
) -> None:
    server.ask("POST", f"secret/data/{base}", {"data": {"theirs": "stays"}})
    store = opened()
    store.get(at(base))
    send, sent = HTTPAdapter.send, [0]

    def losing(*args: Any, **kwargs: Any) -> Any:
        answer = send(*args, **kwargs)
        sent[0] += 1
        if sent[0] == at_request:
            raise requests.ConnectionError("lost by the test")
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", losing)
    lost = told(lambda: store.put(at(base), Secret(TEXT), LABELS, None))
    assert "cannot be reached" in lost
    store.put(at(base), Secret(TEXT), LABELS, None)
    assert server.ask("GET", f"secret/data/{base}")["data"]["data"] == {"theirs": "stays", "value": TEXT}
    held = store.look(at(base))
    assert held is not None
    assert (held.version, dict(held.labels)) == ("2", LABELS), "it was written once"


# What a token may do

POLICIES = re.findall(r"```hcl\n(.*?)```", Path("docs/stores/vault.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(("number", "mount"), [(0, "secret"), (1, "old")])
def test_the_documented_policies_are_enough_and_no_more(
    server: Vault, base: str, opened: Opened, number: int, mount: str
) -> None:
    name = f"documented-{number}"
    server.policy(name, POLICIES[number].replace("kv/", f"{mount}/").replace("prod/", f"{base}/"))
    store = opened(server.token(name), mount=mount, prefix=base)
    assert store.access().startswith(f"KV version {2 - number} in '{mount}'")
    store.probe()
    for path in ("a", "deep/er/b"):
        store.put(at(path), Secret("one"), LABELS, None)
        store.put(at(path), Secret("two"), LABELS, Secret("one"))
        store.put(at(path, "field"), Secret("three"), LABELS)
        held = store.look(at(path))
        assert held is not None
        assert dict(held.labels) == ({} if number else LABELS)
        store.delete(at(path))
        store.delete(at(path, "field"))
        assert store.get(at(path)) is None
    left = server.ask("LIST", f"secret/metadata/{base}" if not number else f"old/{base}")
    assert not [key for key in left.get("data", {"keys": []})["keys"] if "canary" in key]
    message = told(lambda: opened(server.token(name), mount=mount).put(at("elsewhere"), Secret(TEXT), {}))
    assert f'path "{mount}/{"" if number else "data/"}elsewhere"' in message


def test_a_read_only_token_is_told_what_it_lacks(server: Vault, base: str, opened: Opened) -> None:
    server.policy("reader", 'path "secret/data/*" { capabilities = ["read"] }')
    store = opened(server.token("reader"), prefix=base)
    assert store.get(at("a")) is None
    for act in (store.access, store.probe, lambda: store.put(at("a"), Secret(TEXT), LABELS)):
        message = told(act)
        assert f'path "secret/data/{base}/' in message
        assert '"create"' in message
        assert ("keyform-canary-*" in message) == ("canary" in message)
    server.ask("POST", f"secret/data/{base}/a", {"data": {"value": "theirs"}})
    message = told(lambda: store.delete(at("a")))
    assert f'path "secret/delete/{base}/a" {{ capabilities = ["update"] }}' in message
    assert "permission denied" in message
    assert store.get(at("a")) == Secret("theirs")


def test_without_metadata_in_the_policy_labels_are_left_out(server: Vault, base: str, opened: Opened) -> None:
    server.policy(
        "unlabelled",
        'path "secret/data/*" { capabilities = ["create", "read", "update"] }\n'
        'path "secret/delete/*" { capabilities = ["update"] }\n'
        'path "secret/metadata/*" { capabilities = ["delete"] }',
    )
    store = opened(server.token("unlabelled"), prefix=base)
    assert f'labels are not kept, which takes: path "secret/metadata/{base}/*"' in store.access()
    store.put(at("a"), Secret("one"), LABELS)
    held = store.look(at("a"))
    assert held is not None
    assert (held.version, dict(held.labels)) == ("1", {})


def test_a_policy_for_the_canary_alone_is_not_taken_for_one_for_the_keys(
    server: Vault, base: str, opened: Opened
) -> None:
    canary = f"{base}/keyform-canary-*"
    server.policy(
        "canary",
        f'path "secret/data/{canary}" {{ capabilities = ["create", "read", "update"] }}\n'
        f'path "secret/delete/{canary}" {{ capabilities = ["update"] }}\n'
        f'path "secret/metadata/{canary}" {{ capabilities = ["delete"] }}',
    )
    said = opened(server.token("canary"), prefix=base).access()
    assert "secrets can be written" not in said
    assert "other names beside it cannot" in said
    assert f'path "secret/data/{base}/*" {{ capabilities = ["create", "read", "update"] }}' in said


@pytest.mark.parametrize(("mount", "said", "is_"), [("secret", 1, 2), ("old", 2, 1)])
def test_another_kv_version_than_the_mounts_is_told(
    base: str, opened: Opened, mount: str, said: int, is_: int
) -> None:
    store = opened(mount=mount, kv_version=said, prefix=base)
    for act in (store.access, store.probe):
        message = told(act)
        assert f"`kv_version: {said}`, and '{mount}'" in message
        assert f"Write `kv_version: {is_}`" in message
    opened(mount=mount, kv_version=is_, prefix=base).probe()


def test_a_namespace_where_there_are_none_is_told(base: str, opened: Opened) -> None:
    store = opened(namespace="team", prefix=base)
    for act in (store.access, store.probe):
        assert "has the namespace 'team', and there are none" in told(act)


def test_a_mount_that_is_no_kv_engine_is_told(server: Vault, opened: Opened) -> None:
    for mount in ("cubbyhole", "nowhere"):
        assert f"{mount!r}" in told(opened(mount=mount).access)
    assert "no handler for route" in told(lambda: opened(mount="nowhere", kv_version=2).get(at("a")))


def test_a_value_that_is_too_large_is_told(base: str, opened: Opened) -> None:
    message = told(lambda: opened().put(at(base), Secret(TEXT * 1_200_000), {}))
    assert "too large" in message


# Logins

WRITER = 'path "secret/*" { capabilities = ["create", "read", "update", "delete", "patch"] }'


@pytest.fixture
def approle(server: Vault) -> Iterator[Callable[..., dict[str, Any]]]:
    """``approle(**role)``: the options of a login with a new AppRole."""
    server.policy("writer", WRITER)
    mount = f"approle-{uuid.uuid4().hex[:8]}"
    server.ask("POST", f"sys/auth/{mount}", {"type": "approle"})

    def make(**role: Any) -> dict[str, Any]:
        server.ask("POST", f"auth/{mount}/role/keyform", {"token_policies": ["writer"], **role})
        role_id = server.ask("GET", f"auth/{mount}/role/keyform/role-id")["data"]["role_id"]
        secret_id = server.ask("POST", f"auth/{mount}/role/keyform/secret-id")["data"]["secret_id"]
        return {"method": "approle", "mount": mount, "role_id": role_id, "secret_id": Secret(secret_id)}

    yield make
    server.ask("DELETE", f"sys/auth/{mount}")


def accessors(server: Vault) -> list[dict[str, Any]]:
    """What the owner sees of every token that there is."""
    keys = server.ask("LIST", "auth/token/accessors")["data"]["keys"]
    found = [server.ask("POST", "auth/token/lookup-accessor", {"accessor": key}) for key in keys]
    return [told["data"] for told in found if "data" in told]


def test_an_approle_logs_in_again_when_its_token_is_used_up(
    server: Vault, base: str, opened: Opened, approle: Callable[..., dict[str, Any]]
) -> None:
    store = opened(None, auth=approle(token_num_uses=7), prefix=base)
    for number in range(10):  # three requests each
        store.put(at(f"p{number}"), Secret(f"{number}"), LABELS)
        assert store.get(at(f"p{number}")) == Secret(f"{number}")


def test_a_token_that_was_logged_in_for_is_ended_with_the_run(
    server: Vault, opened: Opened, approle: Callable[..., dict[str, Any]]
) -> None:
    auth = approle()

    def mine() -> int:
        return sum(found["path"] == f"auth/{auth['mount']}/login" for found in accessors(server))

    store = opened(None, auth=auth)
    store.probe()
    assert mine() == 1
    store.close()
    assert mine() == 0


def test_a_token_is_renewed_before_it_expires(
    server: Vault, base: str, opened: Opened, approle: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    now = 1000.0
    monkeypatch.setattr(vault_login.time, "monotonic", lambda: now)
    auth = approle(token_ttl=3600)
    store = opened(None, auth=auth, prefix=base)
    plain = opened(server.token("writer", ttl="1h"), prefix=base)
    for each in (store, plain):
        each.put(at("a"), Secret("one"), {})
    now += 1700.0
    store.get(at("a"))
    plain.get(at("a"))
    assert not [t for t in accessors(server) if t.get("last_renewal")]
    now += 200.0
    store.get(at("a"))
    plain.get(at("a"))
    renewed = [t["path"] for t in accessors(server) if t.get("last_renewal")]
    assert sorted(renewed) == [f"auth/{auth['mount']}/login", "auth/token/create"]


def test_a_plain_token_that_dies_says_what_to_do(server: Vault, base: str, opened: Opened) -> None:
    server.policy("writer", WRITER)
    store = opened(server.token("writer", num_uses=8), prefix=base)
    written: list[int] = []

    def go_on() -> None:
        for number in range(10):
            store.put(at(f"p{number}"), Secret(TEXT), {})
            written.append(number)

    revoked = server.token("writer")
    server.ask("POST", "auth/token/revoke", {"token": revoked})
    for act in (
        opened(revoked).access,
        opened(revoked).probe,
        lambda: opened(revoked, kv_version=2).get(at("a")),
    ):
        assert "the token from VAULT_TOKEN is not valid" in told(act)
    message = told(go_on)
    assert 0 < len(written) < 10
    assert "the token from VAULT_TOKEN is not valid: it has expired, or was revoked" in message
    assert "vault login" in message
    for number in written:
        assert opened(prefix=base).get(at(f"p{number}")) == Secret(TEXT)


def test_a_login_that_is_refused_names_its_place(
    server: Vault, opened: Opened, approle: Callable[..., dict[str, Any]]
) -> None:
    auth = approle()
    wrong = {**auth, "secret_id": Secret(TEXT)}
    message = told(opened(None, auth=wrong).access)
    assert f"the approle login at auth/{auth['mount']} was refused: invalid role or secret ID" in message
    message = told(opened(None, auth={**auth, "mount": "nowhere"}).access)
    assert "auth/nowhere" in message


def key_pair() -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return key, public.decode()


def test_a_jwt_from_a_file_logs_in(server: Vault, base: str, opened: Opened, tmp_path: Path) -> None:
    server.policy("writer", WRITER)
    key, public = key_pair()
    server.ask("POST", "sys/auth/ci", {"type": "jwt"})
    server.ask("POST", "auth/ci/config", {"jwt_validation_pubkeys": [public]})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["keyform"],
        "token_policies": ["writer"],
        "token_num_uses": 4,
    }
    server.ask("POST", "auth/ci/role/keyform", role)
    issued = jwt.encode({"sub": "repo:acme", "aud": "keyform", "exp": time.time() + 60}, key, "ES256")
    file = tmp_path / "token"
    file.write_text(issued + "\n")
    store = opened(None, auth={"method": "jwt", "mount": "ci", "role": "keyform", "jwt_file": "token"})
    store.put(at(f"{base}/a"), Secret("one"), {})
    file.write_text("rotated-away")
    message = told(lambda: [store.get(at(f"{base}/a")) for _ in range(9)])
    assert "the jwt login at auth/ci was refused" in message
    file.write_text(issued)
    assert store.get(at(f"{base}/a")) == Secret("one"), "the file is read again at each login"
    direct = {"method": "jwt", "mount": "ci", "role": "keyform", "token": Secret(issued)}
    assert opened(None, auth=direct).get(at(f"{base}/a")) == Secret("one")


@contextmanager
def token_review(pod: str) -> Iterator[str]:
    """A stand-in for the API server of Kubernetes: it knows the token ``pod`` and nothing else."""

    class Review(http.server.BaseHTTPRequestHandler):
        wbufsize = -1  # an answer in one piece

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            good = asked["spec"]["token"] == pod
            user = {"username": "system:serviceaccount:ci:keyform", "uid": "u1", "groups": []}
            status = {"authenticated": good, **({"user": user} if good else {"error": "unknown token"})}
            body = json.dumps(
                {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
            ).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Review)
    thread = threading.Thread(target=api.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{api.server_address[1]}"
    finally:
        api.shutdown()
        thread.join()
        api.server_close()


def test_a_pod_logs_in_with_its_service_account(
    server: Vault, base: str, opened: Opened, tmp_path: Path
) -> None:
    """Vault's own Kubernetes method, which asks a stand-in for the cluster."""
    server.policy("writer", WRITER)
    server.ask("POST", "sys/auth/kubernetes", {"type": KUBERNETES})
    key, _ = key_pair()
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": "system:serviceaccount:ci:keyform",
        "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "keyform", "uid": "u1"}},
        "exp": time.time() + 60,
    }
    pod = jwt.encode(claims, key, "ES256")
    with token_review(pod) as cluster:
        config = {"kubernetes_host": cluster, "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": True}
        server.ask("POST", "auth/kubernetes/config", config)
        role = {
            "bound_service_account_names": ["keyform"],
            "bound_service_account_namespaces": ["ci"],
            "token_policies": ["writer"],
        }
        server.ask("POST", "auth/kubernetes/role/keyform", role)
        (tmp_path / "pod").write_text(pod)
        auth = {"method": "kubernetes", "role": "keyform", "jwt_file": "pod"}
        store = opened(None, auth=auth)
        store.put(at(f"{base}/a"), Secret("one"), {})
        assert store.get(at(f"{base}/a")) == Secret("one")
        (tmp_path / "pod").write_text(jwt.encode({**claims, "sub": "other"}, key, "ES256"))
        message = told(opened(None, auth=auth).access)
        assert "the kubernetes login at auth/kubernetes was refused" in message


# A server in trouble


def test_a_sealed_server_is_told_and_work_goes_on_after(tmp_path: Path) -> None:
    with vault(tmp_path) as server:
        env = {"VAULT_ADDR": server.url, "VAULT_TOKEN": ROOT}
        store = open_store("vault", {}, tmp_path, env)
        store.put(at("a"), Secret("one"), LABELS)
        server.ask("PUT", "sys/seal")
        late = open_store("vault", {}, tmp_path, env)
        for act in (
            late.access,
            late.probe,
            store.probe,
            lambda: store.put(at("a"), Secret(TEXT), LABELS),
            lambda: store.look(at("a")),
            lambda: store.delete(at("a")),
        ):
            assert "it is sealed" in told(act)
        server.ask("PUT", "sys/unseal", {"key": server.unseal_key})
        assert store.get(at("a")) == Secret("one")


# Whole runs

CONFIG = """version: 1
services: {{sandbox: {{type: embedded}}}}
stores: {{vault: {{type: vault, address: "{url}", prefix: {base}, token: "${{env:KEYFORM_TOKEN}}"}}}}
defaults: {{store: vault}}
keys:
  one: {{service: sandbox, name: One, secret: one}}
  two: {{service: sandbox, name: Two, secret: {{path: shared, field: two}}}}
  three: {{service: sandbox, name: Three, secret: {{path: shared, field: three}}}}
"""


def test_from_yaml_to_vault_and_back(
    server: Vault, base: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    world.write(CONFIG.format(url=server.url, base=base))
    server.ask("POST", f"secret/data/{base}/shared", {"data": {"theirs": "stays"}})
    assert not world.apply(parallelism=3).failed
    live = world.live()
    for address in ("keys.one", "keys.two", "keys.three"):
        secret = world.stored(address)
        current = world.state().keys[address].current
        assert secret is not None
        assert world.works(secret, live[current.id])
    about = server.ask("GET", f"secret/data/{base}/one")["data"]["metadata"]["custom_metadata"]
    assert about["keyform.value.address"] == "keys.one"
    assert about["keyform.value.key_id"] == world.state().keys["keys.one"].current.id
    assert world.plan().empty
    world.write(CONFIG.format(url=server.url, base=base).partition("keys:")[0])
    assert not world.apply().failed
    assert world.live() == {}
    assert server.ask("GET", f"secret/data/{base}/one")["data"]["data"] is None
    assert server.ask("GET", f"secret/data/{base}/shared")["data"]["data"] == {"theirs": "stays"}


@pytest.mark.parametrize("mount", ["secret", "old"])
def test_the_whole_run_of_every_store(
    server: Vault, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    options = f'address: "{server.url}", mount: {mount}, prefix: {base}, token: "${{env:KEYFORM_TOKEN}}"'

    def read(path: str) -> str | None:
        found = server.ask("GET", f"{mount}/{'data/' if mount == 'secret' else ''}{base}/{path}")
        data = found.get("data") or {}
        value = ((data.get("data") or {}) if mount == "secret" else data).get("value")
        return None if value is None else str(value)

    check_whole_run(
        tmp_path, f"{{type: vault, {options}}}", "one", "deep/two", read, capfd, remembers=mount == "secret"
    )


def test_nothing_is_minted_that_could_not_be_stored(
    server: Vault, base: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.policy("reader", 'path "secret/data/*" { capabilities = ["read"] }')
    monkeypatch.setenv("KEYFORM_TOKEN", server.token("reader"))
    world.write(CONFIG.format(url=server.url, base=base))
    assert "permission denied" in told(world.apply)
    assert world.live() == {}
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    assert not world.apply().failed
    assert len(world.live()) == 3


def test_a_token_that_dies_in_a_run_leaves_no_key_without_its_secret(
    server: Vault, base: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.policy("writer", WRITER)
    monkeypatch.setenv("KEYFORM_TOKEN", server.token("writer", num_uses=16))
    world.write(CONFIG.format(url=server.url, base=base))
    outcome = world.apply()
    assert outcome.failed
    assert outcome.done >= 1
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    assert not world.apply().failed
    assert len(world.live()) == 3
    for address in ("keys.one", "keys.two", "keys.three"):
        assert world.stored(address) is not None


def test_somebody_elses_value_is_not_replaced_without_being_told_to(
    server: Vault, base: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    world.write(CONFIG.format(url=server.url, base=base))
    server.ask("POST", f"secret/data/{base}/shared", {"data": {"two": "theirs", "more": "stays"}})
    with pytest.raises(PlanError, match="vault:shared#two holds a value that keyform did not write"):
        world.apply()
    assert world.live() == {}
    assert not world.apply(overwrite=True).failed
    data = server.ask("GET", f"secret/data/{base}/shared")["data"]["data"]
    assert data["more"] == "stays"
    assert Secret(data["two"]) == world.stored("keys.two")


@pytest.mark.parametrize("first", [False, True], ids=["refused over an old value", "known over nothing"])
def test_a_write_that_comes_after_its_key_was_ended_needs_nobody(
    server: Vault, base: str, world: World, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """The server carries the request out long after keyform has given it up. Over an old value, its
    check-and-set fails by then; over nothing it comes through, and is known as keyform's own."""
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    text = CONFIG.format(url=server.url, base=base)
    late: list[Callable[[], object]] = []
    write = KvTwo.write

    def held_up(engine: KvTwo, path: str, where: str, fields: Any, over: Any) -> int:
        if path.endswith("one") and not late:
            late.append(lambda: write(engine, path, where, fields, over))
            raise StoreError(f"no answer to the write of {where} within 30 s", "The test says so.")
        return write(engine, path, where, fields, over)

    if not first:
        world.write(text).apply()
        world.write(text.replace("name: One", "name: One, environment: test"))
    else:
        world.write(text)
    before = None if first else world.stored("keys.one")
    monkeypatch.setattr(KvTwo, "write", held_up)
    assert "mint-undone" in [diagnostic.code for diagnostic in world.apply().failed]
    if first:
        late[0]()
    else:
        with pytest.raises(Beaten):
            late[0]()
        assert world.stored("keys.one") == before
    assert not world.apply().failed
    assert not inspect(world)


class SealedAtWrite:
    """A store whose server is sealed just before a write."""

    def __init__(self, inner: Any, seal: Callable[[], object], writes: list[int]) -> None:
        self._inner, self._seal, self._writes = inner, seal, writes

    def __getattr__(self, name: str) -> Any:
        if name == "put":
            self._writes[0] -= 1
            if self._writes[0] == 0:
                self._seal()
        return getattr(self._inner, name)


def test_a_server_that_is_sealed_in_a_run_costs_no_key(
    tmp_path_factory: pytest.TempPathFactory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    with vault(tmp_path_factory.mktemp("sealed")) as server:
        world.write(CONFIG.format(url=server.url, base="test"))
        server.ask("PUT", "sys/seal")
        assert "it is sealed" in told(world.apply)
        assert world.live() == {}
        server.ask("PUT", "sys/unseal", {"key": server.unseal_key})
        writes = [2]
        wrap = Wrapping(
            store=lambda inner: SealedAtWrite(inner, lambda: server.ask("PUT", "sys/seal"), writes)
        )
        outcome = world.apply(wrap=wrap)
        assert any("it is sealed" in diagnostic.summary for diagnostic in outcome.failed)
        server.ask("PUT", "sys/unseal", {"key": server.unseal_key})
        assert len(world.live()) == outcome.done == 1, "what could not be stored was revoked again"
        assert not world.apply().failed
        assert len(world.live()) == 3
        for address in ("keys.one", "keys.two", "keys.three"):
            assert world.stored(address) is not None


def test_no_log_of_any_library_shows_a_secret_or_a_token(
    server: Vault, base: str, tmp_path: Path, approle: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    auth = approle()
    monkeypatch.setenv("SECRET_ID", auth["secret_id"].reveal())
    role = f"mount: {auth['mount']}, role_id: {auth['role_id']}"
    login = f'auth: {{method: approle, {role}, secret_id: "${{env:SECRET_ID}}"}}'
    text = CONFIG.format(url=server.url, base=base).replace('token: "${env:KEYFORM_TOKEN}"', login)
    (tmp_path / "keyform.yaml").write_text(text)
    given: list[str] = [auth["secret_id"].reveal()]
    original = Secret.__init__

    def remember(self: Secret, value: str) -> None:
        original(self, value)
        given.append(value)

    monkeypatch.setattr(Secret, "__init__", remember)
    with caplog.at_level(logging.DEBUG):
        assert run(["-C", str(tmp_path), "-vv", "apply", "--auto-approve"]) == 0
        assert run(["-C", str(tmp_path), "-vv", "destroy", "--auto-approve"]) == 0
    out, err = capsys.readouterr()
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}, "it did log"
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    secrets = {text for text in given if len(text) >= 16}
    assert len(secrets) >= 5
    for where in (out, err, logged):
        assert not [text for text in secrets if text in where]
