"""`keyform audit`: what it prints, when it fails, and that it leaves everything as it was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from keyform.apply import Wrapping
from keyform.report.audit import rules_markdown
from keyform.schemas_location import schema_text
from tests.world import START, MovedClock

from .conftest import Keyform

ROOT = Path(__file__).parents[2]
Edit = Callable[[str, str], None]

SOUND = """\
version: 1
services: {sandbox: {type: embedded}}
keys:
  backend:
    service: sandbox
    kind: secret
    scopes: ["events:write"]
    expires_in: 90d
    rotation: {every: 60d, overlap: 48h}
    secret: backend
"""
ACCEPT = """\
accept:
  - {rule: KF005, key: backend, reason: "a vendor's app", until: 2026-12-01}
"""


@pytest.fixture
def sound(folder: Path) -> Path:
    """A configuration in which nothing is to be found; its file."""
    file = folder / "keyform.yaml"
    file.write_text(SOUND)
    return file


@pytest.fixture
def unrotated(sound: Path) -> Path:
    """The same without a rotation."""
    sound.write_text(SOUND.replace("    rotation: {every: 60d, overlap: 48h}\n", ""))
    return sound


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_nothing_is_found_before_and_after_the_first_apply(keyform: Keyform, sound: Path) -> None:
    assert (keyform("audit").code, keyform("audit").out) == (0, "Nothing was found.\n")
    assert keyform("apply", "--auto-approve").code == 0
    assert (keyform("audit").code, keyform("audit").out) == (0, "Nothing was found.\n")


def test_it_writes_nothing_and_takes_no_lock(keyform: Keyform, unrotated: Path, folder: Path) -> None:
    assert keyform("apply", "--auto-approve").code == 0
    before = {
        name: data for name, data in files_of(folder).items() if not name.startswith(".keyform/service")
    }
    for form in ("text", "json", "sarif"):
        assert keyform("audit", "--format", form).code == 1
    after = {name: data for name, data in files_of(folder).items() if not name.startswith(".keyform/service")}
    assert after == before


@pytest.mark.parametrize(("level", "code"), [("error", 0), ("warning", 1), ("note", 1), ("never", 0)])
def test_the_level_at_which_it_fails_is_chosen(
    keyform: Keyform, unrotated: Path, level: str, code: int
) -> None:
    found = keyform("audit", "--fail-on", level)
    assert found.code == code
    assert f"keys.backend ({unrotated}:4:3)\n      nothing rotates it" in found.out
    assert found.out.endswith("1 warning.\n")


def test_a_warning_fails_unless_told_otherwise(keyform: Keyform, unrotated: Path) -> None:
    assert keyform("audit").code == 1


def test_an_accepted_finding_does_not_count_until_its_end(keyform: Keyform, unrotated: Path) -> None:
    unrotated.write_text(unrotated.read_text() + ACCEPT)
    clock = MovedClock(START)
    found = keyform("audit", clock=clock)
    assert found.code == 0
    assert "KF005 no-rotation of keys.backend until 2026-12-02T00:00:00Z: a vendor's app" in found.out
    clock.move(days=12)
    over = keyform("audit", clock=clock)
    assert over.code == 1
    assert "KF005 no-rotation" in over.out and "KF022 acceptance-run-out" in over.out
    assert f"({unrotated}:11:5)" in over.out, "the finding about an acceptance stands at the acceptance"


def test_an_acceptance_about_nothing_is_a_note(keyform: Keyform, sound: Path) -> None:
    sound.write_text(SOUND + ACCEPT)
    found = keyform("audit", clock=MovedClock(START))
    assert found.code == 0 and "KF023 acceptance-unused" in found.out
    assert keyform("audit", "--fail-on", "note", clock=MovedClock(START)).code == 1


def test_an_unmanaged_key_stands_where_its_service_is_declared(
    keyform: Keyform, sound: Path, edit: Edit
) -> None:
    assert keyform("apply", "--auto-approve").code == 0
    assert keyform("state", "rm", "backend").code == 0
    found = keyform("audit", "--format", "json")
    value = json.loads(found.out)
    (one,) = [each for each in value["findings"] if each["rule"] == "KF001"]
    assert found.code == 1 and one["location"]["line"] == 2 and "address" not in one
    assert one["service"] == "sandbox" and one["key_id"] in one["message"]
    entry = f"  - {{rule: KF001, service: sandbox, id: {one['key_id']}, reason: theirs, until: 2999-01-01}}\n"
    sound.write_text(SOUND + "accept:\n" + entry)
    accepted = json.loads(keyform("audit", "--format", "json").out)
    assert accepted["summary"]["accepted"] == 1


def test_keys_that_nobody_uses_are_found_after_ninety_days_or_as_the_service_says(
    keyform: Keyform, sound: Path, edit: Edit
) -> None:
    sound.write_text(SOUND.replace("90d", "1y").replace("60d", "300d"))
    clock = MovedClock(START)
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    clock.move(days=89)
    assert keyform("audit", clock=clock).out == "Nothing was found.\n"
    edit("type: embedded", "type: embedded, stale_after: 30d")
    assert "KF002 never-used-key" in keyform("audit", clock=clock).out
    for after in ("200d", "never"):
        edit("stale_after: 30d", f"stale_after: {after}")
        clock.move(days=1)
        assert keyform("audit", clock=clock).out == "Nothing was found.\n"
        edit(f"stale_after: {after}", "stale_after: 30d")
    edit(", stale_after: 30d", "")
    assert "90d ago or longer" in " ".join(keyform("audit", clock=clock).out.split())


def test_a_service_that_cannot_be_used_leaves_the_others_audited(keyform: Keyform, unrotated: Path) -> None:
    assert keyform("apply", "--auto-approve").code == 0

    class NoRoute(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(403, json={"error": {"code": "forbidden", "message": "no"}})

    found = keyform("audit", "--fail-on", "never", wrap=Wrapping(transport=lambda transport: NoRoute()))
    assert found.code == 1
    assert "KF005 no-rotation" in found.out, "what is declared is audited all the same"
    assert "KF020" not in found.out, "a key that could not be looked for is not called revoked"
    assert "sandbox could not be read whole" in found.err
    assert found.out.endswith("1 warning; not everything could be looked at.\n")


def test_services_without_a_listing_say_so(keyform: Keyform, folder: Path) -> None:
    (folder / "keyform.yaml").write_text(
        "version: 1\n"
        "services: {meter: {type: climeter, mode: assisted}, hand: {type: revkeen, mode: assisted}}\n"
        "keys:\n"
        "  ingest: {service: meter, scopes: ['events:write'], secret: i, rotation: {every: 60d}}\n"
    )
    found = keyform("audit")
    assert (found.code, found.out) == (0, "Nothing was found.\n")
    told = " ".join(found.err.split())
    assert "hand and meter: nothing shows keyform the keys there" in told
    assert 'The rule is "Calls that create and revoke keys are documented; none that lists' in told


def test_a_folder_or_file_of_variables_for_tests_is_noticed(
    keyform: Keyform, sound: Path, folder: Path
) -> None:
    (folder / "staging.vars").write_text("{}\n")
    found = keyform("audit", "--var-file", "staging.vars")
    assert found.code == 1
    assert 'and the file of variables `staging` says "staging"' in " ".join(found.out.split())


def test_json_keeps_to_its_schema(keyform: Keyform, unrotated: Path) -> None:
    unrotated.write_text(unrotated.read_text() + ACCEPT)
    found = keyform("audit", "--format", "json", clock=MovedClock(START))
    value = json.loads(found.out)
    jsonschema.validate(value, json.loads(schema_text("audit.schema.json")))
    assert value["summary"] == {"error": 0, "warning": 0, "note": 0, "accepted": 1}
    assert value["findings"][0]["accepted"]["location"]["line"] == 11


def test_errors_are_json_too(keyform: Keyform, sound: Path) -> None:
    sound.write_text(SOUND.replace("kind: secret", "kind: secrt"))
    found = keyform("audit", "--format", "json")
    assert found.code == 1 and json.loads(found.out)["diagnostics"][0]["code"] == "unknown-kind"


def test_sarif_names_files_from_where_it_was_run(
    keyform: Keyform, unrotated: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrotated.rename(folder / "my keys#1.yaml")

    def uris() -> set[str]:
        (run,) = json.loads(keyform("audit", "--format", "sarif").out)["runs"]
        places = [place for result in run["results"] for place in result["locations"]]
        return {place["physicalLocation"]["artifactLocation"]["uri"] for place in places}

    monkeypatch.chdir(folder.parent)
    assert uris() == {"work/my%20keys%231.yaml"}
    (folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(folder.parent / "elsewhere")
    assert uris() == {(folder / "my keys#1.yaml").as_uri()}


def test_no_secret_is_in_any_form(keyform: Keyform, unrotated: Path, folder: Path) -> None:
    assert keyform("apply", "--auto-approve").code == 0
    for form in ("text", "json", "sarif"):
        found = keyform("audit", "--format", form)
        assert not re.search(r"\bsk_live_", found.out + found.err)


def test_the_rules_are_listed_without_a_configuration(keyform: Keyform) -> None:
    listed = keyform("audit", "--rules")
    assert listed.code == 0 and "KF001 unmanaged-key  warning\n" in listed.out
    rules = json.loads(keyform("audit", "--rules", "--format", "json").out)
    assert rules[0]["code"] == "KF001" and {"finds", "why", "do"} <= rules[0].keys()
    assert keyform("audit", "--rules", "--format", "sarif").code == 1


def test_a_closed_pipe_is_no_error(folder: Path, unrotated: Path) -> None:
    command = [sys.executable, "-m", "keyform", "-C", str(folder), "audit", "--format", "sarif"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 1 and told == b""


def test_the_table_of_the_documentation_is_that_of_the_rules() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert rules_markdown() in text, "put what `rules_markdown()` of keyform.report.audit gives into it"


def test_the_examples_of_the_documentation_are_valid(keyform: Keyform, folder: Path) -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    (entries,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if "accept:" in block]
    (folder / "keyform.yaml").write_text(
        "version: 1\n"
        "services: {payments: {type: embedded}}\n"
        "projects: {web: {service: payments, allowed_origins: ['https://a.example']}}\n"
        "keys:\n"
        "  checkout: {service: payments, secret: c}\n"
        "  reader: {service: payments, secret: '${each.key}', for_each: [eu-west, us-east]}\n" + entries
    )
    assert keyform("validate").code == 0


def test_a_name_from_a_service_stays_on_its_line(keyform: Keyform, unrotated: Path, edit: Edit) -> None:
    hostile = "x\x1b[31m\u202e](https://evil.example)"
    edit("    kind: secret\n", f"    kind: secret\n    name: {json.dumps('Old')}\n")

    class Naming(httpx.BaseTransport):
        def __init__(self, inner: httpx.BaseTransport) -> None:
            self.inner = inner

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = self.inner.handle_request(request)
            body = answer.read()
            headers = {"content-type": "application/json"}
            named = body.replace(b'"Old"', json.dumps(hostile).encode())
            return httpx.Response(answer.status_code, content=named, headers=headers)

    assert keyform("apply", "--auto-approve").code == 0
    assert keyform("state", "rm", "backend").code == 0
    for form in ("text", "json", "sarif"):
        shown: Any = keyform("audit", "--format", form, wrap=Wrapping(transport=Naming))
        assert "KF001" in shown.out and "evil.example" in shown.out
        assert "\x1b" not in shown.out and "\u202e" not in shown.out


def test_an_overdue_rotation_is_measured_by_the_schedule(keyform: Keyform, sound: Path) -> None:
    clock = MovedClock(START)
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    clock.move(seconds=timedelta(days=60, hours=12).total_seconds())
    assert "KF015" not in keyform("audit", clock=clock).out
    sound.write_text(SOUND + "schedule: every 6h\n")
    assert "KF015 rotation-overdue" in keyform("audit", clock=clock).out
