"""The local backend's files, its errors, and what a killed or hung process leaves."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyform.conformance.state_backend import record
from keyform.errors import Conflict, Locked, StateError
from keyform.ports import LockRecord
from keyform.states.local import LocalBackend, open_backend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".keyform" / "state.json"


@pytest.fixture
def backend(path: Path) -> LocalBackend:
    return LocalBackend(path)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StateError) as raised:
        act()
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    return f"{diagnostic.summary}\n{diagnostic.detail}"


def test_the_default_path_and_a_given_one(tmp_path: Path) -> None:
    assert open_backend({}, tmp_path).describe() == str(tmp_path / ".keyform/state.json")
    assert open_backend({"path": "x.json"}, tmp_path).describe() == str(tmp_path / "x.json")
    assert open_backend({"path": "/var/x.json"}, tmp_path).describe() == "/var/x.json"


def test_reading_creates_nothing(backend: LocalBackend, tmp_path: Path) -> None:
    assert backend.read() is None
    assert backend.journal.read() == b""
    assert backend.holder() is None
    refusal(lambda: backend.unlock("nothing"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_everything_is_private_whatever_the_umask(backend: LocalBackend, path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        backend.lock(record())
        backend.journal.append(b"line\n")
        version = backend.write(b"one", None)
        backend.unlock("lock-1")
        backend.lock(record())
        backend.write(b"two", version)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    names = ["", ".backup", ".journal", ".lock", ".lock.info"]
    assert modes == {f"state.json{name}": 0o600 for name in names}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_the_backup_is_the_state_before_the_run(backend: LocalBackend, path: Path) -> None:
    backup = path.with_name("state.json.backup")
    backend.lock(record())
    version = backend.write(b"one", None)
    version = backend.write(b"two", version)
    assert not backup.exists(), "there was no state before this run"
    backend.unlock("lock-1")
    backend.lock(record())
    version = backend.write(b"three", version)
    backend.write(b"four", version)
    assert backup.read_bytes() == b"two"


def test_a_linked_state_is_refused(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text("precious")
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    backend = LocalBackend(path)
    for act in (backend.read, lambda: backend.write(b"x", None), lambda: backend.lock(record())):
        assert str(real) in refusal(act)
    assert real.read_text() == "precious"


def test_what_stands_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    below_a_file = LocalBackend(tmp_path / "file" / "state.json")
    (tmp_path / "folder.json").mkdir()
    a_folder = LocalBackend(tmp_path / "folder.json")
    for act in (
        lambda: below_a_file.lock(record()),
        lambda: below_a_file.write(b"x", None),
        lambda: below_a_file.journal.append(b"x\n"),
        below_a_file.read,
        a_folder.read,
        lambda: a_folder.write(b"x", None),
    ):
        assert str(tmp_path) in refusal(act)


def test_a_hand_edited_lock_record_still_locks_and_can_be_broken(backend: LocalBackend, path: Path) -> None:
    backend.lock(record())
    path.with_name("state.json.lock.info").write_text("{")
    other = LocalBackend(path)
    assert "unlock unreadable" in refusal(lambda: other.lock(record("other")))
    other.unlock("unreadable")
    other.lock(record("other"))


def test_the_message_says_for_how_long(backend: LocalBackend, path: Path) -> None:
    since = datetime.now(UTC) - timedelta(hours=2, minutes=3)
    backend.lock(LockRecord("id-1", "alice", "build-7", 4711, "apply", since))
    message = refusal(lambda: LocalBackend(path).lock(record("other")))
    assert "alice on build-7 (process 4711) for apply" in message
    assert "(2:03:0" in message


def test_without_a_lock_one_writes_only_while_nobody_holds_it(backend: LocalBackend, path: Path) -> None:
    version = backend.write(b"one", None)
    LocalBackend(path).lock(holding := record("other"))
    for act in (lambda: backend.write(b"two", version), backend.journal.clear):
        with pytest.raises(Locked, match=holding.who):
            act()


def test_the_journal_is_closed_to_the_holder_of_a_broken_lock(backend: LocalBackend, path: Path) -> None:
    backend.lock(record("first"))
    backend.journal.append(b"intent\n")
    other = LocalBackend(path)
    other.unlock("first")
    other.lock(record("second"))
    for act in (lambda: backend.journal.append(b"late receipt\n"), backend.journal.clear):
        with pytest.raises(Conflict):
            act()
    assert other.journal.read() == b"intent\n"


def test_a_torn_last_line_is_left_out_and_not_joined(backend: LocalBackend, path: Path) -> None:
    backend.lock(record())
    backend.journal.append(b"one\n")
    with path.with_name("state.json.journal").open("ab") as journal:
        journal.write(b'{"torn')
    assert backend.journal.read() == b"one\n"
    backend.journal.append(b"two\n")
    assert backend.journal.read() == b"one\ntwo\n"


def test_incomplete_lines_are_refused(backend: LocalBackend) -> None:
    for lines in (b"", b"no end", b"one\nno end"):
        with pytest.raises(ValueError, match="complete lines"):
            backend.journal.append(lines)
    assert backend.journal.read() == b""


def test_threads_share_flushes(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.lock(record())
    flushes = 0
    flushing, go_on = threading.Event(), threading.Event()
    flush = os.fsync

    def slow(fd: int) -> None:
        nonlocal flushes
        flushes += 1
        flushing.set()
        go_on.wait(10)
        flush(fd)

    monkeypatch.setattr(os, "fsync", slow)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(backend.journal.append, b"first\n")
        assert flushing.wait(10)
        arrived = [threads.submit(backend.journal.append, b"line %d\n" % n) for n in range(8)]
        while len(backend.journal._batch.lines) < 8:  # until all eight wait for the flush in the way
            pass
        go_on.set()
        for done in (first, *arrived):
            done.result()
    assert flushes == 3, "the new file's folder, the first line, and the eight together"
    assert len(backend.journal.read().splitlines()) == 9


def test_a_failed_append_is_told_to_all_and_leaves_no_half_line(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.lock(record())
    backend.journal.append(b"whole\n")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = refusal(lambda: backend.journal.append(b"lost\n"))
    assert "No space left on device" in message
    assert "Free some space" in message
    assert backend.journal.read() == b"whole\n"
    backend.journal.append(b"after\n")
    assert backend.journal.read() == b"whole\nafter\n"


FULL = """
import sys
from pathlib import Path
from keyform.conformance.state_backend import record
from keyform.errors import StateError
from keyform.states.local import LocalBackend
backend = LocalBackend(Path(sys.argv[1]))
backend.lock(record("full"))
backend.journal.append(b"whole\\n")
version = backend.write(b"old", None)
if sys.argv[2:]:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
large = b"x" * 500_000
for act in (lambda: backend.write(large, version), lambda: backend.journal.append(large + b"\\n")):
    try:
        act()
    except StateError as refused:
        print(refused.diagnostics[0].summary, refused.diagnostics[0].detail)
assert backend.read().data == b"old"
assert backend.journal.read() == b"whole\\n"
assert not [p for p in Path(sys.argv[1]).parent.iterdir() if p.name.endswith(".tmp")]
backend.journal.append(b"still works\\n")
backend.unlock("full")
"""


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    # A file system of 64 KiB, in a mount namespace of the child's own; where the system gives none to
    # this user, a limit on file sizes fails writes in the same place.
    mount = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$0" -c "$1" {tmp_path}/state.json'
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    can = subprocess.run([*namespace, f"mount -t tmpfs none {tmp_path}"], capture_output=True, check=False)
    command = (
        [*namespace, mount, sys.executable, FULL]
        if can.returncode == 0
        else [sys.executable, "-c", FULL, str(tmp_path / "state.json"), "limit"]
    )
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    state, journal = child.stdout.splitlines()
    for line in (state, journal):
        assert str(tmp_path / "state.json") in line
        assert ("No space left" in line and "Free some space" in line) or "File too large" in line


WRITER = """
import sys
from pathlib import Path
from keyform.conformance.state_backend import record
from keyform.states.local import LocalBackend
backend = LocalBackend(Path(sys.argv[1]))
backend.lock(record("victim"))
snapshot = backend.read()
version = snapshot.version if snapshot else None
print("ready", flush=True)
for number in range(10**9):
    digit = b"%d" % (number % 10)
    backend.journal.append(digit * (1 + number % 10 * 300) + b"\\n")
    version = backend.write(digit * (1 + number % 10 * 3000), version)
    if number % 50 == 49:
        backend.journal.clear()
"""


def test_kill_at_any_moment_leaves_whole_state_and_lines(path: Path) -> None:
    for round_number in range(8):
        child = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        reader = LocalBackend(path)
        for _ in range(50 * round_number):  # the moment of the kill is as random as the disk
            reader.read()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        dead = reader.lock(record("next"))
        assert dead is not None
        assert dead.id == "victim"
        snapshot = reader.read()
        if snapshot is not None:
            assert snapshot.data == snapshot.data[:1] * (1 + int(snapshot.data[:1]) * 3000)
        for line in reader.journal.read().splitlines():
            assert line == line[:1] * (1 + int(line[:1]) * 300)
        reader.unlock("next")
        assert not [p.name for p in path.parent.iterdir() if p.name.endswith(".tmp")], "locking sweeps"


def test_a_forked_child_does_not_hold_the_lock(backend: LocalBackend) -> None:
    backend.lock(record("parent"))
    version = backend.write(b"parent", None)
    parent = backend.holder()
    child = os.fork()
    if child == 0:  # every way out of the child is os._exit
        code = 1
        try:
            for act in (lambda: backend.lock(record("child")), lambda: backend.write(b"child", version)):
                try:
                    act()
                except Locked:
                    code += 1
            code = 0 if code == 3 and backend.holder() == parent else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    holder = LocalBackend(Path(backend.describe())).holder()
    assert holder == parent, "the child's end leaves the parent's lock in force"
    backend.write(b"parent again", version)


def test_a_stopped_holder_cannot_write_after_its_lock_was_broken(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    breaker = LocalBackend(path)
    while True:  # stop it outside of a write, which takes no more than a few attempts
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        if _mutex_is_free(path):
            break
        child.send_signal(signal.SIGCONT)
    breaker.unlock("victim")
    assert breaker.lock(record("next")) is None
    before = breaker.read()
    version = breaker.write(b"the next holder's", before.version if before else None)
    child.send_signal(signal.SIGCONT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "Conflict" in errors
    assert "was broken" in errors
    after = breaker.read()
    assert after is not None
    assert (after.data, after.version) == (b"the next holder's", version)


def _mutex_is_free(path: Path) -> bool:
    import fcntl

    with path.with_name("state.json.lock").open() as mutex:
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
