"""Every example is run as its README says, through the command line."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
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
    assert FOLDERS == [
        "adopt", "assisted", "own-profile", "quickstart", "rotation", "six-services", "teams", "web-app"
    ]  # fmt: skip


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


def commands(folder: Path) -> list[list[str]]:
    """The command lines of an example's README, in order."""
    blocks = (folder / "README.md").read_text().split("```")[1::2]
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


EXPECTED = {  # of the story of a rotation, by verb: what each of its commands has to say, in order
    "apply": ["2 created"],
    "calendar": ["rotates"],
    "plan": ["2 to rotate", "No changes"],
    "rotate": ["1 rotated", "1 rotated"],
    "state": ["generation 1 (old)"],
    "rollback": ["1 rolled back"],
    "whose": ["generation 1: the one in use", "it works no more"],
    "audit": ["othing"],
    "destroy": ["2 revoked"],
}


@pytest.mark.parametrize("folder", ["rotation"], indirect=True)
def test_the_story_of_a_rotation(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(folder, MovedClock(START))
    left = {verb: [*words] for verb, words in EXPECTED.items()}
    for program, *words in commands(folder):
        if program == "age":  # the program itself may be missing here; the store reads its own files
            secret = world.stored("keys.checkout")
            assert secret is not None
            (folder / "leaked.txt").write_text(secret.reveal())
            continue
        assert (program, words[:2]) == ("keyform", ["-C", "examples/rotation"])
        line = words[2:]
        if "<" in line:
            line = line[: line.index("<")]
            monkeypatch.setattr(
                sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "leaked.txt").read_bytes()))
            )
        capsys.readouterr()
        assert keyform(folder, *line) == 0, line
        assert left[line[0]].pop(0) in capsys.readouterr().out
    assert not any(left.values())
    (folder / "leaked.txt").unlink()
    assert world.live() == {}


@pytest.mark.parametrize("folder", ["rotation"], indirect=True)
def test_the_policy_of_the_rotation_example_over_half_a_year(folder: Path) -> None:
    world = World(folder, MovedClock(START))
    rotated: dict[str, list[int]] = {"keys.checkout": [], "keys.reports": []}
    for day in range(190):
        for change in world.apply().plan.changes:
            if change.action == "rotate":
                rotated[change.address].append(day)
        assert world.plan().empty
        world.clock.move(days=1)
    assert rotated == {
        "keys.checkout": [*range(60, 190, 60)],
        "keys.reports": [*range(23, 190, 23)],
    }
    assert len(world.live()) == 2


def answered(folder: Path, **answers: str) -> str:
    """A file with answers by address; ``projects_web`` stands for ``projects.web``."""
    file = folder.parent / "answers"
    file.write_text("".join(f"{name.replace('_', '.')}\t{text}\n" for name, text in answers.items()))
    file.chmod(0o600)
    return str(file)


NEW = {
    "projects_web": "done",
    "keys_snippet": "pk_live_f6589a94_" + "S" * 24,
    "keys_ingest": "rev_mk_tenant_" + "I" * 24,
    "keys_checkout": "rk_live_" + "C" * 24,
    "keys_report": "dtk_live_" + "0d" * 32,
}
FIRST = ("projects_web", "keys_snippet", "keys_ingest")


@pytest.mark.parametrize("folder", ["assisted"], indirect=True)
def test_the_checklists_of_the_assisted_example(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keyform(folder, "validate") == 0
    shown = {}
    for form in ("text", "markdown", "json"):
        capsys.readouterr()
        assert keyform(folder, "plan", "--detailed-exitcode", "--format", form) == 2
        shown[form] = capsys.readouterr().out
    plan = json.loads(shown["json"])
    lists = {step["address"]: step["checklist"] for step in plan["steps"] if "checklist" in step}
    assert set(lists) == {name.replace("_", ".") for name in NEW}
    assert plan["summary"]["by_hand"] == 5
    for lines in lists.values():
        for number, line in enumerate(lines, 1):
            assert f"{number}. {line}" in " ".join(shown["text"].split())
            assert f"{number}. {line}" in shown["markdown"]
    assert "Click + pk." in lists["keys.snippet"]
    assert "Expiration: 90 days." in lists["keys.report"]
    assert not (folder / ".keyform").exists()


@pytest.mark.parametrize("folder", ["assisted"], indirect=True)
def test_the_assisted_example_is_resumed_half_way_and_rests(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def apply(verb: str = "apply", **answers: str) -> int:
        return keyform(folder, verb, "--auto-approve", "--secrets-from", answered(folder, **answers))

    assert apply(**{name: NEW[name] for name in FIRST}) == 1
    told = capsys.readouterr()
    assert "2 steps wait for a person:" in told.err
    assert keys_in_state(folder) == ["keys.ingest", "keys.snippet"]
    assert apply(**{name: text for name, text in NEW.items() if name not in FIRST}) == 0
    assert keyform(folder, "plan", "--detailed-exitcode") == 0
    world = World(folder, MovedClock(START))
    for name in ("keys_snippet", "keys_ingest", "keys_checkout", "keys_report"):
        stored = world.stored(name.replace("_", "."))
        assert stored is not None
        assert stored.reveal() == NEW[name]

    # As README.md says: a rename, a click in a table, and a new key.
    file = folder / "keyform.yaml"
    edited = file.read_text().replace("name: Production ingestion", "name: Ingestion")
    edited = edited.replace("[visibility.read]", "[actions.write, visibility.read]")
    file.write_text(edited.replace("name: Snippet", "name: Web page"))
    capsys.readouterr()
    assert keyform(folder, "plan", "--format", "json") == 0
    actions = {c["address"]: c["action"] for c in json.loads(capsys.readouterr().out)["changes"]}
    assert actions == {"keys.ingest": "update", "keys.report": "update", "keys.snippet": "replace"}
    fresh = "pk_live_0123abcd_" + "T" * 24
    assert apply(keys_ingest="done", keys_report="done", keys_snippet=fresh) == 1
    assert apply(keys_snippet="done") == 0
    assert keyform(folder, "plan", "--detailed-exitcode") == 0

    gone = {name: "done" for name in NEW if name.startswith("keys")}
    assert apply("destroy", **gone) == 0
    assert keys_in_state(folder) == []
    told = capsys.readouterr()
    for name in ("keys_snippet", "keys_ingest", "keys_checkout", "keys_report"):
        assert NEW[name] not in told.out + told.err


@pytest.mark.parametrize("folder", ["web-app"], indirect=True)
def test_an_accepted_finding_is_told_with_its_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keyform(folder, "audit", "--fail-on", "error") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "KF005 no-rotation of keys.server until 2027-07-01T00:00:00Z: The server is replaced" in shown
