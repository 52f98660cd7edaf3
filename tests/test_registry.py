"""Declared stores: no two of them in one place, and no secret where its store cannot keep it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyform.clock import SystemClock
from keyform.config import Config
from keyform.diagnostics import Diagnostic
from keyform.errors import ConfigError
from keyform.registry import load_config

HEAD = "version: 1\nservices: {s: {type: embedded}}\n"


def load(folder: Path, text: str) -> Config:
    (folder / "keyform.yaml").write_text(HEAD + text)
    return load_config(folder, SystemClock(), offline=True)


def refused(folder: Path, text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value.diagnostics


def stores(one: str, two: str) -> str:
    return (
        f"stores:\n  one: {{type: age, path: {one}}}\n  two: {{type: age, path: {two}}}\n"
        "keys: {k: {service: s, secret: {store: one, path: k}}}\n"
    )


@pytest.mark.parametrize(("one", "two"), [("sec", "./sec/"), ("sec", "sec/p"), ("a/b", "a"), ("sec", "link")])
def test_two_stores_in_one_folder_are_refused_with_both_places(tmp_path: Path, one: str, two: str) -> None:
    (tmp_path / "sec").mkdir()
    (tmp_path / "link").symlink_to("sec")
    (found,) = refused(tmp_path, stores(one, two))
    assert (found.code, str(found.location)) == ("same-store", "keyform.yaml:5:3")
    assert "`one` and `two`" in found.summary
    assert "keyform.yaml:4:3" in found.explanation


def test_two_stores_of_one_file_are_refused(tmp_path: Path) -> None:
    declared = "stores: {one: {type: dotenv}, two: {type: dotenv, file: ./.env}}\n"
    two = declared + "keys: {k: {service: s, secret: {store: one, path: K}}}\n"
    (found,) = refused(tmp_path, two)
    assert found.code == "same-store"
    assert ".env" in found.summary


def test_stores_beside_each_other_and_of_unknown_path_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path, stores("sec", "secrets"))
    monkeypatch.delenv("ELSEWHERE", raising=False)
    load(tmp_path, stores('"${env:ELSEWHERE}"', ".keyform/secrets"))


def test_the_store_that_need_not_be_declared_counts_where_it_is_used(tmp_path: Path) -> None:
    declared = "stores: {one: {type: age}}\n"
    load(tmp_path, declared + "keys: {k: {service: s, secret: k}}\n")
    (found,) = refused(tmp_path, declared + "keys: {k: {service: s, secret: {store: local, path: k}}}\n")
    assert (found.code, str(found.location)) == ("same-store", "keyform.yaml:3:10")
    assert "without being declared" in found.detail


@pytest.mark.parametrize(
    "secret",
    [
        "x.age/y",
        "a/" + "b" * 256,
        "{path: x, field: y}",
        "con",
        "a/NUL",
        "aux.txt",
        '"C:x"',
        "a.",
        '"a "',
        "a./b",
        "com1",
    ],
)
def test_a_place_that_the_store_cannot_hold_is_an_error_where_it_is_written(
    tmp_path: Path, secret: str
) -> None:
    (found,) = refused(tmp_path, f"keys:\n  k:\n    service: s\n    secret: {secret}\n")
    column = 5 if secret.startswith("{") else 13
    assert (found.code, str(found.location)) == ("bad-place", f"keyform.yaml:6:{column}")
    assert found.address == "keys.k"
    assert found.detail


def test_each_of_a_for_each_is_asked_for(tmp_path: Path) -> None:
    (found,) = refused(
        tmp_path, 'keys: {k: {service: s, for_each: [a, b.age, c], secret: "${each.key}/x"}}\n'
    )
    assert found.address == 'keys.k["b.age"]'


@pytest.mark.parametrize(
    "store",
    [
        "type: gcp-secret-manager, project:",
        "type: azure-key-vault, vault_url:",
        "type: doppler, config: prd, project:",
        "type: onepassword, endpoint: 'https://connect.example', vault:",
        "type: infisical, environment: prod, project_id:",
        "type: vault, address:",
        "type: github-actions, repository:",
        "type: github-actions, organization:",
        "type: keyring, backend:",
        "type: aws-secrets-manager, role_arn:",
        "type: pass, path:",
    ],
)
def test_a_store_whose_options_need_what_is_not_set_here_can_be_checked(tmp_path: Path, store: str) -> None:
    declared = f'stores: {{one: {{{store} "${{env:KEYFORM_NOT_SET}}"}}}}\n'
    loaded = load(tmp_path, declared + "keys: {k: {service: s, secret: {store: one, path: a/b}}}\n")
    assert not loaded.stores["one"].known


@pytest.mark.parametrize(
    ("declared", "advice"),
    [
        ("{type: exec, put: [a], delete: [b]}", "get: [./secrets, read"),
        ("{type: github-actions}", "repository: acme/web"),
        ("{type: github-actions, repository: web}", "repository: acme/web"),
    ],
)
def test_options_of_a_store_that_do_not_make_one_are_shown_as_they_should_be(
    tmp_path: Path, declared: str, advice: str
) -> None:
    (found,) = refused(tmp_path, f"stores: {{one: {declared}}}\nkeys: {{k: {{service: s, secret: K}}}}\n")
    assert "store `one`" in found.summary
    assert advice in found.detail


VAULT = "{type: vault, address: 'http://127.0.0.1:9', token: '${env:NOT_SET}'}"
CLUSTER = "{type: kubernetes, kubeconfig: none.yaml, namespace: payments, field: token}"
TWO = (
    "stores: {{v: {store}}}\nkeys:\n  a: {{service: s, secret: {one}}}\n  b: {{service: s, secret: {two}}}\n"
)


@pytest.mark.parametrize(
    ("store", "one", "two"),
    [
        (VAULT, "al/y1", "{path: al/y1, field: value}"),
        (VAULT.replace("{", "{field: key, ", 1), "al/y1", "{path: al/y1, field: key}"),
        (CLUSTER, "dup", "{path: payments/dup, field: token}"),
        (CLUSTER, "payments/dup", "dup"),
        (
            "{type: onepassword, endpoint: 'http://127.0.0.1:9', token: '${env:NOT_SET}', vault: v}",
            "dup",
            "{path: dup, field: credential}",
        ),
    ],
)
def test_two_spellings_of_one_place_are_one_place(tmp_path: Path, store: str, one: str, two: str) -> None:
    problems = refused(tmp_path, TWO.format(store=store, one=one, two=two))
    (found,) = (problem for problem in problems if problem.severity == "error")
    assert found.code == "same-place"
    assert "keys.b and keys.a write the same place" in found.summary
    kept = [
        load(tmp_path, TWO.format(store=store, one=text, two="else/where")).desired.keys[0].places
        for text in (one, two)
    ]
    assert kept[0] == kept[1]


def test_fields_of_one_path_are_places_of_their_own(tmp_path: Path) -> None:
    config = load(tmp_path, TWO.format(store=VAULT, one="al/y1", two="{path: al/y1, field: other}"))
    assert [str(key.places[0]) for key in config.desired.keys] == ["v:al/y1#value", "v:al/y1#other"]
