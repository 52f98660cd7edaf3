"""The password store, by the real pass, gpg and git."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import TEXTS
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.pass_store import PassStore, open_store
from tests.servers.gnupg import by_pass, gnupg, password_store
from tests.stores.whole_run import check_whole_run

pytestmark = pytest.mark.integration

CANARY = "sk_live_must-not-appear-anywhere"
KEY = Place("pw", "prod/checkout")


@pytest.fixture(scope="module")
def person() -> Iterator[dict[str, str]]:
    with gnupg() as env:
        yield env


@pytest.fixture
def env(person: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return password_store(tmp_path / "store", person)


def store_of(env: Mapping[str, str], **options: object) -> PassStore:
    return open_store("pw", options, Path("/nowhere"), env)


class TestPassStore(StoreConformance):
    labels = True
    texts = MappingProxyType({name: text for name, text in TEXTS.items() if "\n" not in text})
    refused = tuple(
        Place("pw", path, field)
        for path, field in (
            ("", None), ("a//b", None), ("/a", None), ("../a", None), ("a/.", None), (".git/config", None),
            ("a/.gpg-id", None), ("-a", None), ("a/-b", None), ("a.gpg", None), ("a.gpg/b", None),
            ("a\nb", None), ("a\0b", None), ("x" * 252, None), ("/".join(["folder"] * 600), None),
            ("a", "field"), ("\udcff", None),
        )
    )  # fmt: skip

    @pytest.fixture
    def open_store(self, env: dict[str, str]) -> Callable[[], PassStore]:
        return lambda: store_of(env)

    def bad_days(self) -> Mapping[str, Callable[[], PassStore]]:
        return {
            "unreachable": lambda: store_of({"PATH": "/usr/bin:/bin", "HOME": "/nowhere"}),
        }


class TestWholeEntries(StoreConformance):
    @pytest.fixture
    def open_store(self, env: dict[str, str]) -> Callable[[], PassStore]:
        return lambda: store_of(env, content="whole")


def test_what_keyform_writes_pass_shows_and_the_other_way_round(env: dict[str, str]) -> None:
    by_pass(env, "insert", "-m", KEY.path, stdin="old value\nuser: alice\nurl: https://x.example\n")
    store = store_of(env)
    assert store.get(KEY) == Secret("old value")
    version = store.put(KEY, Secret(CANARY), {"address": "keys.checkout"}, Secret("old value"))
    assert by_pass(env, "show", KEY.path) == (
        f"{CANARY}\nuser: alice\nurl: https://x.example\nkeyform-address: keys.checkout\n"
    )
    held = store.look(KEY)
    assert held is not None
    assert held.version == version
    by_pass(env, "insert", "-m", "-f", KEY.path, stdin="by hand")
    held = store.look(KEY)
    assert held is not None
    assert held.version != version
    assert store.get(KEY, version) is None
    assert store.get(KEY) == Secret("by hand")


def test_a_secret_of_several_lines_needs_the_whole_entry(env: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="has several") as refused:
        store_of(env).put(KEY, Secret(f"{CANARY}\nline"), {})
    assert CANARY not in f"{refused.value.diagnostics}"
    store_of(env, content="whole").put(KEY, Secret("line\nline\n"), {})
    assert by_pass(env, "show", KEY.path) == "line\nline\n"


def test_an_entry_beside_a_folder_of_its_name_is_written_and_deleted(env: dict[str, str]) -> None:
    store, inside = store_of(env), Place("pw", "prod/checkout/eu")
    store.put(inside, Secret("inside"), {})
    assert store.get(KEY) is None, "the folder is no entry"
    store.delete(KEY)
    store.put(KEY, Secret("first"), {})
    store.put(KEY, Secret("second"), {})
    assert (store.get(KEY), store.get(inside)) == (Secret("second"), Secret("inside"))
    store.delete(KEY)
    assert (store.get(KEY), store.get(inside)) == (None, Secret("inside"))


def test_git_keeps_every_change(person: dict[str, str], tmp_path: Path) -> None:
    env = password_store(tmp_path / "store", person, git=True)
    store = store_of(env)
    for text in ("first", "second"):
        store.put(KEY, Secret(text), {})
    store.delete(KEY)
    store.probe()
    assert by_pass(env, "git", "status", "--porcelain") == ""
    log = by_pass(env, "git", "log", "--format=%s")
    assert f"to {KEY.path}." in log
    assert f"Remove {KEY.path} from store." in log
    assert not by_pass(env, "git", "ls-files", "*.gpg").strip()


def test_a_change_that_git_does_not_take_is_told(person: dict[str, str], tmp_path: Path) -> None:
    env = password_store(tmp_path / "store", person, git=True)
    hook = tmp_path / "store" / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o700)
    with pytest.raises(StoreError, match="could not commit") as told:
        store_of(env).probe()
    assert "pass git commit" in told.value.diagnostics[0].detail


def test_keys_arrive_and_go(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GNUPGHOME", env["GNUPGHOME"])

    def read(path: str) -> str | None:
        if not (tmp_path / "store" / f"{path}.gpg").exists():
            return None
        return by_pass(env, "show", path).splitlines()[0]

    check_whole_run(tmp_path, "{type: pass, path: store}", "team/one", "team/two", read, capfd)
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".gpg-id"]


def test_what_killed_writers_left_is_cleared_away(env: dict[str, str], tmp_path: Path) -> None:
    by_pass(env, "insert", "-m", "prod/.keyform-0123456789abcdef", stdin="half done")
    store_of(env).probe()
    assert not list((tmp_path / "store").rglob("*.gpg"))


def test_without_the_private_key_nothing_is_minted_that_could_not_be_read(env: dict[str, str]) -> None:
    store_of(env).put(KEY, Secret("value"), {})
    with gnupg("other@example.invalid") as other:
        public = subprocess.run(["gpg", "--export"], env=env, check=True, capture_output=True).stdout
        subprocess.run(
            ["gpg", "--batch", "--import"], env=other, input=public, check=True, capture_output=True
        )
        trust = subprocess.run(
            ["gpg", "--export-ownertrust"], env=env, check=True, capture_output=True
        ).stdout
        subprocess.run(
            ["gpg", "--import-ownertrust"], env=other, input=trust, check=True, capture_output=True
        )
        store = store_of({**other, "PASSWORD_STORE_DIR": env["PASSWORD_STORE_DIR"]})
        for act in (store.access, store.probe, lambda: store.get(KEY)):
            with pytest.raises(StoreError, match=r"[Nn]o secret key") as told:
                act()
            assert ".gpg-id" in told.value.diagnostics[0].detail
    with gnupg("nobody@example.invalid") as other:
        store = store_of({**other, "PASSWORD_STORE_DIR": env["PASSWORD_STORE_DIR"]})
        for act in (store.access, store.probe, lambda: store.put(Place("pw", "new"), Secret(CANARY), {})):
            with pytest.raises(StoreError) as told:
                act()
            assert CANARY not in f"{told.value.diagnostics}"
    assert not store_of(env).look(Place("pw", "new"))


def test_no_secret_is_in_an_argument_or_a_variable(env: dict[str, str], tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("pass", "gpg"):
        real = shutil.which(name, path=env["PATH"])
        (programs / name).write_text(
            f'#!/bin/sh\n{{ printf "%s\\n" "$0" "$@"; env; }} >> {tmp_path}/seen\nexec {real} "$@"\n'
        )
        (programs / name).chmod(0o700)
    store = store_of({**env, "PATH": f"{programs}:{env['PATH']}", "GITHUB_TOKEN": CANARY})
    store.put(KEY, Secret(CANARY), {"address": "keys.checkout"})
    store.put(KEY, Secret(f"{CANARY}-2"), {}, Secret(CANARY))
    assert store.get(KEY) == Secret(f"{CANARY}-2")
    store.access()
    seen = (tmp_path / "seen").read_text()
    assert "insert" in seen
    assert "--compress-algo=none" in seen
    assert CANARY not in seen


def test_what_writes_has_the_turn_for_as_long_as_it_runs(env: dict[str, str], tmp_path: Path) -> None:
    bin_ = tmp_path / "watched"
    bin_.mkdir()
    (bin_ / "pass").write_text(
        f'#!/bin/sh\necho "$1" $(readlink /proc/$$/fd/*) >> {tmp_path}/seen\n'
        f'exec {shutil.which("pass")} "$@"\n'
    )
    (bin_ / "pass").chmod(0o700)
    store = store_of({**env, "PATH": f"{bin_}:{env['PATH']}"})
    store.put(KEY, Secret("value"), {})
    store.get(KEY)
    store.delete(KEY)
    held = {line.split()[0]: ".lock" in line for line in (tmp_path / "seen").read_text().splitlines()}
    assert held == {"insert": True, "mv": True, "show": False, "rm": True}


def test_a_program_that_is_missing_is_told(env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="pass cannot be run") as told:
        store_of({**env, "PATH": str(tmp_path)}).probe()
    assert "Install" in told.value.diagnostics[0].detail
