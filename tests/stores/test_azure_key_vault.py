"""What Azure Key Vault asks of its store: names, deleted names, tags of others, and bad days."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyform.errors import ConfigError, StoreError, Taken
from keyform.model import Place, Secret
from keyform.stores.azure_key_vault import AzureKeyVaultStore, open_store
from tests.stores.standins.azure import Vault, key_vault, managed_identity, refuse
from tests.stores.standins.certificates import certificate
from tests.stores.whole_run import check_whole_run
from tests.world import World

PLACE = Place("azure", "prod/checkout")
NAME = "prod--checkout"
LABELS = {"address": 'keys.reader["us-east"]', "key_id": "key_1", "generation": "1"}
CANARY = "sk_live_canary_5d41402abc4b2a76"


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def identity() -> list[str | None]:
    """The token that the managed identity gives, as its only element."""
    return ["token-of-today"]


@pytest.fixture
def url(
    vault: Vault, identity: list[str | None], tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> Iterator[str]:
    key_file, certificate_file = certificate(tmp_path_factory.mktemp("tls"))
    with key_vault(vault, key_file, certificate_file) as url, managed_identity(lambda: identity[0]) as env:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate_file))
        monkeypatch.setenv("XDG_CACHE_HOME", str(certificate_file.parent))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield url


@pytest.fixture
def store(url: str) -> AzureKeyVaultStore:
    return opened(url)


def opened(url: str, **options: Any) -> AzureKeyVaultStore:
    return open_store("azure", {"vault_url": url, **options}, Path(), os.environ)


def first(times: int, start: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A hook that does ``act`` at the first ``times`` calls that begin with ``start``."""
    left = [times]

    def hook(call: str) -> None:
        if call.startswith(start) and left[0]:
            left[0] -= 1
            act()

    return hook


def told(raised: pytest.ExceptionInfo[StoreError]) -> str:
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    return f"{diagnostic.summary}\n{diagnostic.detail}"


def test_a_path_is_one_name_and_the_labels_are_tags(store: AzureKeyVaultStore, vault: Vault) -> None:
    version = store.put(PLACE, Secret("value"), LABELS)
    assert vault.readable() == {NAME: "value"}
    assert vault.kept[NAME].versions[0]["tags"]["keyform-label-address"] == LABELS["address"]
    held = store.look(PLACE)
    assert held is not None
    assert (held.version, dict(held.labels)) == (version, LABELS)


def test_tags_and_type_that_others_gave_stay(store: AzureKeyVaultStore, vault: Vault) -> None:
    tags = {f"team-{number}": "payments" for number in range(13)}
    vault.set({"value": "old", "tags": tags, "contentType": "text/plain"}, NAME)
    store.put(PLACE, Secret("new"), {**LABELS, "address": "x" * 300}, Secret("old"))
    newest = vault.kept[NAME].versions[-1]
    assert newest["contentType"] == "text/plain"
    assert tags.items() <= newest["tags"].items()
    assert len(newest["tags"]) == 15, "labels for which there is no room are left out"


@pytest.mark.parametrize("settling", [0, 2])
def test_a_deleted_name_is_taken_back_without_its_value(
    store: AzureKeyVaultStore, vault: Vault, settling: int
) -> None:
    vault.settling = settling
    store.put(PLACE, Secret("revoked"), LABELS)
    store.delete(PLACE)
    assert vault.kept[NAME].deleted
    readable = []
    vault.fault = lambda call: readable.append(vault.readable().get(NAME))
    store.put(PLACE, Secret("new"), LABELS, None)
    assert set(readable) == {None}, "the old value never came back"
    assert vault.readable() == {NAME: "new"}


def test_one_that_died_between_recovering_and_writing_leaves_nothing(
    store: AzureKeyVaultStore, vault: Vault
) -> None:
    store.put(PLACE, Secret("revoked"), LABELS)
    store.delete(PLACE)
    vault.recover({}, NAME)
    assert store.get(PLACE) is None
    assert store.look(PLACE) is None
    store.put(PLACE, Secret("new"), LABELS, None)
    assert store.get(PLACE) == Secret("new")
    store.delete(PLACE)
    vault.recover({}, NAME)
    store.delete(PLACE)
    assert vault.kept[NAME].deleted


def test_who_may_not_recover_is_told_what_to_do(store: AzureKeyVaultStore, vault: Vault) -> None:
    vault.set({"value": "old"}, NAME)
    vault.delete({}, NAME)
    vault.denied = frozenset({"recover"})
    with pytest.raises(StoreError, match="recover the deleted secret") as refused:
        store.put(PLACE, Secret(CANARY), LABELS, None)
    assert f"az keyvault secret purge --id {vault.url}/deletedsecrets/{NAME}" in told(refused)
    assert "Key Vault Secrets Officer" in told(refused)
    assert vault.kept[NAME].deleted


def test_what_is_deleted_is_purged_where_that_is_asked_for(url: str, vault: Vault) -> None:
    vault.settling = 1
    store = opened(url, purge=True)
    store.put(PLACE, Secret("value"), LABELS)
    store.delete(PLACE)
    store.delete(PLACE)
    assert vault.kept == {}
    store.put(PLACE, Secret("value"), LABELS, None)
    vault.denied = frozenset({"purge"})
    with pytest.raises(StoreError, match="could not purge") as refused:
        store.delete(PLACE)
    assert told(refused)


def test_a_probe_leaves_at_most_one_deleted_canary(store: AzureKeyVaultStore, vault: Vault) -> None:
    store.probe()
    assert vault.kept == {}
    vault.denied = frozenset({"purge"})
    store.probe()
    store.probe()
    assert list(vault.kept) == ["keyform-canary"]
    assert vault.kept["keyform-canary"].deleted


def test_a_disabled_secret_is_not_taken_for_none(store: AzureKeyVaultStore, vault: Vault) -> None:
    old = store.put(PLACE, Secret("old"), LABELS)
    store.put(PLACE, Secret("value"), LABELS)
    vault.update({"attributes": {"enabled": False}}, NAME)
    for act in (store.get, store.look, lambda place: store.put(place, Secret("new"), LABELS, None)):
        with pytest.raises(StoreError, match="disabled") as refused:
            act(PLACE)
        assert told(refused)
    assert store.get(PLACE, old) == Secret("old"), "the last value stays readable"


def test_what_others_wrote_is_left_alone(store: AzureKeyVaultStore, vault: Vault) -> None:
    vault.set({"value": "theirs"}, NAME)
    for over in (None, Secret("mine")):
        with pytest.raises(Taken):
            store.put(PLACE, Secret(CANARY), LABELS, over)
    assert vault.readable() == {NAME: "theirs"}


@pytest.mark.parametrize("call", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_vault_that_is_busy_for_a_moment_is_waited_for(
    store: AzureKeyVaultStore, vault: Vault, call: str, status: int
) -> None:
    vault.fault = first(1, call, lambda: refuse(status, "Busy"))
    store.put(PLACE, Secret("value"), LABELS)
    assert store.get(PLACE) == Secret("value")
    store.delete(PLACE)
    assert store.get(PLACE) is None


def test_a_token_that_ends_in_the_middle_is_had_anew(
    store: AzureKeyVaultStore, vault: Vault, identity: list[str | None]
) -> None:
    store.put(PLACE, Secret("one"), LABELS)
    identity[0] = "token-of-tomorrow"
    vault.tokens = {"token-of-tomorrow"}
    with pytest.raises(StoreError) as refused:  # the identity gives the token that it holds until it ends
        store.put(PLACE, Secret(CANARY), LABELS)
    assert "expired or revoked" in told(refused)
    assert CANARY not in told(refused)
    store.close()
    store.put(PLACE, Secret("two"), LABELS)
    assert store.get(PLACE) == Secret("two")


def test_without_a_credential_it_says_how_to_get_one(
    store: AzureKeyVaultStore, identity: list[str | None]
) -> None:
    identity[0] = None
    with pytest.raises(StoreError) as refused:
        store.access()
    assert "az login" in told(refused)


def test_a_firewall_is_told_from_a_missing_role(store: AzureKeyVaultStore, vault: Vault) -> None:
    vault.fault = lambda call: refuse(403, "Forbidden", "ForbiddenByFirewall", "Client address not allowed.")
    with pytest.raises(StoreError) as refused:
        store.access()
    assert "firewall of the vault" in told(refused)


def test_a_reader_is_told_at_the_probe_and_nothing_is_left(store: AzureKeyVaultStore, vault: Vault) -> None:
    vault.denied = frozenset({"set", "update", "delete"})
    with pytest.raises(StoreError, match="could not write") as refused:
        store.probe()
    assert "Key Vault Secrets Officer" in told(refused)
    assert not any(kept.versions for kept in vault.kept.values())
    vault.calls.clear()
    with pytest.raises(StoreError):
        store.access()
    assert not [call for call in vault.calls if call.startswith("PUT")]


@pytest.mark.parametrize("url", ["http://shop.vault.azure.net", "shop.vault.azure.net", "https://a@b.net"])
def test_what_is_no_vaults_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(StoreError, match="vault_url") as refused:
        opened(url)
    assert told(refused)


def test_a_misspelt_option_is_told_with_a_suggestion(tmp_path: Path) -> None:
    stores = "stores: {a: {type: azure-key-vault, vault_ulr: x}}\n"
    with pytest.raises(ConfigError) as refused:
        World(tmp_path).write("version: 1\nservices: {s: {type: embedded}}\n" + stores).open()
    assert "Did you mean `vault_url`" in " ".join(d.detail for d in refused.value.diagnostics)


def test_no_logger_of_the_sdk_tells_a_secret(
    store: AzureKeyVaultStore, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, name)
    with caplog.at_level(logging.DEBUG):
        store.put(PLACE, Secret(CANARY), LABELS)
        assert store.get(PLACE) == Secret(CANARY)
        store.delete(PLACE)
        vault.fault = lambda call: refuse(400, "BadParameter")
        with pytest.raises(StoreError):
            store.put(PLACE, Secret(CANARY), LABELS)
    said = " ".join(f"{record.__dict__} {record.getMessage()}" for record in caplog.records)
    assert "azure" in said, "the SDK logs"
    assert CANARY not in said
    assert "token-of-today" not in said


def test_from_the_yaml_to_nothing_left(
    url: str, vault: Vault, store: AzureKeyVaultStore, tmp_path: Path, capfd: Any
) -> None:
    def read(path: str) -> str | None:
        value = store.get(Place("azure", path))
        return value.reveal() if value else None

    declared = f'{{type: azure-key-vault, vault_url: "{url}"}}'
    check_whole_run(tmp_path, declared, "prod/one", "prod/two", read, capfd, remembers=True)
    assert vault.readable() == {}
    assert all(kept.deleted for kept in vault.kept.values())
