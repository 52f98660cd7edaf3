"""The story of a configuration, verb by verb."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from keyform.apply import Wrapping
from keyform.engine.plan_file import load_plan
from keyform.ports import Store
from keyform.schemas_location import schema_text

from .conftest import Keyform

Edit = Callable[[str, str], None]


def test_what_init_writes_is_valid_applies_and_then_is_done(keyform: Keyform, folder: Path) -> None:
    assert keyform("init").code == 0
    assert ".keyform/" in (folder / ".gitignore").read_text().splitlines()
    named = (folder / "keyform.yaml").read_text().partition("$schema=")[2].split()[0]
    assert json.loads((folder / named).read_text())["title"] == "keyform configuration"
    assert not named.startswith(".keyform/")
    assert keyform("validate").out == "The configuration is valid: 5 keys, 1 project, 1 service, 1 store.\n"
    applied = keyform("apply", "--auto-approve")
    assert (applied.code, applied.out.splitlines()[-1]) == (0, "Apply complete: 6 created.")
    again = keyform("plan", "--detailed-exitcode")
    assert (again.code, again.out) == (0, "No changes. Every declared key is as declared.\n")


def test_init_overwrites_nothing(keyform: Keyform, folder: Path) -> None:
    (folder / ".gitignore").write_text("mine")
    (folder / "keyform.schema.json").write_text("mine too")
    (folder / "other.yml").write_text("version: 1\n")
    refused = keyform("init")
    assert refused.code == 1
    assert "has a configuration already: other.yml" in refused.err
    assert not (folder / "keyform.yaml").exists()
    (folder / "other.yml").unlink()
    assert keyform("init").code == 0
    assert (folder / ".gitignore").read_text().startswith("mine\n# ")
    assert (folder / "keyform.schema.json").read_text() == "mine too"
    assert keyform("init").code == 1


def test_init_makes_the_folder_it_is_told(keyform: Keyform, folder: Path) -> None:
    made = keyform("init", "a/b")
    assert made.code == 0
    assert (folder / "a/b/keyform.yaml").is_file()
    assert f"keyform -C {folder}/a/b plan" in made.err


def test_a_pending_change_exits_2_only_when_asked(keyform: Keyform, one_key: Path) -> None:
    assert keyform("plan").code == 0
    assert keyform("plan", "--detailed-exitcode").code == 2


def test_a_saved_plan_is_private_is_shown_and_is_applied_without_asking(
    keyform: Keyform, one_key: Path, folder: Path
) -> None:
    saved = keyform("plan", "--out", "a plan")
    assert f"keyform -C {folder} apply 'a plan'" in saved.err
    assert (folder / "a plan").stat().st_mode & 0o777 == 0o600
    shown = keyform("show", "a plan")
    assert (shown.code, shown.out) == (0, saved.out)
    assert keyform("apply", "a plan").out == "Apply complete: 1 created.\n"
    stale = keyform("apply", "a plan")
    assert stale.code == 1
    assert "the plan is stale" in stale.err


def test_a_saved_plan_takes_no_options_that_would_change_it(keyform: Keyform, one_key: Path) -> None:
    keyform("plan", "--out", "p")
    assert keyform("apply", "p", "--target", "backend").code == 1


def test_a_plan_with_errors_is_shown_and_not_saved(
    keyform: Keyform, one_key: Path, folder: Path, edit: Edit
) -> None:
    edit("    secret: backend\n", "    secret: backend\n    protect: true\n")
    keyform("apply", "--auto-approve")
    edit("  backend:\n", "  other:\n")
    edit("    secret: backend\n", "    secret: other\n")
    failed = keyform("plan", "--out", "p", "--detailed-exitcode")
    assert failed.code == 1
    assert "+ keys.other" in failed.out
    assert "error: keys.backend is protected" in failed.err
    assert "p was not written" in failed.err
    assert not (folder / "p").exists()


def test_an_error_of_one_key_is_shown_at_its_place(
    keyform: Keyform, one_key: Path, folder: Path, edit: Edit
) -> None:
    keyform("apply", "--auto-approve")
    edit("    secret: backend\n", "    secret: backend\n    protect: true\n    environment: test\n")
    failed = keyform("plan", "--detailed-exitcode")
    assert failed.code == 1
    assert f"{folder}/keyform.yaml:4:3: error: keys.backend is protected" in failed.err
    assert "would be replaced: environment" in " ".join(failed.err.split())
    assert "    4 |   backend:\n      |   ^\n" in failed.err


def test_every_error_of_a_file_is_shown_with_its_place(
    keyform: Keyform, one_key: Path, folder: Path, edit: Edit
) -> None:
    edit("kind: secret", "kind: sercet")
    edit('"events:write"', '"events:wirte"')
    wrong = keyform("validate")
    assert wrong.code == 1
    assert f"{folder}/keyform.yaml:6:11: error: " in wrong.err
    assert "    6 |     kind: sercet\n      |           ^\n" in wrong.err
    assert "Did you mean `secret`?" in wrong.err
    assert "events:wirte" in wrong.err
    assert wrong.err.endswith("2 errors.\n")


def test_json_plans_follow_the_published_schema(
    keyform: Keyform, one_key: Path, edit: Edit, folder: Path
) -> None:
    schema = json.loads(schema_text("plan.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    keyform("init", "starter")
    for file in (folder / "starter").glob("*.yaml"):
        file.rename(folder / "keyform.yaml")
    summaries = []
    for line, other in (
        ("version: 1", "version: 1"),
        ("name: Backend", "name: Backend é"),
        ("kind: read", "kind: secret"),
        ("secret: jobs/nightly", "secret: jobs/other"),
        ("  # protect: true", "  protect: true\n    tags: [a]\n    metadata: {team: x}"),
        ("  snippet:", "  snippet2:"),
        (
            "expires_in: 30d",
            "expires_in: 20d\n    rate_limit: {limit: 5, per: 1m}\n    rotation: {every: 1d, overlap: 1h}",
        ),
    ):
        edit(line, other)
        plan = json.loads(keyform("plan", "--format", "json").out)
        check.validate(plan)
        summaries.append({action for action, count in plan["summary"].items() if count})
        assert keyform("apply", "--auto-approve", "--allow-mass-change").code == 0
    later = json.loads(keyform("plan", "--at", "2099-01-01T00:00:00Z", "--format", "json").out)
    check.validate(later)
    summaries.append({action for action, count in later["summary"].items() if count})
    assert {"create", "update", "replace", "revoke", "rotate"} <= set().union(*summaries)


def test_the_schema_knows_no_other_fields() -> None:
    schema = json.loads(schema_text("plan.schema.json"))
    closed = [schema, *schema["$defs"].values(), schema["properties"]["summary"]]
    assert all(part["additionalProperties"] is False for part in closed if part.get("type") == "object")


def test_a_json_plan_on_stdout_is_the_plan_file(keyform: Keyform, one_key: Path, folder: Path) -> None:
    edited = one_key.read_text().replace("name: Backend", 'name: "Ba\\u202Eck é"')
    one_key.write_text(edited)
    shown = keyform("plan", "--format", "json", "--out", "p").out
    assert "\u202e" not in shown
    assert "é" in shown
    assert load_plan(shown.encode(), "stdout") == load_plan((folder / "p").read_bytes(), "file")


def test_apply_as_json_is_one_event_per_line(keyform: Keyform, one_key: Path) -> None:
    ran = keyform("apply", "--auto-approve", "--format", "json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["type"] for event in events] == ["planned", "start", "done", "complete"]
    assert events[2]["key_id"].startswith("key_")
    assert ran.err == ""


def test_apply_as_json_tells_errors_as_an_event_too(keyform: Keyform, one_key: Path, edit: Edit) -> None:
    edit("kind: secret", "kind: nothing")
    ran = keyform("apply", "--auto-approve", "--format", "json")
    assert ran.code == 1
    event = json.loads(ran.out)
    assert event["type"] == "error"
    assert event["diagnostics"][0]["code"] == "unknown-kind"


def test_each_finished_key_is_one_line_off_a_terminal(keyform: Keyform, one_key: Path) -> None:
    lines = keyform("apply", "--auto-approve").err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("[1/1] keys.backend: created (key_")


@pytest.mark.parametrize("verb", ["apply", "destroy"])
@pytest.mark.parametrize("extra", [(), ("--format", "json")])
def test_nobody_to_ask_means_no(
    keyform: Keyform, one_key: Path, folder: Path, verb: str, extra: tuple[str, ...]
) -> None:
    refused = keyform(verb, *extra)
    assert refused.code == 1
    assert "--auto-approve" in refused.err
    assert not (folder / ".keyform").exists()


def test_targets_are_checked_and_kept_to(keyform: Keyform, folder: Path) -> None:
    keyform("init")
    unknown = keyform("plan", "--target", "backnd")
    assert unknown.code == 1
    assert "Did you mean `keys.backend`?" in unknown.err
    planned = keyform("plan", "--target", "dashboard")
    assert "Plan: 2 to create." in planned.out


def test_plan_at_another_time(keyform: Keyform, one_key: Path, edit: Edit) -> None:
    edit("    secret: backend\n", "    secret: backend\n    expires_in: 30d\n")
    keyform("apply", "--auto-approve")
    later = keyform("plan", "--at", "2099-01-01T00:00:00Z", "--detailed-exitcode")
    assert (later.code, "1 to rotate" in later.out) == (2, True)
    assert "what a run at 2099-01-01T00:00:00Z would do" in later.err
    past = keyform("plan", "--at", "2020-01-01T00:00:00Z")
    assert (past.code, "--at '2020-01-01T00:00:00Z' is in the past" in past.err) == (1, True)
    assert keyform("plan", "--at", "tomorrow").code == 1
    assert keyform("plan", "--at", "2099-01-01T00:00:00Z", "--out", "p").code == 1


@pytest.mark.parametrize("before", [(), ("whose", "--format"), ("plan", "--"), ("rotate", "--parallelism")])
@pytest.mark.parametrize(
    "secret", ["sk_live_a1b2c3d4_R9fK2", "0a1b2c3d4e5f6a7b", "abcdEFGHijklMNOPqrstUVWX/yz+="]
)
def test_a_secret_that_was_typed_in_the_wrong_place_is_not_repeated(
    keyform: Keyform, before: tuple[str, ...], secret: str
) -> None:
    argv = (*before[:-1], before[-1] + secret) if before[-1:] == ("--",) else (*before, secret)
    ran = keyform(*argv)
    assert ran.code == 1
    assert secret.split("/")[0] not in ran.out + ran.err
    assert "[hidden]" in ran.err


def test_what_was_mistyped_is_repeated_where_it_is_no_secret(keyform: Keyform) -> None:
    assert "No such option '--detailed-exitcodes'" in keyform("plan", "--detailed-exitcodes").err
    assert "--until '2020-01-31T00:00:00Z'" in keyform("calendar", "--until", "2020-01-31T00:00:00Z").err


def test_variables(keyform: Keyform, one_key: Path, folder: Path, edit: Edit) -> None:
    edit("version: 1", "version: 1\nvariables: {what: {default: Backend}}")
    edit("name: Backend", 'name: "${var.what}"')
    assert 'name         "Mine"' in keyform("plan", "--var", "what=Mine").out
    (folder / "vars.json").write_text('{"what": "Filed"}')
    assert 'name         "Filed"' in keyform("plan", "--var-file", "vars.json").out
    assert keyform("plan", "--var", "nonsense").code == 1
    unknown = keyform("plan", "--var", "who=me")
    assert unknown.code == 1
    assert "who" in unknown.err


def test_destroy_revokes_and_erases(keyform: Keyform, one_key: Path, folder: Path) -> None:
    keyform("apply", "--auto-approve")
    assert list((folder / ".keyform/secrets").rglob("*.age"))
    gone = keyform("destroy", "--auto-approve")
    assert (gone.code, gone.out.splitlines()[-1]) == (0, "Destroy complete: 1 revoked.")
    assert not list((folder / ".keyform/secrets").rglob("*.age"))
    assert keyform("destroy", "--auto-approve").out == "Nothing to destroy. The state owns no key.\n"


def test_destroy_of_many_keys_asks_for_a_flag(keyform: Keyform, folder: Path) -> None:
    keys = "".join(f"  k{n}: {{service: sandbox, name: k{n}, secret: k{n}}}\n" for n in range(10))
    (folder / "keyform.yaml").write_text(
        f"version: 1\nservices: {{sandbox: {{type: embedded}}}}\nkeys:\n{keys}"
    )
    assert keyform("apply", "--auto-approve").code == 0
    refused = keyform("destroy", "--auto-approve")
    assert refused.code == 1
    assert "--allow-mass-change" in refused.err
    assert keyform("destroy", "--auto-approve", "--allow-mass-change").code == 0


def test_another_store_under_the_same_name_asks_for_a_flag(
    keyform: Keyform, one_key: Path, folder: Path
) -> None:
    keyform("apply", "--auto-approve")
    (folder / ".keyform/secrets").rename(folder / "elsewhere")
    with one_key.open("a") as file:
        file.write("stores: {local: {type: age, path: elsewhere}}\n")
    refused = keyform("apply", "--auto-approve")
    assert refused.code == 1
    assert "--allow-endpoint-change" in refused.err
    assert keyform("plan", "--allow-endpoint-change", "--out", "p.json").code == 0
    assert keyform("apply", "p.json", "--allow-endpoint-change").code != 0
    assert keyform("apply", "p.json").code == 0
    assert keyform("plan", "--detailed-exitcode").code == 0


def test_import_counts_one_and_records_only(keyform: Keyform, one_key: Path) -> None:
    keyform("apply", "--auto-approve")
    record = json.loads(keyform("state", "pull").out)["keys"]["keys.backend"]["current"]
    assert keyform("state", "rm", "backend").code == 0
    one_key.write_text(one_key.read_text().replace("name: Backend", "name: Other"))
    imported = keyform("import", "backend", record["id"])
    assert (imported.code, "[1/1] keys.backend: imported" in imported.err) == (0, True)
    assert keyform("plan", "--detailed-exitcode").code == 2


def test_state_verbs(keyform: Keyform, one_key: Path, folder: Path) -> None:
    assert keyform("state", "list").out == ""
    assert keyform("state", "pull").code == 1
    keyform("apply", "--auto-approve")
    assert keyform("state", "list").out == "keys.backend\n"
    record = keyform("state", "show", "backend").out
    assert "generation 1 (current)" in record
    assert "hmac-sha256:" in record
    assert keyform("state", "show", "nothing").code == 1
    pulled = keyform("state", "pull").out
    assert json.loads(pulled)["format"] == "keyform-state"
    assert keyform("state", "mv", "backend", "other").code == 0
    assert keyform("state", "list").out == "keys.other\n"
    (folder / "old.json").write_text(pulled)
    assert keyform("state", "push", "old.json").code == 1
    assert keyform("state", "push", "--force", "old.json").code == 0
    assert keyform("state", "rm", "backend").code == 0
    assert keyform("state", "rm", "backend").code == 1
    assert keyform("state", "unlock", "no-such-id").code == 1


def test_show_in_every_format(keyform: Keyform, one_key: Path) -> None:
    assert "It owns no key yet." in keyform("show").out
    keyform("apply", "--auto-approve")
    assert "keys.backend  sandbox" in keyform("show").out
    assert "| `keys.backend` |" in keyform("show", "--format", "markdown").out
    assert "keys.backend" in json.loads(keyform("show", "--format", "json").out)["keys"]


def test_state_can_be_looked_at_without_credentials(keyform: Keyform, one_key: Path, edit: Edit) -> None:
    keyform("apply", "--auto-approve")
    edit(
        "{type: embedded}",
        '{type: embedded, endpoint: "https://keys.example", credential: "${env:KEYFORM_TEST_UNSET}"}',
    )
    assert keyform("state", "list").out == "keys.backend\n"
    assert keyform("show").code == 0
    refused = keyform("plan")
    assert refused.code == 1
    assert "KEYFORM_TEST_UNSET is not set" in refused.err


def test_services(keyform: Keyform) -> None:
    assert "embedded" in keyform("services").out
    told = keyform("services", "embedded").out
    assert "RULES" in told
    assert "source: " in told
    assert "A new key is needed for: environment, kind, project." in told
    assert keyform("services", "nothing").code == 1


def test_doctor_finds_nothing_wrong_and_then_something(
    keyform: Keyform, one_key: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = keyform("doctor")
    assert well.code == 0
    assert "fail" not in well.out
    assert "canary" not in well.out
    proven = keyform("doctor", "--write-canary")
    assert proven.code == 0
    assert "a canary was written, read back and deleted" in proven.out
    monkeypatch.setenv("KEYFORM_TEST_TOKEN", "canary-of-the-doctor")
    edit(
        "{type: embedded}",
        '{type: embedded, endpoint: "http://127.0.0.1:1", credential: "${env:KEYFORM_TEST_TOKEN}"}',
    )
    ill = keyform("-v", "-v", "doctor")
    assert ill.code == 1
    assert "service sandbox  fail" in ill.out
    assert "canary-of-the-doctor" not in ill.out + ill.err


def test_doctor_writes_nothing_unless_it_is_asked_to(keyform: Keyform, one_key: Path) -> None:
    written = []

    class Watched:
        def __init__(self, inner: Store) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            if name in ("put", "delete", "probe"):
                written.append(name)
            return getattr(self._inner, name)

    wrap = Wrapping(store=Watched)
    assert keyform("doctor", wrap=wrap).code == 0
    assert written == []
    assert keyform("doctor", "--write-canary", wrap=wrap).code == 0
    assert written == ["probe"]


def test_a_log_ends_with_its_run(keyform: Keyform, one_key: Path) -> None:
    before = list(logging.getLogger("keyform").handlers)
    loud = keyform("-v", "plan")
    assert logging.getLogger("keyform").handlers == before
    assert "info: keyform.services.http: GET http://embedded.localhost/v1/keys: 200" in loud.err
    quiet = keyform("apply", "--auto-approve")
    assert (quiet.code, "info: " in quiet.err) == (0, False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(keyform: Keyform, shell: str) -> None:
    ran = keyform("completion", shell)
    assert ran.code == 0
    assert "_KEYFORM_COMPLETE" in ran.out
    assert f"keyform completion {shell} > " in ran.err


@pytest.mark.parametrize("content", ['{"format": "keyform-state"}', "version: 1\n", "[]"])
def test_a_plan_takes_the_place_of_no_other_file(
    keyform: Keyform, one_key: Path, folder: Path, content: str
) -> None:
    (folder / "other").write_text(content)
    refused = keyform("plan", "--out", "other")
    assert (refused.code, refused.out) == (1, "")
    assert "is not a keyform plan" in refused.err
    assert (folder / "other").read_text() == content
    (folder / "other").write_text("")
    assert keyform("plan", "--out", "other").code == 0
    assert keyform("plan", "--out", "other").code == 0


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9500-01-01T00:00:00Z"]
)
def test_a_time_that_nothing_can_be_added_to_is_refused(keyform: Keyform, one_key: Path, time: str) -> None:
    ran = keyform("plan", "--at", time)
    assert ran.code == 1
    assert "--at" in ran.err


def test_errors_of_plan_and_validate_are_json_too(keyform: Keyform, one_key: Path, edit: Edit) -> None:
    assert json.loads(keyform("validate", "--format", "json").out) == {"diagnostics": []}
    edit("kind: secret", "kind: nonsense")
    for verb in ("plan", "validate"):
        ran = keyform(verb, "--format", "json")
        assert ran.code == 1
        (found,) = json.loads(ran.out)["diagnostics"]
        assert (found["code"], found["location"]["line"]) == ("unknown-kind", 6)
        assert "error:" in ran.err


@pytest.mark.parametrize(
    "address", ["keys.a b", "keys.", 'keys.a["x"', r'keys.a["\u0041"]', 'projects.a["x"]']
)
def test_a_key_is_not_renamed_to_what_is_no_address(keyform: Keyform, one_key: Path, address: str) -> None:
    keyform("apply", "--auto-approve")
    ran = keyform("state", "mv", "backend", address)
    assert ran.code == 1
    assert "is not an address" in ran.err
    assert keyform("state", "list").out == "keys.backend\n"


def test_a_key_is_renamed_to_one_of_a_for_each(keyform: Keyform, one_key: Path) -> None:
    keyform("apply", "--auto-approve")
    assert keyform("state", "mv", "backend", 'r["ü x"]').code == 0
    assert keyform("state", "list").out == 'keys.r["ü x"]\n'


def test_a_plan_for_a_target_speaks_of_the_target(keyform: Keyform, one_key: Path) -> None:
    keyform("apply", "--auto-approve")
    assert keyform("plan", "--target", "backend").out.endswith("No changes to keys.backend.\n")


def test_the_state_is_shown_without_the_variables_of_the_rest(
    keyform: Keyform, one_key: Path, folder: Path, edit: Edit
) -> None:
    keyform("apply", "--auto-approve")
    edit("name: Backend", 'name: "${var.name}"')
    (folder / "more.yaml").write_text("variables: {name: {}}\n")
    assert keyform("plan").code == 1
    assert "keys.backend" in keyform("show").out
    assert keyform("state", "list").out == "keys.backend\n"


def test_a_state_whose_place_is_not_known_is_not_looked_for_elsewhere(
    keyform: Keyform, one_key: Path, folder: Path
) -> None:
    keyform("apply", "--auto-approve")
    (folder / "more.yaml").write_text('variables: {place: {}}\nstate: {path: "${var.place}"}\n')
    ran = keyform("state", "list")
    assert (ran.code, ran.out) == (1, "")
    assert "the variable `place` has no value" in ran.err
    assert keyform("state", "list", "--var", "place=.keyform/state.json").out == "keys.backend\n"


def test_hidden_files_are_no_configuration_for_any_verb(keyform: Keyform, folder: Path) -> None:
    (folder / ".hidden.yaml").write_text("version: 1\n")
    assert "there is no configuration" in keyform("validate").err
    assert keyform("init").code == 0


def test_what_init_makes_is_like_any_other_folder(keyform: Keyform, folder: Path) -> None:
    keyform("init", "new")
    (folder / "plain").mkdir()
    assert (folder / "new").stat().st_mode == (folder / "plain").stat().st_mode


def test_both_places_of_an_error_are_seen_from_where_the_command_was_given(
    keyform: Keyform, folder: Path
) -> None:
    (folder / "keyform.yaml").write_text("version: 1\nkeys: {}\nkeys: {}\n")
    ran = keyform("validate")
    assert f"{folder}/keyform.yaml:3:1: error" in ran.err
    assert f"The first is at {folder}/keyform.yaml:2:1." in " ".join(ran.err.split())


@pytest.mark.parametrize(("argv", "meant"), [(["aply"], "apply"), (["state", "lst"], "list")])
def test_a_mistyped_verb_gets_a_suggestion(keyform: Keyform, argv: list[str], meant: str) -> None:
    ran = keyform(*argv)
    assert ran.code == 1
    assert f"Did you mean '{meant}'?" in ran.err


def test_destroy_writes_no_secrets_and_has_no_option_for_it(keyform: Keyform, one_key: Path) -> None:
    assert "No such option" in keyform("destroy", "--overwrite-secrets").err


def test_a_file_that_is_no_state_is_not_pushed(keyform: Keyform, one_key: Path, folder: Path) -> None:
    keyform("apply", "--auto-approve")
    (folder / "f").write_text("{}")
    ran = keyform("state", "push", "f")
    assert ran.code == 1
    assert "state:" not in ran.err
    assert "keyform state pull" in ran.err
