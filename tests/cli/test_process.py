"""Exit codes, streams and imports of the real process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyform.cli import main

from .conftest import ONE_KEY, Keyform


def process(folder: Path, *argv: str, **rest: object) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, **rest}
    return subprocess.run([sys.executable, "-m", "keyform", "-C", str(folder), *argv], **settings)


@pytest.fixture
def configured(folder: Path) -> Path:
    (folder / "keyform.yaml").write_text(ONE_KEY)
    return folder


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_nothing_but_click_is_imported_for_help_and_version(option: str) -> None:
    code = (
        "import sys; from keyform.cli.main import run; code = run([sys.argv[1]])\n"
        "import json; print(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, timeout=60)
    modules = json.loads(ran.stdout.splitlines()[-1])
    ours = [name for name in modules if name.partition(".")[0] == "keyform"]
    assert ours == ["keyform", "keyform.cli", "keyform.cli.main"]
    heavy = {
        "httpx",
        "yaml",
        "deepdiff",
        "jsonschema",
        "jsonschema_rs",
        "falcon",
        "pyrage",
        "sqlite3",
        "tenacity",
    }
    assert heavy.isdisjoint(modules)
    assert ran.stdout.startswith("keyform 0." if option == "--version" else "Usage: keyform ")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ((), 1),
        (("frobnicate",), 1),
        (("plan", "--frobnicate"), 1),
        (("apply", "--parallelism", "0"), 1),
        (("state",), 1),
        (("--help",), 0),
        (("plan", "--help"), 0),
        (("validate",), 0),
        (("plan",), 0),
        (("plan", "--detailed-exitcode"), 2),
        (("apply",), 1),
        (("show", "no-such-file"), 1),
        (("show", "keyform.yaml"), 1),
    ],
    ids=str,
)
def test_exit_codes(configured: Path, argv: tuple[str, ...], code: int) -> None:
    ran = process(configured, *argv)
    assert ran.returncode == code, ran.stderr
    assert bool(ran.stdout) == (code != 1)
    assert "Traceback" not in ran.stderr


def test_errors_go_to_stderr_and_exit_1_even_with_detailed_exitcode(configured: Path) -> None:
    (configured / "keyform.yaml").write_text("version: 1\nversoin: 2\n")
    ran = process(configured, "plan", "--detailed-exitcode")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "keyform.yaml:2:1: error: " in ran.stderr


def test_a_reader_that_goes_away_is_no_error(configured: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ran = process(
            configured, "apply", "--auto-approve", capture_output=False, stdout=closed, stderr=subprocess.PIPE
        )
    assert ran.returncode == 0
    assert "Broken pipe" not in ran.stderr
    assert process(configured, "state", "list").stdout == "keys.backend\n"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_closed_streams(configured: Path, redirection: str) -> None:
    command = f'exec "{sys.executable}" -m keyform -C "{configured}" plan {redirection}'
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_data_that_cannot_be_written_is_an_error(configured: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = process(configured, "plan", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert ran.returncode == 1
    assert ran.stderr == "error: standard output could not be written: No space left on device\n"


def test_output_survives_a_narrow_encoding(configured: Path) -> None:
    file = configured / "keyform.yaml"
    file.write_text(file.read_text().replace("name: Backend", "name: 日本"), encoding="utf-8")
    process(configured, "apply", "--auto-approve")
    ran = process(
        configured, "plan", "--at", "2999-01-01T00:00:00Z", env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert ran.returncode == 0
    assert process(configured, "show", env={**os.environ, "PYTHONIOENCODING": "ascii"}).returncode == 0


def test_no_colour_off_a_terminal(configured: Path) -> None:
    assert "\x1b" not in process(configured, "plan").stdout


SECRET = "sk_live_never_shown_in_a_traceback"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*arguments: object, **named: object) -> None:
        secret_here = SECRET
        raise KeyError(secret_here)

    monkeypatch.setattr("keyform.registry.load_config", bug)


@pytest.mark.usefixtures("broken")
def test_a_bug_exits_3_with_a_short_message(keyform: Keyform) -> None:
    ran = keyform("validate")
    assert ran.code == 3
    assert ran.err.startswith("error: a bug in keyform: KeyError\n  Please report it")
    assert "line" not in ran.err


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("how", ["-vv", "KEYFORM_TRACEBACK"])
def test_the_places_of_a_bug_are_shown_on_request_and_no_value(
    keyform: Keyform, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "-vv":
        ran = keyform("-vv", "validate")
    else:
        monkeypatch.setenv(how, "1")
        ran = keyform("validate")
    assert ran.code == 3
    assert "in bug" in ran.err
    assert SECRET not in ran.err + ran.out


def test_every_verb_has_the_help_that_the_list_says() -> None:
    context = main.click.Context(main.cli)
    for name, short in main.VERBS.items():
        command = main.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        first = (command.help or "").partition("\n\n")[0].replace("\n", " ").strip()
        assert first.split()[0] == short.split()[0], f"{name}: {first!r} against {short!r}"
