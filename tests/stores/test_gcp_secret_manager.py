"""What Google Secret Manager asks of its store: names, claims, other people's versions, and bad days."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.cloud.secretmanager_v1 import SecretVersion

from keyform.errors import ConfigError, StoreError, Taken
from keyform.model import Place, Secret
from keyform.stores.gcp_calls import Calls
from keyform.stores.gcp_secret_manager import GoogleSecretManagerStore, open_store
from tests.conftest import MINTED
from tests.stores.standins.certificates import certificate
from tests.stores.standins.google import Kept, SecretManager, refuse, secret_manager, sm, token_exchange
from tests.stores.whole_run import KEYS, check_whole_run
from tests.world import World

PLACE = Place("google", "prod/checkout")
NAME = "projects/shop/secrets/prod__checkout"
LABELS = {"address": 'keys.reader["us-east"]', "key_id": "key_1", "generation": "1"}
UNIVERSE = "standin.example"
"""Not Google's own, about whose credentials the SDK asks Google's servers by itself."""
CANARY = "sk_live_canary_5d41402abc4b2a76"


@pytest.fixture
def served() -> SecretManager:
    return SecretManager()


@pytest.fixture
def address(served: SecretManager) -> Iterator[str]:
    with secret_manager(served) as address:
        yield address


@pytest.fixture
def store(address: str) -> GoogleSecretManagerStore:
    return opened(address)


def opened(address: str, **options: Any) -> GoogleSecretManagerStore:
    return open_store("google", {"project": "shop", "endpoint": f"http://{address}", **options}, Path(), {})


def once(what: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A hook that does ``act`` at the first call of ``what``."""
    due = [what]

    def hook(method: str) -> None:
        if method in due:
            due.remove(method)
            act()

    return hook


def told(raised: pytest.ExceptionInfo[StoreError]) -> str:
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    return f"{diagnostic.summary}\n{diagnostic.detail}"


def test_a_path_is_one_name_and_the_labels_are_annotations(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    store.put(PLACE, Secret("value"), LABELS)
    secret = served.kept[NAME].secret
    assert secret.labels == {"managed-by": "keyform"}
    assert secret.annotations["keyform-label-address"] == LABELS["address"]
    held = store.look(PLACE)
    assert held is not None
    assert (held.version, dict(held.labels)) == ("1", LABELS)


@pytest.mark.parametrize(
    ("options", "parent", "made"),
    [
        ({}, "projects/shop", {"replication": {"automatic": {}}}),
        (
            {"kms_key": "K"},
            "projects/shop",
            {"replication": {"automatic": {"customer_managed_encryption": {"kms_key_name": "K"}}}},
        ),
        (
            {"replicas": ({"location": "europe-west3", "kms_key": "K"}, {"location": "europe-north1"})},
            "projects/shop",
            {
                "replication": {
                    "user_managed": {
                        "replicas": [
                            {
                                "location": "europe-west3",
                                "customer_managed_encryption": {"kms_key_name": "K"},
                            },
                            {"location": "europe-north1"},
                        ]
                    }
                }
            },
        ),
        (
            {"location": "europe-west3", "kms_key": "K"},
            "projects/shop/locations/europe-west3",
            {"customer_managed_encryption": {"kms_key_name": "K"}},
        ),
    ],
    ids=["automatic", "automatic with a key", "replicas", "regional"],
)
def test_new_secrets_are_kept_as_declared(
    address: str, served: SecretManager, options: dict[str, Any], parent: str, made: dict[str, Any]
) -> None:
    store = opened(address, prefix="keyform-", **options)
    store.probe()
    store.put(PLACE, Secret("value"), {})
    secret = served.kept[f"{parent}/secrets/keyform-prod__checkout"].secret
    expected = sm.Secret(made)
    assert secret.replication == expected.replication
    assert secret.customer_managed_encryption == expected.customer_managed_encryption
    assert [name for name in served.kept if "canary" in name] == []


@pytest.mark.parametrize("method", ["CreateSecret", "UpdateSecret", "AddSecretVersion"])
def test_a_lost_answer_loses_and_doubles_nothing(
    store: GoogleSecretManagerStore, served: SecretManager, method: str
) -> None:
    before = None
    if method == "UpdateSecret":
        before = Secret("before")
        store.put(PLACE, before, LABELS)
    served.after = once(method, lambda: refuse("UNAVAILABLE", "the line went dead"))
    version = store.put(PLACE, Secret("value"), {**LABELS, "generation": "2"}, before)
    assert served.calls.count(method) > 1, "the call was repeated"
    assert store.get(PLACE) == Secret("value")
    held = store.look(PLACE)
    assert held is not None
    assert (held.version, held.labels["generation"]) == (version, "2")
    store.delete(PLACE)
    assert served.kept == {}


def test_a_writer_that_died_after_its_claim_holds_nobody_up_for_good(
    store: GoogleSecretManagerStore, served: SecretManager, address: str
) -> None:
    store.put(PLACE, Secret("first"), LABELS)
    served.fault = once("AddSecretVersion", lambda: refuse("INTERNAL", "killed"))
    with pytest.raises(StoreError):
        store.put(PLACE, Secret("never"), {**LABELS, "generation": "2"}, Secret("first"))
    held = store.look(PLACE)
    assert held is not None
    assert held.labels == {}, "the labels of a version that is not there are not those of the one before"
    next_one = GoogleSecretManagerStore(
        "google", "projects/shop", Calls("google", f"http://{address}", 30), made_as={}, patience=0.1
    )
    assert next_one.put(PLACE, Secret("second"), LABELS, Secret("first")) == "2"
    assert next_one.get(PLACE) == Secret("second")


def test_while_one_keyform_writes_another_waits_and_then_sees_it(
    store: GoogleSecretManagerStore, served: SecretManager, address: str
) -> None:
    outcome = []

    def put_too() -> None:
        try:
            opened(address).put(PLACE, Secret("late"), LABELS, None)
        except Taken:
            outcome.append("taken")

    rival = threading.Thread(target=put_too)
    looked = threading.Semaphore(0)

    def hook(method: str) -> None:
        if method == "AddSecretVersion" and not rival.ident:
            rival.start()
            for _ in range(3):
                looked.acquire(timeout=20)
        elif rival.ident:
            looked.release()

    served.fault = hook
    store.put(PLACE, Secret("first"), LABELS, None)
    rival.join()
    assert outcome == ["taken"]
    assert served.calls.count("AddSecretVersion") == 1
    assert store.get(PLACE) == Secret("first")


def test_of_two_keyforms_that_saw_the_same_one_writes(
    store: GoogleSecretManagerStore, served: SecretManager, address: str
) -> None:
    store.put(PLACE, Secret("old"), LABELS)
    both = threading.Barrier(2)

    def hook(method: str) -> None:
        if method == "UpdateSecret" and served.calls.count("UpdateSecret") <= 2:
            both.wait(20)

    def put(text: str) -> str:
        try:
            opened(address).put(PLACE, Secret(text), LABELS, Secret("old"))
        except Taken:
            return "taken"
        return text

    served.fault = hook
    with ThreadPoolExecutor(2) as threads:
        outcome = set(threads.map(put, ("one", "two")))
    assert "taken" in outcome
    assert served.calls.count("AddSecretVersion") == 2, "the old value, and that of the one who went first"
    kept = store.get(PLACE)
    assert kept is not None
    assert kept.reveal() in outcome


def test_what_somebody_else_adds_in_between_is_the_latest_again(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    store.put(PLACE, Secret("old"), LABELS)
    served.fault = once("AddSecretVersion", lambda: served.somebody_writes(NAME, "theirs"))
    with pytest.raises(Taken) as taken:
        store.put(PLACE, Secret(CANARY), LABELS, Secret("old"))
    assert CANARY not in told(taken)
    assert store.get(PLACE) == Secret("theirs")
    assert store.get(PLACE, "3") is None, "the value that was refused is destroyed"


def test_with_leave_to_replace_anything_the_last_writer_wins(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    store.put(PLACE, Secret("old"), LABELS)
    served.fault = once("AddSecretVersion", lambda: served.somebody_writes(NAME, "theirs"))
    assert store.put(PLACE, Secret("mine"), LABELS) == "3"
    assert store.get(PLACE) == Secret("mine")
    held = store.look(PLACE)
    assert held is not None
    assert dict(held.labels) == LABELS


def test_of_a_secret_that_somebody_else_made_only_keyforms_versions_go(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    served.somebody_writes(NAME, "theirs")
    served.kept[NAME].secret.annotations["team"] = "payments"
    for value in ("one", "two"):
        store.put(PLACE, Secret(value), LABELS)
    assert store.get(PLACE, "2") == Secret("one"), "the last value stays readable"
    store.delete(PLACE)
    assert store.get(PLACE) is None
    assert store.look(PLACE) is None
    assert [store.get(PLACE, number) for number in ("1", "2", "3")] == [Secret("theirs"), None, None]
    assert dict(served.kept[NAME].secret.annotations) == {"team": "payments"}
    store.delete(PLACE)
    assert store.get(PLACE, "1") == Secret("theirs")
    store.put(PLACE, Secret("again"), LABELS, None)
    assert store.get(PLACE) == Secret("again")


def test_an_empty_secret_of_terraform_is_filled_and_stays(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    served.kept[NAME] = Kept(sm.Secret(name=NAME, etag="made", labels={"team": "payments"}))
    store.put(PLACE, Secret("value"), LABELS, None)
    store.delete(PLACE)
    assert served.kept[NAME].secret.labels == {"team": "payments"}


def test_a_disabled_version_is_not_taken_for_none(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    store.put(PLACE, Secret("value"), LABELS)
    disabled = served.set_state(f"{NAME}/versions/1", SecretVersion.State.DISABLED)
    for act in (store.get, store.look, lambda place: store.put(place, Secret("new"), LABELS, None)):
        with pytest.raises(StoreError, match="disabled") as refused:
            act(PLACE)
        assert "gcloud secrets versions enable 1 --secret=prod__checkout" in told(refused)
    disabled.scheduled_destroy_time = "2026-12-01T00:00:00Z"  # with delayed destruction, destroyed at last
    served.kept[NAME].versions[0] = (disabled, b"value")
    assert store.get(PLACE) is None
    store.put(PLACE, Secret("new"), LABELS, None)


def test_a_quota_that_is_used_up_for_a_moment_is_waited_for(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    served.fault = once("AddSecretVersion", lambda: refuse("RESOURCE_EXHAUSTED", "Quota exceeded."))
    store.put(PLACE, Secret("value"), LABELS)
    assert store.get(PLACE) == Secret("value")


def test_a_reader_is_told_what_it_lacks_and_nothing_is_left(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    served.denied = frozenset({"AddSecretVersion"})
    with pytest.raises(StoreError, match=r"versions\.add") as refused:
        store.probe()
    assert "roles/secretmanager.admin" in told(refused)
    assert served.kept == {}
    served.denied = frozenset({"DestroySecretVersion"})
    with pytest.raises(StoreError, match=r"versions\.destroy"):
        store.access()
    assert not [call for call in served.calls[-5:] if call.startswith(("Create", "Add", "Update"))]


def test_what_is_no_text_is_not_taken_for_a_secret(
    store: GoogleSecretManagerStore, served: SecretManager
) -> None:
    served.kept[NAME] = Kept(
        sm.Secret(name=NAME), [(sm.SecretVersion(name=f"{NAME}/versions/1", state=1), b"\xff\xfe")]
    )
    with pytest.raises(StoreError, match="no text"):
        store.get(PLACE)


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ({"endpoint": "http://proxy.example:80"}, {}, "clear text"),
        ({"endpoint": "http://localhost.example:80"}, {}, "clear text"),
        ({"location": "europe-west3", "replicas": ({"location": "x"},)}, {}, "`replicas` beside"),
        ({}, {"GRPC_TRACE": "all"}, "GRPC_TRACE"),
    ],
)
def test_what_cannot_be_right_is_refused_at_once(
    options: dict[str, Any], env: dict[str, str], said: str
) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        open_store("google", {"project": "shop", **options}, Path(), env)
    assert told(refused)


def test_without_a_credential_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    store = open_store("google", {"project": "shop"}, Path(), {})
    with pytest.raises(StoreError) as refused:
        store.access()
    assert "gcloud auth application-default login" in told(refused)


def test_a_misspelt_option_is_told_with_a_suggestion(tmp_path: Path) -> None:
    stores = "stores: {g: {type: gcp-secret-manager, projct: shop}}\n"
    text = "version: 1\nservices: {s: {type: embedded}}\n" + stores
    with pytest.raises(ConfigError) as refused:
        World(tmp_path).write(text).open()
    assert "Did you mean `project`" in " ".join(f"{d.summary} {d.detail}" for d in refused.value.diagnostics)


def test_no_logger_of_the_sdk_tells_a_secret(
    store: GoogleSecretManagerStore, served: SecretManager, caplog: pytest.LogCaptureFixture
) -> None:
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, name)
    with caplog.at_level(logging.DEBUG):
        store.put(PLACE, Secret(CANARY), LABELS)
        assert store.get(PLACE) == Secret(CANARY)
        served.fault = lambda method: refuse("INTERNAL", "broken")
        with pytest.raises(StoreError):
            store.put(PLACE, Secret(CANARY), LABELS)
    said = " ".join(f"{record.__dict__}" for record in caplog.records)
    assert CANARY not in said
    assert "c2tfbGl2ZV9jYW5hcn" not in said, "nor in base64"


def test_from_the_yaml_to_nothing_left(
    address: str, served: SecretManager, store: GoogleSecretManagerStore, tmp_path: Path, capfd: Any
) -> None:
    def read(path: str) -> str | None:
        value = store.get(Place("google", path))
        return value.reveal() if value else None

    declared = f'{{type: gcp-secret-manager, project: shop, endpoint: "http://{address}"}}'
    check_whole_run(tmp_path, declared, "prod/one", "prod/two", read, capfd, remembers=True)
    assert served.kept == {}


def test_with_the_default_credentials_over_tls_and_the_sdk_logging(tmp_path: Path) -> None:
    """In a process of its own, since grpc reads the certificates that it trusts once."""
    key_file, certificate_file = certificate(tmp_path)
    subject = tmp_path / "subject"
    subject.write_text("token of the CI job")
    served = SecretManager()
    with (
        secret_manager(
            served, (key_file.read_bytes(), certificate_file.read_bytes()), "token-of-today"
        ) as address,
        token_exchange("token of the CI job", "token-of-today") as token_url,
    ):
        adc = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/locations/global/workforcePools/ci/providers/ci",
            "universe_domain": UNIVERSE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": token_url,
            "credential_source": {"file": str(subject)},
        }
        (tmp_path / "adc.json").write_text(json.dumps(adc))
        declared = f'{{type: gcp-secret-manager, project: shop, endpoint: "{address}", timeout: 20}}'
        (tmp_path / "keyform.yaml").write_text(KEYS.format(store=declared, one="prod/one", two="prod/two"))
        environment = {
            **os.environ,
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "adc.json"),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate_file),
            "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google",
            "GOOGLE_CLOUD_UNIVERSE_DOMAIN": UNIVERSE,
        }

        def keyform(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "keyform", "-vv", "-C", str(tmp_path), *words]
            return subprocess.run(command, env=environment, capture_output=True, text=True)

        done = keyform("apply", "--auto-approve")
        assert done.returncode == 0, done.stderr
        written = [kept.versions[-1][1] for kept in served.kept.values()]
        assert len(written) == 2
        assert all(MINTED.fullmatch(data) for data in written)
        assert '"severity": "DEBUG"' in done.stderr, "the SDK logs"
        secret = [*(data.decode() for data in written), "token-of-today", "token of the CI job"]
        assert not [text for text in secret if text in done.stdout + done.stderr]
        subject.write_text("token of yesterday")
        refused = keyform("doctor")
        assert refused.returncode == 1
        assert "expired or revoked" in refused.stdout + refused.stderr
