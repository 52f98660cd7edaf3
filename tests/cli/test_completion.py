"""What the shell is offered behind Tab."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from keyform.cli.main import Start, cli

from .conftest import Keyform


@pytest.fixture
def begun(keyform: Keyform, folder: Path) -> Path:
    """The starting configuration, applied except for one key declared since."""
    keyform("init")
    keyform("apply", "--auto-approve")
    (folder / "more.yaml").write_text("keys: {later: {service: sandbox, kind: read, secret: later}}\n")
    return folder


def offered(folder: Path, line: str, shell: str = "zsh") -> list[str]:
    words = ["keyform", "-C", str(folder), *line.split(" ")]
    env = {
        "_KEYFORM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    ran = CliRunner().invoke(cli, prog_name="keyform", env=env, obj=Start(None, None))
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    return lines[1::3] if shell == "zsh" else [line.partition(",")[2] for line in lines]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (
            "state show keys.d",
            ['keys.dashboard["eu-west"]', 'keys.dashboard["us-east"]'],
        ),
        ("state rm ni", ["nightly"]),
        ("state mv projects.", ["projects.web"]),
        ("plan --target keys.l", ["keys.later"]),
        ("import ", ["keys.later"]),
        ("generate s", ["sandbox"]),
        ("services e", ["embedded"]),
        ("apply keyform.", ["keyform.schema.json", "keyform.yaml"]),
        ("plan --var-file .keyform/s", [".keyform/secrets/", ".keyform/service/", ".keyform/state.json"]),
        ("imp", ["import"]),
    ],
)
def test_what_is_offered(begun: Path, line: str, names: list[str]) -> None:
    found = offered(begun, line)
    assert [name for name in found if ".lock" not in name] == names


def test_bash_gets_what_it_can_take_as_it_is(begun: Path) -> None:
    assert offered(begun, "state show keys.dashboard", "bash") == [
        r'keys.dashboard\\[\\"eu-west\\"\\]',
        r'keys.dashboard\\[\\"us-east\\"\\]',
    ]


@pytest.mark.parametrize("text", ["", "keys: [\n", "version: 1\nstate: {path: '${env:NOWHERE}'}\n"])
def test_without_a_sound_configuration_there_is_nothing_to_offer(folder: Path, text: str) -> None:
    (folder / "keyform.yaml").write_text(text)
    assert offered(folder, "state show ") == []
    assert offered(folder, "generate ") == []


def test_folders_for_the_folder() -> None:
    env = {"_KEYFORM_COMPLETE": "bash_complete", "COMP_WORDS": "keyform -C ", "COMP_CWORD": "2"}
    ran = CliRunner().invoke(cli, prog_name="keyform", env=env, obj=Start(None, None))
    assert ran.stdout == "dir,\n"
