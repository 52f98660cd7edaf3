"""A store of commands: what they are given, what is made of what they say, and what they never see."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from keyform.conformance.store import StoreConformance
from keyform.conformance.write_only_store import WriteOnlyConformance
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.exec import ExecStore, open_store
from keyform.stores.turns import turn
from tests.conftest import Figures
from tests.promises.matrix import Matrix, StoreKind
from tests.stores.whole_run import check_whole_run

CANARY = "sk_live_must-not-appear-anywhere"
TOOL = """#!/bin/sh
# Keeps each secret in a file of its own, as a user's program might.
set -eu
file="kept/$2"
case $1 in
  put) mkdir -p "$(dirname "$file")"; cat > "$file.$$"; mv "$file.$$" "$file.secret"
       version="$$-$(date +%N)"
       printf '{"version": "%s", "labels": {"address": "%s"}}' "$version" "${KEYFORM_ADDRESS-}" > "$file.v" ;;
  get) [ -f "$file.secret" ] || exit 44; cat "$file.secret" ;;
  look) [ -f "$file.secret" ] || exit 44; cat "$file.v" ;;
  delete) rm -f "$file.secret" "$file.v" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tool(tmp_path, TOOL)
    return tmp_path


def write_tool(folder: Path, text: str) -> None:
    (folder / "tool").write_text(text)
    (folder / "tool").chmod(0o700)


def options(*verbs: str, path: str = "{path}", **more: Any) -> dict[str, Any]:
    return {verb: ("./tool", verb, path) for verb in verbs} | more


READABLE = options("put", "get", "delete")
WRITE_ONLY = options("put", "look", "delete")


class TestReadable(StoreConformance):
    refused = tuple(
        Place("own", path, field)
        for path, field in (
            ("", None), ("-rf", None), ("a\nb", None), ("a\0b", None), ("a", "field"), ("a\u202eb", None),
        )
    )  # fmt: skip

    @pytest.fixture
    def open_store(self, folder: Path) -> Callable[[], ExecStore]:
        return lambda: open_store("own", READABLE, folder, os.environ)

    @pytest.fixture(autouse=True)
    def here(self, folder: Path) -> None:
        self.folder = folder

    def bad_days(self) -> Mapping[str, Callable[[], ExecStore]]:
        def opened(command: tuple[str, ...], **more: Any) -> Callable[[], ExecStore]:
            every = dict.fromkeys(("put", "get", "delete"), command) | more
            return lambda: open_store("own", every, self.folder, os.environ)

        return {
            "unreachable": opened(("./not-there", "{path}")),
            "refused": opened(("sh", "-c", "echo may not >&2; exit 1")),
            "slow": opened(("sleep", "60"), timeout=0.05),
            "killed": opened(("sh", "-c", "kill -9 $$")),
        }


class TestFields(TestReadable):
    fields = True
    refused = (Place("own", "a"), Place("own", "a", "-x"), Place("own", "a", ""))

    @pytest.fixture
    def open_store(self, folder: Path) -> Callable[[], ExecStore]:
        given = options("put", "get", "delete", path="{path}/{field}")
        return lambda: open_store("own", given, folder, os.environ)

    def place(self, path: str) -> Place:
        return Place("own", path, "value")


class TestWriteOnly(WriteOnlyConformance):
    @pytest.fixture
    def open_store(self, folder: Path) -> Callable[[], ExecStore]:
        self.folder = folder
        return lambda: open_store("own", WRITE_ONLY, folder, os.environ)

    def read(self, place: Place) -> str | None:
        file = self.folder / "kept" / f"{place.path}.secret"
        return file.read_bytes().decode() if file.exists() else None


def store_of(folder: Path, given: Mapping[str, Any], env: Mapping[str, str] = os.environ) -> ExecStore:
    return open_store("own", given, folder, env)


def test_keys_arrive_and_go(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def read(path: str) -> str | None:
        file = folder / "kept" / f"{path}.secret"
        return file.read_text() if file.exists() else None

    commands = ", ".join(f"{verb}: [./tool, {verb}, '{{path}}']" for verb in ("put", "get", "delete", "look"))
    check_whole_run(folder, f"{{type: exec, {commands}}}", "team/one", "team/two", read, capfd)


def test_what_a_command_is_given(folder: Path) -> None:
    write_tool(folder, '#!/bin/sh\nprintf "%s\\0" "$@" > args; env -0 > env; cat > stdin; exit 0\n')
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/h",
        "GITHUB_TOKEN": CANARY,
        "AGENT": "yes",
        "OWN_A": "1",
        "OWN_B": "2",
    }
    given = options("put", "get", "delete", path="{field}+{path}", environment=("AGENT", "OWN_*"))
    place = Place("own", "{field}; $(id)", "f")
    store_of(folder, given, env).put(
        place, Secret(CANARY), {"address": "keys.checkout", "key_id": "key_1", "generation": "2"}
    )
    assert (folder / "stdin").read_text() == CANARY
    assert (folder / "args").read_bytes().split(b"\0") == [b"put", b"f+{field}; $(id)", b""]
    seen = dict(part.split("=", 1) for part in (folder / "env").read_text().split("\0") if part)
    assert CANARY not in f"{seen}"
    for usual in ("PWD", "SHLVL", "_", "OLDPWD"):  # the shell's own
        seen.pop(usual, None)
    assert seen == {
        "PATH": env["PATH"], "HOME": "/h", "AGENT": "yes", "OWN_A": "1", "OWN_B": "2",
        "KEYFORM_OPERATION": "put", "KEYFORM_STORE": "own",
        "KEYFORM_PATH": "{field}; $(id)", "KEYFORM_FIELD": "f",
        "KEYFORM_ADDRESS": "keys.checkout", "KEYFORM_KEY_ID": "key_1", "KEYFORM_GENERATION": "2",
    }  # fmt: skip


def test_a_command_that_repeats_the_secret_does_not_get_it_into_messages(folder: Path) -> None:
    write_tool(folder, '#!/bin/sh\nsecret=$(cat); echo "$secret" >&2; echo "bad: $secret" >&2; exit 7\n')
    with pytest.raises(StoreError) as told:
        store_of(folder, READABLE).put(Place("own", "a"), Secret(CANARY), {})
    [said] = told.value.diagnostics
    assert "code 7" in said.summary
    assert "bad:" in said.summary
    assert CANARY not in f"{said}"
    write_tool(folder, f"#!/bin/sh\necho {CANARY}; echo 'read {CANARY}, and failed' >&2; exit 1\n")
    with pytest.raises(StoreError, match="and failed") as told:
        store_of(folder, READABLE).get(Place("own", "a"))
    assert CANARY not in f"{told.value.diagnostics}"


@pytest.mark.parametrize("verb", ["get", "look", "delete"])
def test_an_error_that_repeats_what_is_there_does_not_show_it(folder: Path, verb: str) -> None:
    """Nobody here knows the value then, so it cannot be masked by comparing."""
    given = options("put", "get", "look", "delete")
    value = "rk_live_tis2a54m_hZKD2g75v3Qw0pLx"
    write_tool(folder, f"#!/bin/sh\necho 'permission denied: app/x={value} is locked, {value}' >&2; exit 1\n")
    store = store_of(folder, given)
    with pytest.raises(StoreError, match="permission denied") as told:
        {"get": store.get, "look": store.look, "delete": store.delete}[verb](Place("own", "app/x"))
    assert value not in f"{told.value.diagnostics}"
    assert value[:12] not in f"{told.value.diagnostics}"


@pytest.mark.parametrize("part", ["version", "labels"])
def test_a_look_that_tells_the_value_is_found_out_before_anything_is_minted(folder: Path, part: str) -> None:
    told = '{"version": "%s"}' if part == "version" else '{"version": "1", "labels": {"value": "%s"}}'
    tool = TOOL.replace(
        'look) [ -f "$file.secret" ] || exit 44; cat "$file.v" ;;',
        f"""look) [ -f "$file.secret" ] || exit 44; printf '{told}' "$(cat "$file.secret")" ;;""",
    )
    write_tool(folder, tool)
    with pytest.raises(StoreError, match="is the secret itself"):
        store_of(folder, options("put", "get", "look", "delete")).probe()
    assert not [*folder.glob("kept/*.secret")]


def test_what_look_tells_may_be_nested_without_end(folder: Path) -> None:
    write_tool(folder, "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' '['\n")
    with pytest.raises(StoreError, match="cannot be understood"):
        store_of(folder, WRITE_ONLY).look(Place("own", "a"))


def test_only_the_codes_that_are_named_mean_that_there_is_none(folder: Path) -> None:
    for code, given in ((44, READABLE), (3, {**READABLE, "absent": (3, 4)})):
        write_tool(folder, f"#!/bin/sh\nexit {code}\n")
        store = store_of(folder, given)
        assert store.get(Place("own", "a")) is None
        store.delete(Place("own", "a"))
        with pytest.raises(StoreError):
            store.put(Place("own", "a"), Secret("x"), {})
    write_tool(folder, "#!/bin/sh\nexit 44\n")
    with pytest.raises(StoreError, match="code 44"):
        store_of(folder, {**READABLE, "absent": (3,)}).get(Place("own", "a"))


def test_a_line_end_can_follow(folder: Path) -> None:
    store = store_of(folder, {**READABLE, "line_end": True})
    store.probe()
    store.put(Place("own", "a"), Secret("value\n"), {})
    assert (folder / "kept" / "a.secret").read_text() == "value\n\n"
    assert store.get(Place("own", "a")) == Secret("value\n")
    write_tool(folder, TOOL.replace('cat "$file.secret"', 'cat "$file.secret"; echo'))
    with pytest.raises(StoreError, match="gave something else") as told:
        store_of(folder, READABLE).probe()
    assert "line_end" in told.value.diagnostics[0].detail


def test_commands_that_do_not_do_their_work_are_found_out(folder: Path) -> None:
    for broken, why in (("rm -f", "which was deleted"), ("|| exit 44", "code 1")):
        write_tool(folder, TOOL.replace(broken, "true" if broken == "rm -f" else "|| exit 1"))
        with pytest.raises(StoreError, match=why):
            store_of(folder, READABLE).probe()
    write_tool(folder, "#!/bin/sh\ntrue\n")
    with pytest.raises(StoreError, match="was never written"):
        store_of(folder, READABLE).access()
    with pytest.raises(StoreError, match="cannot be understood"):
        store_of(folder, WRITE_ONLY).access()


@pytest.mark.parametrize(
    "told", ["", "7", "[]", "{}", '{"version": null}', '{"version": []}', '{"version": 1, "labels": 3}']
)
def test_what_look_tells_must_have_a_version(folder: Path, told: str) -> None:
    write_tool(folder, f"#!/bin/sh\necho '{told}'\n")
    with pytest.raises(StoreError, match="cannot be understood") as refused:
        store_of(folder, WRITE_ONLY).look(Place("own", "a"))
    assert "version" in refused.value.diagnostics[0].detail


def test_labels_come_back_where_look_tells_them(folder: Path) -> None:
    store = store_of(folder, options("put", "get", "delete", "look"))
    version = store.put(Place("own", "a"), Secret("value"), {"address": "keys.one"})
    held = store.look(Place("own", "a"))
    assert held is not None
    assert (held.version, held.labels) == (version, {"address": "keys.one"})
    assert store.get(Place("own", "a"), version) == Secret("value")
    assert store.get(Place("own", "a"), "0") is None


def test_a_command_that_hangs_is_stopped_with_all_that_it_started(folder: Path) -> None:
    write_tool(folder, "#!/bin/sh\nsh -c 'echo $$ > pid; sleep 60; echo late > late' & cat; wait\n")
    with pytest.raises(StoreError, match="not done within"):
        store_of(folder, {**READABLE, "timeout": 0.3}).put(Place("own", "a"), Secret("x"), {})
    pid = int((folder / "pid").read_text())
    for _ in range(1000):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            break
        threading.Event().wait(0.01)
    else:
        raise AssertionError("a child lives on")


def test_a_command_that_floods_is_stopped_before_it_fills_the_memory(folder: Path) -> None:
    write_tool(folder, "#!/bin/sh\nexec yes\n")
    with pytest.raises(StoreError, match=r"gave more than .* and was stopped"):
        store_of(folder, {**READABLE, "timeout": 60}).get(Place("own", "a"))
    write_tool(folder, "#!/bin/sh\nhead -c 5000000 /dev/zero >&2; echo the end >&2; exit 1\n")
    with pytest.raises(StoreError, match="the end"):
        store_of(folder, READABLE).get(Place("own", "a"))


WRITE = """
import os, sys
from pathlib import Path
from keyform.model import Place, Secret
from keyform.stores.exec import open_store
command = ("./tool", "put", "{path}")
store = open_store("own", {"put": command, "get": command, "delete": command}, Path(sys.argv[1]), os.environ)
store.put(Place("own", "a"), Secret("dead"), {})
"""


@pytest.mark.parametrize("edited", [False, True], ids=["as it was", "edited"])
@pytest.mark.parametrize("then", ["put", "get", "delete"])
def test_what_a_killed_keyform_left_running_ends_before_anything_else_is_done(
    folder: Path, then: str, edited: bool
) -> None:
    """Even where somebody edits the command that hangs."""
    started, go = folder / "started", folder / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    write_tool(folder, "#!/bin/sh\nread -r value < go & echo > started; wait; printf dead > kept\n")
    first = subprocess.Popen([sys.executable, "-c", WRITE, str(folder)])
    started.read_text()
    first.kill()
    first.wait()
    write_tool(folder, "#!/bin/sh\necho $1: $(cat kept) >> seen; [ $1 != put ] || cat > kept; cat kept\n")
    given = {verb: ("env", "./tool", *words[1:]) for verb, words in READABLE.items()} if edited else READABLE
    store = store_of(folder, given)
    ended = threading.Event()

    def act() -> None:
        with contextlib.suppress(StoreError):
            getattr(store, then)(Place("own", "a"), *((Secret("new"), {}) if then == "put" else ()))
        ended.set()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        assert not ended.wait(0.3)
        assert not (folder / "seen").exists()
    finally:
        go.write_text("\n")
        thread.join()
    assert (folder / "seen").read_text().startswith(f"{then}: dead\n")
    assert (folder / "kept").read_text() == ("new" if then == "put" else "dead")


def test_waiting_for_a_command_that_was_left_running_has_an_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExecStore, "_patience", 0.05)
    store = store_of(folder, READABLE)
    with turn("own", store._turn(Place("own", "a")), os.environ):
        for act in (store.get, store.delete):
            with pytest.raises(StoreError, match="left running") as late:
                act(Place("own", "a"))
            assert "fuser" in late.value.diagnostics[0].detail


def test_a_program_with_a_slash_is_the_one_in_the_projects_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    store = store_of(Path(), READABLE)  # as the configuration's folder is, without -C
    assert "are there" in store.access()
    store.put(Place("own", "a"), Secret("value"), {})
    assert store.get(Place("own", "a")) == Secret("value")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("sh", "-c", "exit 44", "{path}"), False),
        (("sh", "-c", 'x="{path}"; exit 44'), True),
        (("env", "/bin/sh", "-ec", ": {path}; exit 44"), True),
        (("./tool", "get", "-c", "{path}"), False),
    ],
)
def test_a_path_in_a_script_is_warned_of(folder: Path, command: tuple[str, ...], told: bool) -> None:
    said = store_of(folder, {**READABLE, "get": command}).access()
    assert ("KEYFORM_PATH" in said) is told
    assert not told or "`get`" in said


def test_a_command_need_not_read_and_must_not_flood(folder: Path) -> None:
    write_tool(folder, "#!/bin/sh\nexit 0\n")
    store_of(folder, READABLE).put(Place("own", "a"), Secret("x" * 300_000), {})
    write_tool(folder, "#!/bin/sh\nhead -c 2000000 /dev/zero\n")
    with pytest.raises(StoreError, match="gave more than"):
        store_of(folder, READABLE).get(Place("own", "a"))
    write_tool(folder, "#!/bin/sh\nprintf '\\377'\n")
    with pytest.raises(StoreError, match="gave no text"):
        store_of(folder, READABLE).get(Place("own", "a"))


@pytest.mark.parametrize(
    "given",
    [
        options("put", "get"),
        options("put", "delete"),
        options("get", "delete"),
        {**options("put", "delete", path="{field}"), **options("get")},
    ],
)
def test_commands_that_do_not_make_a_store_are_refused(folder: Path, given: Mapping[str, Any]) -> None:
    with pytest.raises(StoreError, match="Store 'own'") as refused:
        store_of(folder, given)
    assert refused.value.diagnostics[0].detail


PARTS = 4


@pytest.mark.integration  # minutes
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_over_it_costs_nothing(tmp_path: Path, figures: Figures, part: int) -> None:
    kept = tmp_path / "kept"
    write_tool(tmp_path, TOOL.replace("kept/", f"{kept}/"))

    def entries(prefix: str) -> set[Place]:
        found = (str(file.relative_to(kept)) for file in kept.rglob("*.secret"))
        return {Place("local", path.removesuffix(".secret")) for path in found if path.startswith(prefix)}

    commands = ", ".join(
        f"{verb}: [{tmp_path}/tool, {verb}, '{{path}}']" for verb in ("put", "get", "delete")
    )
    matrix = Matrix(tmp_path, StoreKind(f"{{type: exec, {commands}}}", entries))
    try:
        failures = matrix.every_point(part, PARTS)
    finally:
        shutil.rmtree(kept)  # in clear text, which the search for leaks must not find
    what = f"crash matrix over commands, part {part + 1} of {PARTS}"
    figures(what, f"{matrix.points} points, {len(failures)} failures")
    assert failures == []
