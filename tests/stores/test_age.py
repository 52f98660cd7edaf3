"""The age store's files, its errors, and what a killed writer leaves."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.age import AgeStore, open_store

TEXT = "sk_live_canary_5d41402abc4b2a76"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".keyform" / "secrets"


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keyform" / "age-identity.txt"


@pytest.fixture
def store(folder: Path, identity: Path) -> AgeStore:
    return AgeStore("local", folder, identity=identity)


def at(path: str) -> Place:
    return Place("local", path)


def refusal(act: Callable[[], object]) -> str:
    """The whole message of the StoreError that ``act`` must raise; it never shows the secret."""
    with pytest.raises(StoreError) as raised:
        act()
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    message = f"{diagnostic.summary}\n{diagnostic.detail}"
    assert TEXT not in message
    return message


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


# Files


def test_one_file_per_secret_named_by_its_path(store: AgeStore, folder: Path) -> None:
    for path in ("checkout", "checkout/next", "Ünïcode name/ключ 🔑", "a,b+c!", "x" * 251):
        store.check(at(path))
        store.put(at(path), Secret(TEXT), {"address": "keys.checkout"})
        file = folder / f"{path}.age"
        assert file.read_bytes().startswith(b"age-encryption.org/v1\n")
        assert TEXT.encode() not in file.read_bytes()
        assert store.get(at(path)) == Secret(TEXT)
    assert len(files_below(folder)) == 5


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_files_and_folders_are_private_whatever_the_umask(
    store: AgeStore, tmp_path: Path, identity: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        store.put(at("prod/eu/checkout"), Secret(TEXT), {})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    assert modes == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_dir()} == {0o700}
    assert identity.is_file()


def test_deleting_takes_empty_folders_away_and_stops_at_the_root(store: AgeStore, folder: Path) -> None:
    store.put(at("prod/eu/one"), Secret(TEXT), {})
    store.put(at("prod/two"), Secret(TEXT), {})
    store.delete(at("prod/eu/one"))
    assert [p.name for p in folder.rglob("*")] == ["prod", "two.age"]
    store.delete(at("prod/two"))
    assert list(folder.rglob("*")) == []
    assert folder.is_dir()


def test_reading_creates_nothing(store: AgeStore, tmp_path: Path) -> None:
    assert store.get(at("prod/checkout")) is None
    store.delete(at("prod/checkout"))
    assert list(tmp_path.iterdir()) == []


def test_probing_leaves_nothing_in_the_folder(store: AgeStore, folder: Path) -> None:
    store.probe()
    assert list(folder.iterdir()) == []


# Links and what stands in the way


def test_a_linked_folder_is_not_followed(store: AgeStore, folder: Path, tmp_path: Path) -> None:
    store.put(at("inside"), Secret("other"), {})
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(folder / "inside.age", outside / "file.age")
    (folder / "link").symlink_to(outside)
    for act in (
        lambda: store.put(at("link/file"), Secret(TEXT), {}),
        lambda: store.get(at("link/file")),
        lambda: store.delete(at("link/file")),
        lambda: store.put(at("link/deeper/file"), Secret(TEXT), {}),
    ):
        message = refusal(act)
        assert "local:link/" in message
        assert "symbolic link" in message
    assert files_below(outside) == ["file.age"]


def test_a_linked_file_is_not_followed(store: AgeStore, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    store.put(at("inside"), Secret("other"), {})
    (folder / "link.age").symlink_to(target)
    for act in (
        lambda: store.put(at("link"), Secret(TEXT), {}),
        lambda: store.get(at("link")),
        lambda: store.delete(at("link")),
    ):
        assert "link" in refusal(act)
    assert target.read_text() == "precious"
    assert (folder / "link.age").is_symlink()


def test_a_file_where_a_folder_is_needed(store: AgeStore, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "prod").write_text("in the way")
    message = refusal(lambda: store.put(at("prod/checkout"), Secret(TEXT), {}))
    assert "local:prod/checkout" in message
    assert "A file stands where a folder is needed" in message


def test_a_file_where_the_store_should_be(store: AgeStore, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    assert str(folder) in refusal(store.probe)


def test_a_folder_where_the_secret_should_be(store: AgeStore, folder: Path) -> None:
    store.probe()
    (folder / "checkout.age").mkdir()
    refusal(lambda: store.put(at("checkout"), Secret(TEXT), {}))
    assert "not a regular file" in refusal(lambda: store.get(at("checkout")))


@pytest.mark.parametrize(
    "content", [b"", b"not an age file", b"\0" * 2_000_000], ids=["empty", "text", "huge"]
)
def test_what_is_not_an_age_file_is_told_so(store: AgeStore, folder: Path, content: bytes) -> None:
    store.probe()
    (folder / "foreign.age").write_bytes(content)
    assert "is not an age file" in refusal(lambda: store.get(at("foreign")))


def test_a_damaged_age_file_is_told_so(store: AgeStore, folder: Path) -> None:
    store.put(at("damaged"), Secret(TEXT), {})
    file = folder / "damaged.age"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "damaged" in refusal(lambda: store.get(at("damaged")))


def test_a_secret_that_is_not_unicode_is_refused_unseen(store: AgeStore) -> None:
    with pytest.raises(StoreError) as raised:
        store.put(at("odd"), Secret(TEXT + "\udcff"), {})
    assert TEXT not in repr(raised.value)
    assert raised.value.__context__ is None, "the encoding error carries the text"


# Disks and permissions


def run_child(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]


PUT = """
import sys
from pathlib import Path
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.age import AgeStore
store = AgeStore("local", Path({folder!r}), identity=Path({identity!r}))
try:
    store.put(Place("local", "prod/checkout"), Secret({text!r}), {{}})
except StoreError as refused:
    print(refused.diagnostics[0].summary, refused.diagnostics[0].detail, sep="\\n")
    sys.exit(1)
"""


def test_a_full_disk_keeps_the_old_value_and_leaves_no_rest(
    store: AgeStore, folder: Path, identity: Path
) -> None:
    store.put(at("prod/checkout"), Secret("old"), {})
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    code = PUT.format(folder=str(folder), identity=str(identity), text=TEXT)
    child = run_child(limit + code)
    assert child.returncode == 1, child.stderr
    assert "local:prod/checkout" in child.stdout
    assert "File too large" in child.stdout
    assert "ulimit -f" in child.stdout
    assert TEXT not in child.stdout + child.stderr
    assert store.get(at("prod/checkout")) == Secret("old")
    assert files_below(folder) == ["prod/checkout.age"]


def test_a_folder_one_may_not_write_to_is_told_so() -> None:
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        locked = Path(outer) / "locked"
        locked.mkdir(mode=0o500)
        code = PUT.format(folder=str(locked / "secrets"), identity=f"{outer}/nowhere/id.txt", text=TEXT)
        # Modes do not stop root, so root becomes nobody, who has no right to the folder at all.
        become = "import os, keyform.stores.age\nif os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        child = run_child(become + code)
    assert child.returncode == 1, child.stderr
    assert "Permission denied" in child.stdout
    assert "permissions" in child.stdout
    assert TEXT not in child.stdout + child.stderr


# Crashes and races

KILLED = """
import itertools
from pathlib import Path
from keyform.model import Place, Secret
from keyform.stores.age import AgeStore
store = AgeStore("local", Path({folder!r}), identity=Path({identity!r}))
print("ready", flush=True)
for number in itertools.count():
    store.put(Place("local", "prod/checkout"), Secret(str(number % 10) * (10 + number % 10 * 500)), {{}})
    store.put(Place("local", f"passing/{{number % 3}}"), Secret("x"), {{}})
    store.delete(Place("local", f"passing/{{number % 3}}"))
"""


def test_kill_at_any_moment_leaves_a_whole_value(store: AgeStore, folder: Path, identity: Path) -> None:
    store.put(at("prod/checkout"), Secret("0" * 10), {})
    code = KILLED.format(folder=str(folder), identity=str(identity))
    for round_number in range(8):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(3 + 7 * round_number):  # the moment of the kill is as random as the disk
            seen = store.get(at("prod/checkout"))
            assert seen is not None
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = store.get(at("prod/checkout"))
        assert found is not None
        text = found.reveal()
        assert text == text[0] * (10 + int(text[0]) * 500)
    store.probe()
    assert not [name for name in files_below(folder) if name.endswith(".tmp")], "probe sweeps what was left"


def test_a_living_writers_temporary_file_is_not_swept(store: AgeStore) -> None:
    def write(number: int) -> None:
        store.put(at(f"many/{number}"), Secret(f"value {number}"), {})

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(100)]
        for _ in range(20):
            store.probe()
        for done in writing:
            done.result()
    for number in range(100):
        assert store.get(at(f"many/{number}")) == Secret(f"value {number}")


# The age program

age_program = pytest.mark.skipif(shutil.which("age") is None, reason="the program `age` is not on PATH")


@pytest.mark.integration
@age_program
def test_the_age_program_opens_what_the_store_wrote(store: AgeStore, folder: Path, identity: Path) -> None:
    store.put(at("prod/checkout"), Secret(TEXT), {})
    opened = subprocess.run(
        ["age", "--decrypt", "-i", identity, folder / "prod/checkout.age"], capture_output=True, check=True
    )
    assert opened.stdout == TEXT.encode()


@pytest.mark.integration
@age_program
@pytest.mark.parametrize("armor", [(), ("--armor",)], ids=["binary", "armored"])
def test_the_store_opens_what_the_age_program_wrote(
    store: AgeStore, folder: Path, identity: Path, armor: tuple[str, ...]
) -> None:
    store.probe()
    public = subprocess.run(["age-keygen", "-y", identity], capture_output=True, text=True, check=True)
    assert f"# public key: {public.stdout}" in identity.read_text()
    subprocess.run(
        ["age", *armor, "-r", public.stdout.strip(), "-o", folder / "made.age"],
        input=TEXT.encode(),
        check=True,
    )
    assert store.get(at("made")) == Secret(TEXT)


@pytest.mark.integration
@age_program
def test_identities_made_by_age_keygen_are_used(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.txt"
    subprocess.run(["age-keygen", "-o", made], capture_output=True, check=True)
    store = open_store("local", {"identity": "made.txt", "path": str(folder)}, tmp_path, {})
    store.probe()
    store.put(at("prod/checkout"), Secret(TEXT), {})
    assert store.get(at("prod/checkout")) == Secret(TEXT)


# The value before


def test_a_write_over_a_known_value_keeps_that_one_until_it_is_forgotten(tmp_path: Path) -> None:
    store, place = AgeStore("local", tmp_path / "s", identity=tmp_path / "id"), Place("local", "a/b")
    one = store.put(place, Secret("1"), {}, None)
    two = store.put(place, Secret("2"), {}, Secret("1"))
    assert (store.get(place, one), store.get(place, two), store.get(place)) == (
        Secret("1"),
        Secret("2"),
        Secret("2"),
    )
    three = store.put(place, Secret("3"), {}, Secret("2"))
    assert (store.get(place, one), store.get(place, two)) == (None, Secret("2"))
    store.forget(place, one)
    store.forget(place, three)
    assert (store.get(place, two), store.get(place)) == (Secret("2"), Secret("3"))
    store.forget(place, two)
    store.forget(place, two)
    assert (store.get(place, two), store.get(place)) == (None, Secret("3"))


def test_a_write_over_anything_keeps_nothing_and_a_deletion_takes_both(tmp_path: Path) -> None:
    store, place = AgeStore("local", tmp_path / "s", identity=tmp_path / "id"), Place("local", "a/b")
    one = store.put(place, Secret("1"), {})
    store.put(place, Secret("2"), {})
    assert store.get(place, one) is None
    store.put(place, Secret("3"), {}, Secret("2"))
    store.delete(place)
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


def test_a_name_as_long_as_can_be_is_written_without_the_value_before(tmp_path: Path) -> None:
    store, place = AgeStore("local", tmp_path / "s", identity=tmp_path / "id"), Place("local", "x" * 251)
    one = store.put(place, Secret("1"), {}, None)
    store.put(place, Secret("2"), {}, Secret("1"))
    assert (store.get(place, one), store.get(place)) == (None, Secret("2"))
    store.forget(place, one)
    store.delete(place)
    assert store.get(place) is None


def test_a_full_disk_is_told_before_a_secret_is_written(
    store: AgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "can be written" in store.access()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: (1, 1, 0))
    assert "The disk is full" in refusal(store.access)
