"""The Kubernetes store beside other writers, rights and rules of a real API server."""

from __future__ import annotations

import base64
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.registry import open_store
from keyform.stores.kubernetes import KubernetesStore
from keyform.stores.kubernetes_client import Access, Answer, Cluster
from keyform.stores.kubernetes_secret import Wanted
from tests.servers.kubernetes import ADMIN, KEYFORM, NOBODY, READER, KubernetesServer, kubernetes
from tests.stores.whole_run import check_whole_run

pytestmark = pytest.mark.integration
VERBS = ["get", "create", "patch", "delete"]
RULES = {
    "keyform": [{"apiGroups": [""], "resources": ["secrets"], "verbs": VERBS}],
    "reader": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
}
NUMBERS = itertools.count()
PLACE = Place("prod", "checkout", "token")
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    with kubernetes(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


class Space:
    """A namespace of one test's own, seen past keyform."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self.name = f"test-{next(NUMBERS)}"
        self.path = f"/api/v1/namespaces/{self.name}/secrets"
        server.namespace(self.name, RULES)

    def open(self, token: str = KEYFORM, **wanted: Any) -> KubernetesStore:
        return self.opened({"token": token}, **wanted)

    def opened(self, user: Mapping[str, Any], **wanted: Any) -> KubernetesStore:
        access = Access(str(self.server.kubeconfig(f"{self.name}-{next(NUMBERS)}", user)))
        return KubernetesStore("prod", Cluster("prod", access), namespace=self.name, wanted=Wanted(**wanted))

    def secret(self, name: str = "checkout") -> dict[str, Any] | None:
        found = self.server.api("GET", f"{self.path}/{name}")
        return found if found["kind"] == "Secret" else None

    def data(self, name: str = "checkout") -> dict[str, str]:
        found = self.secret(name)
        assert found is not None
        return {key: base64.b64decode(text).decode() for key, text in found.get("data", {}).items()}

    def make(self, name: str = "checkout", **body: Any) -> None:
        """A Secret that an admin makes with kubectl's server-side apply."""
        meta = {"name": name, **body.pop("metadata", {})}
        whole = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, **body}
        self.server.api("PATCH", f"{self.path}/{name}", whole, content=APPLY, fieldManager="kubectl")

    def edit(self, name: str = "checkout", **body: Any) -> None:
        """A change that an admin makes with kubectl edit."""
        self.server.api("PATCH", f"{self.path}/{name}", body, content=MERGE, fieldManager="kubectl-edit")

    def managers(self, field: str, name: str = "checkout") -> set[str]:
        """Who manages a field of the Secret."""
        found = self.secret(name)
        assert found is not None
        return {
            f"{entry['manager']} by {entry['operation']}"
            for entry in found["metadata"]["managedFields"]
            if f"f:{field}" in entry["fieldsV1"].get("f:data", {})
        }


@pytest.fixture
def space(server: KubernetesServer) -> Space:
    return Space(server)


def said(act: Callable[[], object], kind: type[StoreError] = StoreError) -> str:
    with pytest.raises(kind) as refused:
        act()
    [diagnostic] = refused.value.diagnostics
    assert diagnostic.detail, "the message says what to do"
    assert "prod" in diagnostic.summary, "the message names the store"
    return f"{diagnostic.summary} | {diagnostic.detail}"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# Beside other writers


def test_other_fields_and_the_secret_of_somebody_else_stay(space: Space) -> None:
    space.make(
        data={"url": b64("https://pay.example")}, metadata={"labels": {"app": "pay"}}, type="example/key"
    )
    before = space.secret()
    store = space.open(labels={"team": "pay"}, annotations={"example.com/owner": "me"})
    store.put(PLACE, Secret("one"), {}, None)
    store.put(PLACE, Secret("two"), {}, Secret("one"))
    after = space.secret()
    assert before is not None
    assert after is not None
    assert space.data() == {"url": "https://pay.example", "token": "two"}
    assert after["type"] == "example/key"
    assert after["metadata"]["labels"] == {"app": "pay", "team": "pay"}
    assert after["metadata"]["annotations"]["example.com/owner"] == "me"
    assert space.managers("token") == {"keyform by Apply"}
    assert space.managers("url") == {"kubectl by Apply"}
    store.delete(PLACE)
    assert space.data() == {"url": "https://pay.example"}
    space.edit(data={"url": None})
    store.put(PLACE, Secret("three"), {}, None)
    store.delete(PLACE)
    assert space.secret() is not None, "keyform did not make it"


def test_a_secret_that_keyform_made_goes_with_its_last_field(space: Space) -> None:
    store = space.open()
    store.put(PLACE, Secret("one"), {})
    space.edit(data={"theirs": b64("x")})
    store.delete(PLACE)
    assert space.data() == {"theirs": "x"}
    store.put(PLACE, Secret("one"), {})
    space.edit(data={"theirs": None})
    store.delete(PLACE)
    assert space.secret() is None


def test_what_keyform_wrote_is_kept_by_later_applies(space: Space) -> None:
    """A server-side apply takes away what it leaves out."""
    store = space.open()
    fields = [Place("prod", "checkout", f"field-{number}") for number in range(4)]
    for round_ in range(3):
        for place in fields:
            store.put(place, Secret(f"{place.field} {round_}"), {"generation": f"{round_}"})
    store.delete(fields[1])
    store.put(fields[0], Secret("last"), {})
    assert space.data() == {"field-0": "last", "field-2": "field-2 2", "field-3": "field-3 2"}
    held = store.look(fields[2])
    assert held is not None
    assert held.labels == {"generation": "2"}
    assert {who for place in (fields[0], fields[2]) for who in space.managers(str(place.field))} == {
        "keyform by Apply"
    }


def test_a_field_of_another_manager_is_taken_over_only_when_allowed(space: Space) -> None:
    space.make(data={"token": b64("theirs")})
    store = space.open()
    assert "somebody else writes there" in said(lambda: store.put(PLACE, Secret("x"), {}, None), Taken)
    said(lambda: store.put(PLACE, Secret("x"), {}, Secret("y")), Taken)
    assert space.data() == {"token": "theirs"}
    assert space.managers("token") == {"kubectl by Apply"}
    store.put(PLACE, Secret("mine"), {}, Secret("theirs"))
    assert space.data() == {"token": "mine"}
    assert space.managers("token") == {"keyform by Apply"}
    space.edit(data={"token": b64("edited")})
    store.put(PLACE, Secret("again"), {})
    assert space.data() == {"token": "again"}
    assert space.managers("token") == {"keyform by Apply"}


def test_a_field_that_others_own_too_is_deleted(space: Space) -> None:
    store = space.open()
    store.put(PLACE, Secret("same"), {})
    space.make(data={"token": b64("same")})
    store.put(PLACE, Secret("same"), {})
    assert "kubectl by Apply" in space.managers("token")
    store.delete(PLACE)
    assert space.secret() is None


def test_a_label_of_another_manager_is_not_forced(space: Space) -> None:
    space.make(metadata={"labels": {"team": "theirs"}}, data={"token": b64("theirs")})
    store = space.open(labels={"team": "mine"})
    told = said(lambda: store.put(PLACE, Secret("x"), {}))
    assert ".metadata.labels.team" in told
    assert "kubectl" in told
    assert space.data() == {"token": "theirs"}
    space.open(labels={"team": "theirs"}).put(PLACE, Secret("x"), {})
    assert space.data() == {"token": "x"}


def test_labels_follow_the_options(space: Space) -> None:
    space.open(labels={"a": "1", "b": "1"}).put(PLACE, Secret("x"), {})
    space.open(labels={"b": "2"}).put(PLACE, Secret("y"), {})
    found = space.secret()
    assert found is not None
    assert found["metadata"]["labels"] == {"b": "2"}


def test_a_type_by_choice(space: Space) -> None:
    store = space.open(type="kubernetes.io/ssh-auth")
    place = Place("prod", "checkout", "ssh-privatekey")
    store.probe()
    store.put(place, Secret("x"), {})
    found = space.secret()
    assert found is not None
    assert found["type"] == "kubernetes.io/ssh-auth"
    told = said(lambda: space.open(type="example/other").put(place, Secret("y"), {}))
    assert "is of type kubernetes.io/ssh-auth" in told
    told = said(
        lambda: space.open(type="kubernetes.io/tls").put(Place("prod", "new", "token"), Secret("y"), {})
    )
    assert "tls.crt" in told, "what the server says of it is told"
    assert space.secret("new") is None


def test_a_change_by_hand_is_another_version(space: Space) -> None:
    store = space.open()
    version = store.put(PLACE, Secret("one"), {"generation": "1"})
    space.edit(data={"other": b64("x")}, metadata={"labels": {"a": "b"}})
    assert store.get(PLACE, version) == Secret("one"), "another field makes no version"
    space.edit(data={"token": b64("two")})
    held = store.look(PLACE)
    assert held is not None
    assert held.version != version
    assert store.get(PLACE, version) is None


def test_a_note_that_was_spoilt_does_no_harm(space: Space) -> None:
    store = space.open()
    store.put(PLACE, Secret("one"), {"generation": "1"})
    for note in ("no JSON", "[]", '{"token": 7}', '{"token": {"labels": 7}}'):
        space.edit(metadata={"annotations": {"keyform/fields": note}})
        held = store.look(PLACE)
        assert held is not None
        assert held.labels == {}
    store.put(PLACE, Secret("two"), {"generation": "2"})
    held = store.look(PLACE)
    assert held is not None
    assert held.labels == {"generation": "2"}


class Between(Cluster):
    """A cluster where somebody else is faster: ``meddle`` comes between what was read and the first write."""

    def __init__(self, access: Access, meddle: Callable[[], object]) -> None:
        super().__init__("prod", access)
        self._meddle: Callable[[], object] | None = meddle

    def call(self, doing: str, method: str, path: str, *arguments: Any, **named: Any) -> Answer:
        meddle = self._meddle
        if method != "GET" and meddle:
            self._meddle = None
            meddle()
        return super().call(doing, method, path, *arguments, **named)


def between(space: Space, meddle: Callable[[], object]) -> KubernetesStore:
    access = Access(str(space.server.kubeconfig(f"{space.name}-between", {"token": KEYFORM})))
    return KubernetesStore("prod", Between(access, meddle), namespace=space.name)


def test_a_write_that_somebody_came_before_is_not_carried_out(space: Space) -> None:
    other = space.open()
    first = between(space, lambda: other.put(PLACE, Secret("theirs"), {}))
    said(lambda: first.put(PLACE, Secret("mine"), {}, None), Taken)
    assert space.data() == {"token": "theirs"}
    other.put(PLACE, Secret("seen"), {})  # an apply, so that no later write begins by tidying up
    second = between(space, lambda: other.put(PLACE, Secret("theirs"), {}))
    said(lambda: second.put(PLACE, Secret("mine"), {}, Secret("seen")), Taken)
    assert space.data() == {"token": "theirs"}
    third = between(space, lambda: other.put(Place("prod", "checkout", "other"), Secret("new"), {"a": "b"}))
    third.put(PLACE, Secret("mine"), {}, Secret("theirs"))
    assert space.data() == {"token": "mine", "other": "new"}


def test_a_deletion_that_somebody_came_before_takes_no_more_than_its_field(space: Space) -> None:
    other, beside = space.open(), Place("prod", "checkout", "other")
    other.put(PLACE, Secret("x"), {})
    between(space, lambda: space.edit(data={"theirs": b64("y")})).delete(PLACE)
    assert space.data() == {"theirs": "y"}, "the Secret was no longer only keyform's"
    other.put(PLACE, Secret("x"), {})
    between(space, lambda: other.put(beside, Secret("z"), {"generation": "1"})).delete(PLACE)
    held = other.look(beside)
    assert held is not None
    assert held.labels == {"generation": "1"}, "the note of the other field stays"
    between(space, lambda: other.delete(beside)).delete(beside)
    assert space.data() == {"theirs": "y"}


# Rules of the cluster


def test_bytes_that_are_no_text_are_not_read_and_not_replaced_unseen(space: Space) -> None:
    space.make(data={"token": base64.b64encode(b"\xff\xfe").decode()})
    store = space.open()
    assert "does not hold text" in said(lambda: store.get(PLACE))
    said(lambda: store.put(PLACE, Secret("x"), {}, None), Taken)
    said(lambda: store.put(PLACE, Secret("x"), {}, Secret("y")), Taken)
    store.put(PLACE, Secret("x"), {})
    assert store.get(PLACE) == Secret("x")


def test_an_immutable_secret_is_refused_with_a_way_out(space: Space) -> None:
    space.make(data={"token": b64("theirs"), "other": b64("x")}, immutable=True)
    store = space.open()
    for act in (lambda: store.put(PLACE, Secret("x"), {}), lambda: store.delete(PLACE)):
        told = said(act)
        assert "is immutable" in told
        assert f"kubectl delete secret -n {space.name} checkout" in told
    assert space.data()["token"] == "theirs"


def test_a_secret_that_waits_for_a_finalizer_is_refused(space: Space) -> None:
    space.make(data={"token": b64("x")}, metadata={"finalizers": ["example.com/wait"]})
    space.server.api("DELETE", f"{space.path}/checkout")
    store = space.open()
    assert "waits for a finalizer" in said(lambda: store.put(PLACE, Secret("y"), {}))
    space.edit(metadata={"finalizers": None})
    store.put(PLACE, Secret("y"), {}, None)


def test_values_share_the_room_of_a_secret(space: Space) -> None:
    store = space.open()
    store.put(PLACE, Secret("x" * 1_000_000), {})
    other = Place("prod", "checkout", "other")
    told = said(lambda: store.put(other, Secret("y" * 48_577), {}))
    assert "1,048,577 bytes" in told
    assert "1,048,576 bytes" in told
    store.put(other, Secret("y" * 48_576), {})


def test_a_namespace_that_is_not_there_is_told(space: Space) -> None:
    store = KubernetesStore(
        "prod", Cluster("prod", Access(str(space.server.kubeconfig("admin", {"token": ADMIN}))))
    )
    place = Place("prod", "nowhere/checkout", "token")
    assert store.get(place) is None
    told = said(lambda: store.put(place, Secret("x"), {}))
    assert "kubectl create namespace nowhere" in told


def test_a_full_quota_is_told(space: Space) -> None:
    quotas = f"/api/v1/namespaces/{space.name}/resourcequotas"
    space.server.api("POST", quotas, {"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": "0"}}})
    # No controller runs here that would count, so say for it that there are none yet.
    space.server.api(
        "PATCH",
        f"{quotas}/few/status",
        {"status": {"hard": {"count/secrets": "0"}, "used": {"count/secrets": "0"}}},
        content=MERGE,
    )
    told = said(lambda: space.open().put(PLACE, Secret("must-not-appear"), {}))
    assert "exceeded quota" in told
    assert "must-not-appear" not in told


# Rights


def test_what_the_credential_may_do_is_asked_without_touching_a_secret(space: Space) -> None:
    assert space.name in space.open().access()
    for token, lacking in ((READER, ("create", "patch", "delete")), (NOBODY, tuple(VERBS))):
        for act in (space.open(token).access, space.open(token).probe):
            told = said(act)
            for verb in VERBS:
                assert (f"{verb} in namespace {space.name}" in told) == (verb in lacking)
            assert "docs/stores/kubernetes.md" in told
    assert space.server.api("GET", space.path)["items"] == []


def test_the_namespaces_of_checked_places_are_proven(space: Space, server: KubernetesServer) -> None:
    other = Space(server)
    store = space.open()
    store.check(PLACE)
    store.check(Place("prod", f"{other.name}/checkout", "token"))
    store.probe()
    assert other.name in store.access()
    store.check(Place("prod", "kube-system/checkout", "token"))
    assert "create in namespace kube-system" in said(store.probe)


def test_a_store_without_a_namespace_waits_for_places(space: Space) -> None:
    access = Access(str(space.server.kubeconfig("bare", {"token": KEYFORM})))
    assert "none is known" in KubernetesStore("prod", Cluster("prod", access)).access()
    access = Access(str(space.server.kubeconfig("bare-admin", {"token": ADMIN})))
    assert "all namespaces" in KubernetesStore("prod", Cluster("prod", access)).access()


def test_the_role_of_the_documentation_is_enough(space: Space) -> None:
    text = Path(__file__).parents[2].joinpath("docs", "stores", "kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    [whole] = [block for block in blocks if "RoleBinding" in block]
    [named] = [block for block in blocks if "resourceNames" in block]
    role, binding = yaml.safe_load_all(whole.replace("payments", space.name))
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space.name}"
    assert yaml.safe_load(named)["rules"][0]["resourceNames"] == ["checkout", "keyform-canary"]
    for rules in (role["rules"], yaml.safe_load(named)["rules"]):
        for kind, name in (("rolebindings", "keyform"), ("roles", "keyform")):
            space.server.api("DELETE", f"{roles}/{kind}/{name}")
        with pytest.raises(StoreError):
            space.open().access()
        space.server.api("POST", f"{roles}/roles", {**role, "rules": rules})
        user = [{"kind": "User", "name": "keyform", "apiGroup": "rbac.authorization.k8s.io"}]
        space.server.api("POST", f"{roles}/rolebindings", {**binding, "subjects": user})
        store = space.open()
        store.check(PLACE)
        store.probe()
        for text in ("one", "two"):
            store.put(PLACE, Secret(text), {})
        store.delete(PLACE)
    other = Place("prod", "other", "token")
    store.check(other)
    assert f"get other in namespace {space.name}" in said(store.probe)
    assert "forbidden" in said(lambda: store.put(other, Secret("x"), {}))


# Credentials that end


def service_account(space: Space, name: str) -> str:
    """A bound token of a new service account that may do what keyform may."""
    accounts = f"/api/v1/namespaces/{space.name}/serviceaccounts"
    space.server.api("POST", accounts, {"metadata": {"name": name}})
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space.name}/rolebindings"
    bound = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keyform"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": space.name}],
    }
    space.server.api("POST", bindings, bound)
    wanted = {"spec": {"expirationSeconds": 600}}
    token: str = space.server.api("POST", f"{accounts}/{name}/token", wanted)["status"]["token"]
    return token


def withdraw(space: Space, name: str) -> None:
    space.server.api("DELETE", f"/api/v1/namespaces/{space.name}/serviceaccounts/{name}")


def test_a_token_that_ends_in_the_middle_is_read_anew_from_its_file(space: Space, tmp_path: Path) -> None:
    """As the kubelet rewrites a projected token."""
    file = tmp_path / "token"
    file.write_text(KEYFORM)
    store = space.opened({"tokenFile": str(file)})
    store.put(PLACE, Secret("one"), {})
    first = service_account(space, "first")
    withdraw(space, "first")  # unused until now, so that no cache of the server knows it
    file.write_text(first)
    again = space.opened({"tokenFile": str(file)})
    told = said(lambda: again.put(PLACE, Secret("two"), {}))
    assert "does not accept the credential" in told
    assert first not in told
    assert space.data() == {"token": "one"}
    file.write_text(service_account(space, "second"))
    again.put(PLACE, Secret("two"), {})
    assert space.data() == {"token": "two"}


def test_in_a_pod_its_service_account_is_used(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text(service_account(space, "pod"))
    ca.write_bytes(space.server.ca.read_bytes())
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    host, port = space.server.url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    store = open_store("prod", "kubernetes", {"namespace": space.name, "field": "token"}, tmp_path)
    store.probe()
    store.put(Place("prod", "checkout"), Secret("from a pod"), {})
    assert space.data() == {"token": "from a pod"}
    store.close()


def test_a_client_certificate_signs_in(space: Space) -> None:
    folder = space.server.folder
    store = space.opened(
        {
            "client-certificate-data": base64.b64encode((folder / "keyform.crt").read_bytes()).decode(),
            "client-key": str(folder / "keyform.key"),
        }
    )
    store.put(PLACE, Secret("one"), {})
    assert space.data() == {"token": "one"}


def test_a_certificate_that_nobody_vouches_for_is_told(space: Space, tmp_path: Path) -> None:
    config = space.server.kubeconfig("no-ca", {"token": KEYFORM})
    config.write_text(config.read_text().replace(str(space.server.ca), "/etc/ssl/certs/ca-certificates.crt"))
    cluster = Cluster("prod", Access(str(config)), pause=0.01)
    store = KubernetesStore("prod", cluster, namespace=space.name)
    assert "certificate" in said(lambda: store.get(PLACE)).lower()


# Whole runs


def test_a_run_from_the_configuration_to_nothing_left(
    space: Space, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = space.server.kubeconfig("run", {"token": KEYFORM})
    store = f"{{type: kubernetes, kubeconfig: {config}, namespace: {space.name}, field: token}}"

    def read(path: str) -> str | None:
        return None if space.secret(path) is None else space.data(path).get("token")

    check_whole_run(tmp_path, store, "checkout", "dashboard", read, capfd)
    assert space.server.api("GET", space.path)["items"] == []


def test_no_log_has_a_secret(space: Space, caplog: pytest.LogCaptureFixture) -> None:
    text = "sk_live_must_not_appear"
    store = space.open()
    with caplog.at_level(logging.DEBUG):
        store.probe()
        for number in range(3):
            store.put(PLACE, Secret(f"{text}{number}"), {})
            assert store.get(PLACE) == Secret(f"{text}{number}")
        store.delete(PLACE)
    assert f"/api/v1/namespaces/{space.name}/secrets" in caplog.text, "the client was logging"
    for form in (text, b64(text)[:-4], KEYFORM):
        assert form not in caplog.text
