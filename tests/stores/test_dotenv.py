"""The .env store: what shells and python-dotenv read back, and what stays as it was."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyform.conformance.store import StoreConformance
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.stores.dotenv import DotenvStore, open_store
from keyform.stores.dotenv_text import Unwritable, quoted_value, value_of, with_value
from tests.stores.whole_run import check_whole_run

AWKWARD = (
    "", " ", "plain", "a b", "#no comment", "a #b", "it's", 'say "hi"', "it's \"both\"", "$HOME", "`id`",
    "\\", "a\\", "\\n", "\\\\", "a\\'b", "tab\there", "two\nlines\n", "-x", "~", "~/x", "=", "a=b", "ü 🔑",
    "!!", "&;|<>()", "*?[a]", "export X", "%s", "'", "''", '"', "a'\\\\\"b", "\x0b\x0c\x1b", "\u2028\x85",
)  # fmt: skip


class TestDotenvStore(StoreConformance):
    paths = ("a", "A", "ab", "a_b", "_a", "A1", "export", "b")
    refused = tuple(
        Place("dev", path, field)
        for path, field in (
            ("", None), ("prod/checkout", None), ("9LIVES", None), ("WITH-DASH", None), ("ÜMLAUT", None),
            ("LINE\n", None), ("CHECKOUT", "field"), ("A=B", None), ("A B", None), ("A٣", None),
        )
    )  # fmt: skip

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], DotenvStore]:
        return lambda: store_in(tmp_path)

    def place(self, path: str) -> Place:
        return Place("dev", re.sub(r"[^A-Za-z0-9_]", "_", path))


def store_in(folder: Path, **options: object) -> DotenvStore:
    return open_store("dev", options, folder, os.environ)


def put(folder: Path, name: str, text: str) -> None:
    store_in(folder).put(Place("dev", name), Secret(text), {})


def read_by_shell(shell: str, file: Path) -> dict[str, str]:
    command = [shell, "-c", 'set -a; . "$0"; env -0', str(file)]
    told = subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]}).stdout
    return dict(part.split("=", 1) for part in told.decode().split("\0") if part)


def check_readers(folder: Path, expected: dict[str, str]) -> None:
    file = folder / ".env"
    assert dict(dotenv_values(file)) == expected
    for shell in ("sh", "bash"):
        seen = read_by_shell(shell, file)
        assert {name: seen[name] for name in expected} == expected, shell


def written(texts: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A document with those of the texts that can be written, and these."""
    document, kept = "", {}
    for name, text in texts.items():
        try:
            document = with_value(document, name, text)
        except Unwritable:
            continue
        kept[name] = text
    return document, kept


def test_shells_and_python_dotenv_read_what_was_written(tmp_path: Path) -> None:
    document, kept = written({f"V{number}": text for number, text in enumerate(AWKWARD)})
    (tmp_path / ".env").write_bytes(document.encode())
    check_readers(tmp_path, kept)
    assert {text for text in AWKWARD if text not in kept.values()} <= {"a\\'b", "a'\\\\\"b"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.text(alphabet="ab'\"\\$`{}# \n!=~", max_size=12),
        max_size=12,
    )
)
def test_any_text_reads_alike_or_is_refused(tmp_path: Path, texts: list[str]) -> None:
    document, kept = written({f"V{number}": text for number, text in enumerate(texts)})
    (tmp_path / ".env").write_bytes(document.encode())
    check_readers(tmp_path, kept)


@given(
    st.lists(
        st.sampled_from([
            "A=1\n", "export B = 'x y' # note\n", "# comment\n", "\n", "  C=\"q\\\"\"\r\n", "D\n",
            "A='again\nand more'\n", "A=x#y\n", "A=x # y\n", "'A'=1\n", "A= # none\n", "A=",
        ])
    ),
    st.text(alphabet="ab'\"\\$ \n#", max_size=8),
)  # fmt: skip
def test_other_lines_stay_as_they_are(lines: list[str], text: str) -> None:
    document = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    others = {name: value_of(document, name) for name in ("B", "C", "D", "X")}
    try:
        changed = with_value(document, "A", text)
    except Unwritable:
        return
    assert value_of(changed, "A") == text
    without = with_value(changed, "A", None)
    assert value_of(without, "A") is None
    for seen in (changed, without):
        assert {name: value_of(seen, name) for name in others} == others
        assert seen.count("# comment\n") == document.count("# comment\n")
        assert seen.count("export B = 'x y' # note\n") == document.count("export B = 'x y' # note\n")


def test_a_value_is_changed_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# head\nexport KEY='old' # of the shop\n\nOTHER=1  # one\nKEY2=x")
    put(tmp_path, "KEY", "new value")
    put(tmp_path, "NEW", "sk_1")
    assert (tmp_path / ".env").read_text() == (
        "# head\nexport KEY='new value' # of the shop\n\nOTHER=1  # one\nKEY2=x\nNEW=sk_1\n"
    )
    store_in(tmp_path).delete(Place("dev", "KEY"))
    assert (tmp_path / ".env").read_text() == "# head\n\nOTHER=1  # one\nKEY2=x\nNEW=sk_1\n"


def test_a_value_that_stands_there_twice_leaves_no_old_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=one\nA=1\nKEY=two\n")
    put(tmp_path, "KEY", "three")
    assert (tmp_path / ".env").read_text() == "A=1\nKEY=three\n"


def test_the_file_is_private_whatever_it_was(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / ".env").chmod(0o644)
    assert "other users may read it" in store_in(tmp_path).access()
    put(tmp_path, "KEY", "value")
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert "other users" not in store_in(tmp_path).access()


def test_nothing_is_left_where_nothing_was(tmp_path: Path) -> None:
    store = store_in(tmp_path, file="deep/.env.local")
    store.probe()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_of_git_is_refused(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)

    git("init", "-q")
    assert "add it to .gitignore" in store_in(tmp_path).access()
    (tmp_path / ".env").write_text("A=1\n")
    git("add", ".env")
    for act in (store_in(tmp_path).access, store_in(tmp_path).probe, lambda: put(tmp_path, "KEY", "value")):
        with pytest.raises(StoreError, match="next commit") as refused:
            act()
        assert "git rm --cached" in refused.value.diagnostics[0].detail
    assert (tmp_path / ".env").read_text() == "A=1\n"
    store_in(tmp_path, tracked=True).put(Place("dev", "KEY"), Secret("value"), {})
    git("rm", "-q", "-f", "--cached", ".env")
    (tmp_path / ".gitignore").write_text(".env\n")
    assert "git" not in store_in(tmp_path).access().replace(str(tmp_path), "")


@pytest.mark.parametrize("text", ["${HOME}", "two\rlines", "it's $5", "nul\0", "\udcff"])
def test_what_cannot_be_written_is_refused_unseen(tmp_path: Path, text: str) -> None:
    put(tmp_path, "KEY", "old")
    with pytest.raises(StoreError) as refused:
        put(tmp_path, "KEY", f"canary-{text}")
    assert "canary" not in f"{refused.value.diagnostics}"
    assert refused.value.__context__ is None
    assert (tmp_path / ".env").read_text() == "KEY=old\n"


def test_files_that_are_no_env_files_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    for content, why in ((b"A=1\nB='open\n", "line 2"), (b"\xff\xfe", "UTF-8")):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=why):
            put(tmp_path, "KEY", "value")
        assert file.read_bytes() == content
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError) as refused:
        put(tmp_path, "KEY", "value")
    assert "symbolic link" in refused.value.diagnostics[0].detail
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError):
        store_in(tmp_path).get(Place("dev", "KEY"))


@pytest.mark.parametrize(("text", "shown"), [("sk_live_1+/=", "sk_live_1+/="), ("", ""), ("a b", "'a b'")])
def test_plain_values_have_no_quotes(text: str, shown: str) -> None:
    assert quoted_value(text) == shown


def test_keys_arrive_and_go(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def read(name: str) -> str | None:
        return dotenv_values(tmp_path / ".env").get(name)

    check_whole_run(tmp_path, "{type: dotenv}", "ONE", "TWO", read, capfd)
    assert not (tmp_path / ".env").exists()


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    put(tmp_path, "KEY", "old")
    before = (tmp_path / ".env").read_bytes()
    code = f"""
import os, resource, signal
from pathlib import Path
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.stores.dotenv import open_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    store = open_store("dev", {{}}, Path({str(tmp_path)!r}), os.environ)
    store.put(Place("dev", "KEY"), Secret("x" * 200), {{}})
except StoreError as refused:
    print(refused.diagnostics[0].summary, refused.diagnostics[0].detail)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "dev:KEY" in told
    assert "ulimit -f" in told
    assert "xxx" not in told
    assert (tmp_path / ".env").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_line_that_bars_every_write_is_told_before_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nnot a line = of a 'file\n")
    with pytest.raises(StoreError, match=r"line 2 of .*\.env is not NAME=VALUE") as refused:
        store_in(tmp_path).access()
    assert "Mend that line" in refused.value.diagnostics[0].detail


def test_somebody_elses_value_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=theirs\n")
    for over in (None, Secret("mine")):
        with pytest.raises(Taken, match="somebody else") as taken:
            store_in(tmp_path).put(Place("dev", "KEY"), Secret("new"), {}, over)
        assert "theirs" not in f"{taken.value.diagnostics}"
    assert (tmp_path / ".env").read_text() == "KEY=theirs\n"


def test_a_value_that_ends_in_a_byte_order_mark_is_left_as_it_is() -> None:
    document = "THEIRS=x\ufeff"
    changed = with_value(document, "OURS", "y")
    assert (value_of(changed, "THEIRS"), value_of(changed, "OURS")) == ("x\ufeff", "y")
    assert with_value(changed, "OURS", None).startswith(document)
    assert with_value("\ufeff", "OURS", "y") == "\ufeff" + with_value("", "OURS", "y")


def test_a_full_disk_is_told_before_a_secret_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("dev", {}, tmp_path, os.environ)
    assert "can be written" in store.access()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: (1, 1, 0))
    with pytest.raises(StoreError) as told:
        store.access()
    assert "The disk is full" in told.value.diagnostics[0].detail
