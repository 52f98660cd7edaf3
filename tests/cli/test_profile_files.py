"""Whoever opens a pull request chooses which file is read as a profile: nothing of another file is shown,
and no file can stall or fell keyform."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Keyform

TOKEN = "tok_8fj3k2l9x7q5w1z4"
CONFIG = 'version: 1\nservices: {{acme: {{type: {}, endpoint: "http://localhost:1"}}}}\n'
PROFILE = """\
version: 1
title: Acme
fields: [name]
operations: {create: {backing: contract}, revoke: {backing: contract}}
"""

OTHERS = {
    "env": f"API_TOKEN={TOKEN}\nOTHER={TOKEN}\n",
    "text": f"root:x:0:0:{TOKEN}:/root:/bin/sh\n",
    "a mapping": f"token: {TOKEN}\npassword: {TOKEN}\n",
    "numbers": f"on: {TOKEN}\n{TOKEN}: 010\n",
    "twice": f"{TOKEN}: 1\n{TOKEN}: 2\n",
    "a tag": f"x: !{TOKEN} 1\n",
    "an alias": f"x: *{TOKEN}\n",
    "broken": f"key: [{TOKEN}\n",
    "a control": f"{TOKEN}\x01\n",
    "a list": f"[{TOKEN}]\n",
    "documents": f"a: {TOKEN}\n---\nb: {TOKEN}\n",
    "json": f'{{"version": 1, "title": "{TOKEN}"}}',
    "an indented word": f"a:\n  title: {TOKEN}\n  fields: [\n",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("named", [".env", "secrets.yaml", "linked.yaml", "nested/secrets.json"])
def test_nothing_of_another_file_is_shown(keyform: Keyform, folder: Path, text: str, named: str) -> None:
    file = folder / named
    file.parent.mkdir(exist_ok=True)
    if named == "linked.yaml":
        (folder / "hidden").write_text(text)
        file.symlink_to("hidden")
    else:
        file.write_text(text)
    (folder / "keyform.yaml").write_text(CONFIG.format(f"./{named}"))
    for words in (("validate",), ("plan",), ("services", "check", named), ("services", f"./{named}")):
        told = keyform(*words)
        assert told.code == 1, told
        assert TOKEN not in told.out + told.err
        assert "is not a profile" in told.err or "is no profile file" in told.err, told.err


@pytest.mark.parametrize("named", ["./acme.yaml", "acme.yaml", "././acme.yaml"])
def test_a_profile_beside_the_configuration_is_read_as_one(
    keyform: Keyform, folder: Path, named: str
) -> None:
    text = PROFILE.replace("create: {", "create: {next_steps: {404: Ask Acme.}, ")
    (folder / "acme.yaml").write_text(text)
    (folder / "keyform.yaml").write_text(CONFIG.format(named))
    assert keyform("validate").code == 0


@pytest.mark.parametrize("named", ["/etc/passwd", "/proc/self/environ", "../../../../../../etc/hosts"])
def test_files_of_the_system_are_no_profiles(keyform: Keyform, folder: Path, named: str) -> None:
    (folder / "keyform.yaml").write_text(CONFIG.format(named))
    told = keyform("validate")
    assert told.code == 1
    assert "is no profile file" in told.err
    assert "root" not in told.err


def test_a_configuration_is_no_profile(keyform: Keyform, folder: Path) -> None:
    (folder / "keyform.yaml").write_text(CONFIG.format("./keyform.yaml"))
    told = keyform("validate")
    assert told.code == 1
    assert "./keyform.yaml is not a profile" in told.err


def test_a_credential_in_a_profile_is_masked(keyform: Keyform, folder: Path) -> None:
    (folder / "keyform.yaml").write_text(CONFIG.format("./acme.yaml"))
    for wrong in (
        f"headers: {{X-Api-Key: {TOKEN}, Other: [1]}}",
        f"auth: {{login: {{body: {{client_secret: {TOKEN}}}}}}}",
        f"auth: {{password: {TOKEN}, tilte: 1}}",
        f"auth: {{password: {TOKEN}, titel: [}}",
    ):
        (folder / "acme.yaml").write_text(f"{PROFILE}{wrong}\n")
        told = keyform("validate")
        assert told.code == 1
        assert "acme.yaml:5" in told.err
        assert "****" in told.err
        assert TOKEN not in told.err


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]\n" for n in range(1, 9)
)
FATAL = {
    "aliases": (PROFILE + BOMB, "more than 100,000 values"),
    "aliases in keys": (PROFILE + BOMB + "key: {id: *a8}\n", "more than 100,000 values"),
    "brackets": (PROFILE + "key: " + "[" * 50_000, "nested deeper than 64 levels"),
    "braces": (PROFILE + "key: " + "{a: " * 50_000, "nested deeper than 64 levels"),
    "brackets alone": ("[" * 50_000, "is not a profile"),
    "itself": (PROFILE + "key: &k {id: *k}\n", "inside its own anchor"),
    "size": (PROFILE + "#" * (1 << 20), "at most 1 MiB are read"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("text", "said"), FATAL.values(), ids=FATAL)
def test_no_profile_exhausts_keyform(keyform: Keyform, folder: Path, text: str, said: str) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles" / "acme.yaml").write_text(text)
    (folder / "keyform.yaml").write_text(CONFIG.format("./profiles/acme.yaml"))
    for words in (("validate",), ("services", "check", "profiles/acme.yaml")):
        told = keyform(*words)
        assert told.code == 1
        assert said in told.err


@pytest.mark.timeout(60)
def test_only_regular_files_are_opened(keyform: Keyform, folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    (folder / "zero.yaml").symlink_to("/dev/zero")
    (folder / "folder.yaml").mkdir()
    for named in ("pipe.yaml", "zero.yaml", "folder.yaml"):
        told = keyform("services", "check", named)
        assert told.code == 1
        assert "is not a regular file" in told.err


@pytest.mark.parametrize("named", ["${env:CI_SECRET}", "./${env:CI_SECRET}.yaml"])
def test_a_type_from_the_environment_is_told_by_its_name(
    keyform: Keyform, folder: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_SECRET", f"a/{TOKEN}")
    (folder / "keyform.yaml").write_text(CONFIG.format(f'"{named}"'))
    told = keyform("validate")
    assert told.code == 1
    assert "${env:CI_SECRET}" in told.err
    assert TOKEN not in told.err
