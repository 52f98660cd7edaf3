"""Services whose keys live in a dashboard, at a terminal: a pseudo-terminal stands in for the real one."""

from __future__ import annotations

import json
import re
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keyform.doubt import Doubt
from keyform.engine.options import Options
from keyform.model import KeySpec
from keyform.state import State, dump_state
from tests.cli.test_assisted_given import run as off_terminal
from tests.cli.test_terminal import Terminal
from tests.world import World

CANARY = "CaNaRy7xPq3Zk9Wm2Lr5Tt8Vb"
SNIPPET = f"pk_live_f6589a94_{CANARY}A"
INGEST = f"rev_mk_tenant1_{CANARY}B9Qz"
REPORTS = "dtk_live_" + "0a1b2c3d" * 8

CONFIG = """\
version: 1
services:
  sandbox: {type: embedded}
  analytics: {type: millimetric, mode: assisted}
  meter: {type: revenium, mode: assisted}
  dev: {type: devtune, mode: assisted}
projects:
  web: {service: analytics, allowed_origins: ["https://yoursite.com"]}
  acme: {service: dev}
keys:
  auto: {service: sandbox, kind: secret, name: Auto, secret: auto}
  snippet: {service: analytics, project: web, kind: pk, name: Snippet, secret: web/mm}
  ingest: {service: meter, kind: metering-only, name: Production, secret: rev/ingest}
  reports: {service: dev, project: acme, name: BI, scopes: [visibility.read], expires_in: 90d, secret: bi}
"""

Start = Callable[..., Terminal]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start ``keyform -C folder ARGV`` on a terminal."""
    opened: list[Terminal] = []

    def begin(*argv: str, **env: str) -> Terminal:
        opened.append(Terminal(["-C", str(folder), *argv], {"NO_COLOR": "1", **env}))
        return opened[-1]

    (folder / "keyform.yaml").write_text(CONFIG)
    yield begin
    for terminal in opened:
        terminal.close()
        for secret in (CANARY, REPORTS):
            assert secret not in terminal.shown
    for file in folder.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [secret for secret in (CANARY, REPORTS) if secret.encode() in data], file


def prompt(address: str) -> str:
    return re.escape(f"Key of {address}: ")


CONFIRM = "to leave it for later: "


def after(terminal: Terminal, pattern: str, typed: str) -> None:
    """Wait for a prompt that has not been answered yet, and answer it."""
    terminal.until(pattern)
    terminal.shown = re.sub(pattern, "[answered] ", terminal.shown)
    terminal.type(typed + "\n")


def answer_all(terminal: Terminal) -> None:
    """Do everything that the whole configuration asks for."""
    after(terminal, CONFIRM, "done")
    after(terminal, prompt("keys.snippet"), SNIPPET)
    after(terminal, prompt("keys.ingest"), INGEST)
    after(terminal, prompt("keys.reports"), REPORTS)


def stored(folder: Path, address: str) -> str:
    secret = World(folder).stored(address)
    assert secret is not None
    return secret.reveal()


def test_a_whole_apply_with_wrong_pastes(start: Start, folder: Path) -> None:
    run = start("-vv", "apply")
    run.until("Only 'yes' will be accepted: ")
    assert "Plan: 5 to create; 1 unchanged. 4 changes need a person." in run.shown
    run.type("yes\n")
    run.until(CONFIRM)
    assert "projects.web: set origins at analytics, by hand" in run.shown
    assert "Add exactly: https://yoursite.com." in run.shown
    assert "Key of" not in run.shown
    after(run, CONFIRM, "what")
    after(run, CONFIRM, "done")
    run.until(prompt("keys.snippet"))
    assert "Click + pk." in run.shown
    assert "keys.ingest: create at meter, by hand" not in run.shown
    after(run, prompt("keys.snippet"), f"sk_live_a1b2c3d4_{CANARY}")
    run.until(re.escape("this looks like a key of kind sk; a Millimetric key of kind pk begins with pk_"))
    after(run, prompt("keys.snippet"), f"pk_live_{CANARY}")
    run.until("a Millimetric key looks like pk_")
    after(run, prompt("keys.snippet"), SNIPPET)
    after(run, prompt("keys.ingest"), INGEST)
    after(run, prompt("keys.reports"), REPORTS)
    assert run.end() == 0, run.shown
    assert "Apply complete: 5 created." in run.shown
    assert stored(folder, "keys.snippet") == SNIPPET
    assert stored(folder, "keys.ingest") == INGEST
    state = World(folder).state()
    assert state.keys["keys.snippet"].current.id.startswith("pk_live_f6589a94#")
    assert state.keys["keys.ingest"].current.id.startswith("B9Qz#")
    reports = state.keys["keys.reports"].current
    assert reports.id.startswith("dtk_live_0a1b#")
    assert reports.spec.expires_at is not None
    # Counted from the question, before which nobody can have made the key.
    assert timedelta(days=89, hours=23) < reports.spec.expires_at - reports.created_at <= timedelta(days=90)
    assert state.projects["projects.web"].allowed_origins == ("https://yoursite.com",)
    again = start("plan", "--detailed-exitcode")
    assert again.end() == 0, again.shown


def test_with_a_progress_bar_and_colours_the_prompts_stay_readable(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve", NO_COLOR="")
    answer_all(run)
    assert run.end() == 0, run.shown
    assert "\x1b[" in run.shown
    assert run.shown.rstrip().endswith("Apply complete: 5 created.")
    assert stored(folder, "keys.ingest") == INGEST


def test_three_wrong_pastes_ask_to_delete_the_key_and_the_rest_goes_on(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    for _ in range(3):
        after(run, prompt("keys.snippet"), CANARY)
    after(run, prompt("keys.ingest"), INGEST)
    after(run, prompt("keys.reports"), INGEST)
    run.until("Not taken: a DevTune key of kind key begins with dtk_live_")
    after(run, prompt("keys.reports"), REPORTS)
    run.until('Look for a key named "Snippet"')
    after(run, CONFIRM, "done")
    assert run.end() == 1
    assert "keys.snippet: create at analytics, by hand: no usable key was given in 3 attempts" in run.shown
    assert set(World(folder).state().keys) == {"keys.auto", "keys.ingest", "keys.reports"}
    rest = start("apply", "--auto-approve")
    after(rest, prompt("keys.snippet"), SNIPPET)
    assert rest.end() == 0, rest.shown
    assert "Look for a key" not in rest.shown


def test_the_key_of_another_address_is_not_taken(start: Start, folder: Path) -> None:
    file = folder / "keyform.yaml"
    file.write_text(
        CONFIG + "  other: {service: meter, kind: metering-only, name: Other, secret: rev/other}\n"
    )
    run = start("apply", "--auto-approve")
    answer_all(run)
    after(run, prompt("keys.other"), INGEST)
    run.until("this key was given for another address a moment ago")
    after(run, prompt("keys.other"), INGEST[:-4] + "Xx77")
    assert run.end() == 0, run.shown


def test_skipping_keeps_the_rest_and_leaves_nothing_to_recover(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    after(run, prompt("keys.snippet"), "skip")
    after(run, prompt("keys.ingest"), INGEST)
    after(run, prompt("keys.reports"), "SKIP")
    assert run.end() == 1
    assert "2 steps wait for a person:" in run.shown
    assert "Apply incomplete: 3 created; 2 waiting for a person." in run.shown
    plan = start("plan")
    assert plan.end() == 0
    assert "Plan: 2 to create; 4 unchanged. 2 changes need a person." in plan.shown
    assert "interrupted" not in plan.shown


def test_ctrl_c_at_a_prompt_keeps_what_is_done_and_the_next_apply_asks_for_the_stray(
    start: Start, folder: Path
) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    after(run, prompt("keys.snippet"), SNIPPET)
    run.until(prompt("keys.ingest"))
    asked = run.shown
    run.type("\x03")
    assert run.end() == 130, run.shown
    rest = run.shown.removeprefix(asked)
    assert 'Look for a key named "Production"' in rest
    assert "Type 'done'" not in rest
    assert termios.tcgetattr(run._master)[3] & termios.ECHO
    assert set(World(folder).state().keys) == {"keys.auto", "keys.snippet"}
    rest = start("apply", "--auto-approve")
    rest.until('Look for a key named "Production" \\(kind Metering Only\\)')
    assert "its secret is stored nowhere" in rest.until(CONFIRM)
    after(rest, CONFIRM, "done")
    after(rest, prompt("keys.ingest"), INGEST)
    after(rest, prompt("keys.reports"), REPORTS)
    assert rest.end() == 0, rest.shown
    assert "Recovered: keys.ingest: no key of the interrupted apply is in the dashboard" in rest.shown


def test_a_checklist_in_a_narrow_terminal_is_broken_between_words(folder: Path) -> None:
    origin = "https://a-rather-long-name.of-a-customer.example.com"
    (folder / "keyform.yaml").write_text(CONFIG.replace("https://yoursite.com", origin))
    run = Terminal(["-C", str(folder), "apply", "--auto-approve"], {"NO_COLOR": "1"}, columns=50)
    try:
        after(run, r"to leave it\s+for later: ", "done")
        run.until(prompt("keys.snippet"))
    finally:
        run.close()
    asked = run.shown[run.shown.index("4 steps need you") :].replace("\r", "")
    assert f"\n{origin}.\n" in asked
    told = [line for line in asked.splitlines() if "[answered]" not in line]
    assert [line for line in told if len(line) > 50] == [f"{origin}."] * 2
    assert "which is shown once, and give it to keyform; it goes to local:web/mm." in " ".join(asked.split())


def test_the_end_of_the_input_is_like_leaving(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    run.until(prompt("keys.snippet"))
    asked = run.shown
    run.type("\x04")
    assert run.end() == 130, run.shown
    rest = run.shown.removeprefix(asked)
    assert "The input ended: stopping" in rest
    assert "Key of" not in rest and "Type 'done'" not in rest, rest
    assert "keys.ingest: create at meter, by hand" not in rest
    assert "3 not begun" in rest
    assert set(World(folder).state().keys) == {"keys.auto"}
    again = start("apply", "--auto-approve")
    again.until('Look for a key named "Snippet"')
    after(again, CONFIRM, "done")
    for address, secret in (("snippet", SNIPPET), ("ingest", INGEST), ("reports", REPORTS)):
        after(again, prompt(f"keys.{address}"), secret)
    assert again.end() == 0, again.shown
    assert again.shown.count("Look for a key") == 1


def test_secrets_are_not_read_from_a_terminal(start: Start) -> None:
    run = start("apply", "--auto-approve", "--secrets-from", "-")
    assert run.end() == 1
    assert "would read from a terminal" in run.shown


def test_kill_9_at_a_prompt_is_recovered_and_only_the_key_at_hand_is_in_doubt(
    start: Start, folder: Path
) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    run.until(prompt("keys.snippet"))
    run.process.kill()
    run.process.wait()
    rest = start("apply", "--auto-approve")
    rest.until("ended without unlocking the state")
    rest.until('Look for a key named "Snippet" \\(kind pk, project "web", environment live\\)')
    after(rest, CONFIRM, "done")
    for address, secret in (("snippet", SNIPPET), ("ingest", INGEST), ("reports", REPORTS)):
        after(rest, prompt(f"keys.{address}"), secret)
    assert rest.end() == 0, rest.shown
    assert rest.shown.count("Look for a key") == 1
    assert len(World(folder).live()) == 1


def test_a_doubt_that_is_not_settled_holds_back_its_service_and_nothing_else(
    start: Start, folder: Path
) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "done")
    run.until(prompt("keys.snippet"))
    run.process.kill()
    run.process.wait()
    held = start("apply", "--auto-approve")
    after(held, CONFIRM, "skip")
    after(held, prompt("keys.ingest"), INGEST)
    held.until(prompt("keys.reports"))
    held.process.kill()
    held.process.wait()
    assert "Key of keys.snippet" not in held.shown
    both = start("apply", "--auto-approve")
    both.until('Look for a key named "Snippet"')
    after(both, CONFIRM, "skip")
    both.until('Look for a key named "BI"')
    after(both, CONFIRM, "done")
    after(both, prompt("keys.reports"), REPORTS)
    assert both.end() == 1
    told = " ".join(both.shown.split())
    assert "keys.snippet: not begun (held back: a key of analytics is to be looked for first)" in told
    assert "may be in the dashboard of Millimetric" in told
    assert "give `keys.snippet<TAB>done` by `--secrets-from`" in told
    assert set(World(folder).state().keys) == {"keys.auto", "keys.ingest", "keys.reports"}
    last = start("apply", "--auto-approve")
    last.until('Look for a key named "Snippet"')
    after(last, CONFIRM, "done")
    after(last, prompt("keys.snippet"), SNIPPET)
    assert last.end() == 0, last.shown
    assert last.shown.count("Look for a key") == 1
    assert not (folder / ".keyform" / "state.json.journal").exists()


def test_a_doubt_off_a_terminal_is_settled_by_an_answer(start: Start, folder: Path) -> None:
    begun = start("apply", "--auto-approve")
    after(begun, CONFIRM, "done")
    begun.until(prompt("keys.snippet"))
    begun.process.kill()
    begun.process.wait()
    given = f"keys.ingest\t{INGEST}\nkeys.reports\t{REPORTS}\n"
    ran = off_terminal(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given)
    assert ran.code == 1
    assert "Apply incomplete: 2 created; 1 not begun." in ran.out
    assert "give `keys.snippet<TAB>done` by `--secrets-from`" in ran.err
    again = off_terminal(folder, "apply", "--auto-approve")
    assert again.code == 1
    assert "may be in the dashboard of Millimetric" in again.err
    given = f"keys.snippet\tdone\nkeys.snippet\t{SNIPPET}\n"
    settled = off_terminal(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given)
    assert settled.code == 0, settled.err
    assert stored(folder, "keys.snippet") == SNIPPET
    assert World(folder).plan(Options()).empty


def test_what_an_open_doubt_has_let_through_is_not_taken_for_steps_of_an_older_plan(
    start: Start, folder: Path
) -> None:
    assert start("plan", "--out", "p.json").end() == 0
    begun = start("apply", "p.json")
    begun.until(CONFIRM)
    after(begun, CONFIRM, "done")
    begun.until(prompt("keys.snippet"))
    begun.process.kill()
    begun.process.wait()
    assert off_terminal(folder, "apply", "--auto-approve").code == 1
    resumed = off_terminal(folder, "apply", "p.json", "--secrets-from", "-", given="keys.snippet\tdone\n")
    assert resumed.code == 1
    assert "the plan is stale" in resumed.err


def test_a_key_is_not_asked_for_while_its_project_waits(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    after(run, CONFIRM, "skip")
    after(run, prompt("keys.ingest"), INGEST)
    after(run, prompt("keys.reports"), REPORTS)
    assert run.end() == 1
    assert "keys.snippet: not begun (held back: projects.web comes before its keys" in run.shown
    rest = start("apply", "--auto-approve")
    after(rest, CONFIRM, "done")
    after(rest, prompt("keys.snippet"), SNIPPET)
    assert rest.end() == 0, rest.shown


def test_renames_scopes_origins_revocations_and_destroy_are_confirmed(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    answer_all(run)
    assert run.end() == 0, run.shown
    text = CONFIG.replace("name: Production", "name: Ingestion").replace(
        "[visibility.read]", "[actions.write]"
    )
    text = text.replace('"https://yoursite.com"', '"https://new.example"')
    (folder / "keyform.yaml").write_text(text)
    edit = start("apply", "--auto-approve")
    edit.until("Remove: https://yoursite.com. Browsers there get 403 from then on.")
    after(edit, CONFIRM, "done")
    edit.until('Change the name from "Production" to "Ingestion".')
    after(edit, CONFIRM, "done")
    edit.until("Select also: actions.write.")
    edit.until("Take away: visibility.read.")
    after(edit, CONFIRM, "done")
    assert edit.end() == 0, edit.shown
    state = World(folder).state()
    assert state.keys["keys.ingest"].current.spec.name == "Ingestion"
    assert state.keys["keys.reports"].current.spec.scopes == ("actions.write",)
    assert state.projects["projects.web"].allowed_origins == ("https://new.example",)
    doomed = start("destroy", "--auto-approve")
    for _ in range(3):
        doomed.until(CONFIRM)
        address = re.findall(r"(keys\.\w+): revoke at", doomed.shown)[-1]
        after(doomed, CONFIRM, "skip" if address == "keys.ingest" else "done")
    assert doomed.end() == 1
    assert 'Find the row of the key "Snippet" (pk_live_f6589a94).' in doomed.shown
    assert 'find the key "Ingestion" (B9Qz).' in doomed.shown
    assert 'find the key "BI" (dtk_live_0a1b) of the project "acme".' in doomed.shown
    assert set(World(folder).state().keys) == {"keys.ingest"}
    assert stored(folder, "keys.ingest") == INGEST
    gone = start("destroy", "--auto-approve")
    after(gone, CONFIRM, "done")
    assert gone.end() == 0, gone.shown
    assert World(folder).state().keys == {}
    secrets = [file for file in (folder / ".keyform" / "secrets").rglob("*.age") if file.is_file()]
    assert secrets == []


def test_a_new_kind_is_a_new_key_first_and_the_old_one_is_revoked_last(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    answer_all(run)
    assert run.end() == 0
    (folder / "keyform.yaml").write_text(CONFIG.replace("kind: pk", "kind: sk"))
    edit = start("apply", "--auto-approve")
    fresh = f"sk_live_a1b2c3d4_{CANARY}C"
    after(edit, prompt("keys.snippet"), SNIPPET)
    edit.until("this looks like a key of kind pk")
    after(edit, prompt("keys.snippet"), fresh)
    edit.until(re.escape('Find the row of the key "Snippet" (pk_live_f6589a94).'))
    after(edit, CONFIRM, "done")
    assert edit.end() == 0, edit.shown
    assert stored(folder, "keys.snippet") == fresh


def test_the_old_secret_is_not_taken_for_the_new_generation(start: Start, folder: Path) -> None:
    run = start("apply", "--auto-approve")
    answer_all(run)
    assert run.end() == 0
    (folder / "keyform.yaml").write_text(CONFIG.replace("name: Snippet", "name: Banner"))
    edit = start("apply", "--auto-approve")
    after(edit, prompt("keys.snippet"), SNIPPET)
    edit.until("keyform has stored this very key before")
    after(edit, prompt("keys.snippet"), SNIPPET.replace("f6589a94", "11112222"))
    after(edit, CONFIRM, "done")
    assert edit.end() == 0, edit.shown


def test_a_saved_plan_holds_the_checklist_and_is_carried_out(start: Start, folder: Path) -> None:
    planned = start("plan", "--out", "p.json")
    assert planned.end() == 0
    plan = json.loads((folder / "p.json").read_text())
    assert plan["summary"]["by_hand"] == 4
    steps = {step["address"]: step for step in plan["steps"]}
    assert steps["keys.ingest"]["checklist"][0] == "Go to Revenium: the page Connections > SDK Setup."
    assert "checklist" not in steps["keys.auto"]
    assert {c["address"]: c.get("backing") for c in plan["changes"]}["keys.ingest"] == "assisted"
    run = start("apply", "p.json")
    answer_all(run)
    assert run.end() == 0, run.shown
    assert World(folder).plan(Options()).empty


DOUBTED = """\
version: 1
services: {sandbox: {type: embedded}}
keys: {auto: {service: sandbox, kind: secret, name: Auto, secret: auto}}
"""


def doubted(folder: Path, *addresses: str) -> None:
    """A state in which the answers to creates at a service that lists nothing were lost."""
    (folder / "keyform.yaml").write_text(DOUBTED)
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    doubts = tuple(
        Doubt(f"m{number}", address, "meter", "climeter", KeySpec(name=f"Lost {number}"), at)
        for number, address in enumerate(addresses, 1)
    )
    file = folder / ".keyform" / "state.json"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(dump_state(replace(State.fresh(), serial=1, doubts=doubts)))


def test_a_doubt_about_a_key_that_nothing_lists_is_closed_at_the_prompt(start: Start, folder: Path) -> None:
    doubted(folder, "keys.a", "keys.a")
    run = start("apply")
    run.until("Only 'yes' will be accepted: ")
    assert run.shown.count("may have been minted at meter") == 2
    run.type("yes\n")
    run.until("Look at meter \\(climeter\\), in its dashboard for one, for a key named 'Lost 1'")
    after(run, CONFIRM, "skip")
    run.until("a key named 'Lost 2'")
    after(run, CONFIRM, "done")
    assert run.end() == 0, run.shown
    assert "Apply complete: 1 created." in run.shown
    assert [doubt.marker for doubt in World(folder).state().doubts] == ["m1"]
    idle = start("apply")
    after(idle, CONFIRM, "done")
    assert idle.end() == 0, idle.shown
    assert "No changes" in idle.shown
    assert World(folder).state().doubts == ()
    quiet = start("apply")
    assert quiet.end() == 0
    assert "may have been minted" not in quiet.shown


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_leaving_the_question_about_a_doubt_leaves_it_open(start: Start, folder: Path, key: str) -> None:
    doubted(folder, "keys.a", "keys.b")
    run = start("apply", "--auto-approve")
    run.until(CONFIRM)
    run.type(key)
    assert run.end() == 130, run.shown
    assert "keys.b: look for" not in run.shown
    assert len(World(folder).state().doubts) == 2
    rest = start("apply", "--auto-approve")
    for _ in range(2):
        after(rest, CONFIRM, "done")
    assert rest.end() == 0, rest.shown
    assert World(folder).state().doubts == ()
