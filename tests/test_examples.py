"""Every example is run as its README says, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from keyform.cli.main import run
from tests.world import START, MovedClock, World

EXAMPLES = Path(__file__).parent.parent / "examples"
FOLDERS = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    unused = shutil.ignore_patterns(".keyform")  # somebody may have applied the example where it lies
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / request.param, ignore=unused))


def keyform(folder: Path, *arguments: str) -> int:
    return run(["-C", str(folder), *arguments], clock=MovedClock(START))


def keys_in_state(folder: Path) -> list[str]:
    return sorted(json.loads((folder / ".keyform" / "state.json").read_bytes())["keys"])


def test_every_folder_is_run_by_a_test() -> None:
    assert FOLDERS == ["adopt", "own-profile", "quickstart", "six-services", "teams", "web-app"]


@pytest.mark.parametrize(
    ("folder", "variables", "keys"),
    [
        ("quickstart", (), 6),
        ("web-app", (), 4),
        ("adopt", (), 1),
        ("teams", (), 3),
        ("teams", ("--var-file", "live.vars"), 3),
    ],
    indirect=["folder"],
)
def test_an_example_applies_rests_and_is_destroyed(
    folder: Path, variables: tuple[str, ...], keys: int
) -> None:
    if variables:
        variables = (variables[0], str(folder / variables[1]))
    assert keyform(folder, "validate", *variables) == 0
    assert keyform(folder, "plan", "--detailed-exitcode", *variables) == 2
    assert keyform(folder, "apply", "--auto-approve", *variables) == 0
    assert keyform(folder, "plan", "--detailed-exitcode", *variables) == 0
    assert len(keys_in_state(folder)) == keys
    assert len(list((folder / ".keyform" / "secrets").rglob("*.age"))) == keys
    unprotected = folder / "keyform.yaml"
    if unprotected.exists():
        unprotected.write_text(unprotected.read_text().replace("protect: true", "protect: false"))
        assert keyform(folder, "apply", "--auto-approve", *variables) == 0
    assert keyform(folder, "destroy", "--auto-approve", *variables) == 0
    assert keys_in_state(folder) == []
    assert list((folder / ".keyform" / "secrets").rglob("*.age")) == []


@pytest.mark.parametrize("folder", ["adopt"], indirect=True)
def test_the_story_of_adopting(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keyform(folder, "apply", "--auto-approve") == 0
    assert keyform(folder, "state", "rm", "reporting") == 0
    world = World(folder, MovedClock(START))
    (made,) = world.live()

    capsys.readouterr()
    assert keyform(folder, "generate", "sandbox") == 0
    assert made in capsys.readouterr().out

    file = folder / "keyform.yaml"
    text = file.read_text()
    file.write_text(
        text.replace("name: Reporting", "name: Weekly") + f"imports: [{{key: reporting, id: {made}}}]\n"
    )
    assert keyform(folder, "apply", "--auto-approve") == 0
    assert "the secret of" in capsys.readouterr().err
    assert keyform(folder, "plan", "--detailed-exitcode") == 0
    assert [key.spec.name for key in world.live().values()] == ["Weekly"]

    renamed = file.read_text().replace("  reporting:\n", "  weekly-reporting:\n").split("imports:")[0]
    file.write_text(renamed + "moved: [{from: reporting, to: weekly-reporting}]\n")
    assert keyform(folder, "apply", "--auto-approve") == 0
    assert keys_in_state(folder) == ["keys.weekly-reporting"]

    file.write_text(renamed.split("keys:")[0] + "removed: [{key: weekly-reporting, revoke: false}]\n")
    assert keyform(folder, "apply", "--auto-approve") == 0
    assert keys_in_state(folder) == []
    assert made in world.live()
