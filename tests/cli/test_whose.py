"""``keyform whose``: a leaked string finds its key, and is itself never shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from keyform.apply import Workspace
from keyform.clock import SystemClock
from keyform.engine.sight import ServiceView
from keyform.engine.whose import Likeness, candidates, likenesses
from keyform.model import KeySpec, LiveKey, Place, Secret
from keyform.ports import Listing
from keyform.registry import load_config
from keyform.schemas_location import schema_text
from keyform.services.profiles import load_profile
from keyform.state import State
from tests.engine.scene import PROFILE
from tests.world import MovedClock

from .conftest import Keyform, Ran

TWO_KEYS = """\
version: 1
services: {sandbox: {type: embedded}}
keys:
  backend:
    service: sandbox
    kind: secret
    environment: live
    scopes: ["events:write"]
    secret: prod/backend
    owner: payments-team
    rotation: {overlap: 72h}
  other:
    service: sandbox
    kind: read
    environment: live
    secret: prod/other
"""

Ask = Callable[..., Ran]


@pytest.fixture
def ask(keyform: Keyform, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """``keyform whose ARGV`` with these bytes on standard input."""

    def call(data: str | bytes, *argv: str, **settings: object) -> Ran:
        raw = data.encode() if isinstance(data, str) else data
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return keyform("whose", *argv, **settings)

    return call


@pytest.fixture
def declared(keyform: Keyform, folder: Path) -> MovedClock:
    (folder / "keyform.yaml").write_text(TWO_KEYS)
    clock = MovedClock()
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    return clock


def stored(folder: Path, path: str) -> str:
    with Workspace(load_config(folder, SystemClock()), SystemClock(), "test") as ws:
        secret = ws.store("local").get(Place("local", path))
    assert secret is not None
    return secret.reveal()


def test_the_current_generation(ask: Ask, folder: Path, declared: MovedClock) -> None:
    ran = ask(stored(folder, "prod/backend") + "\n", clock=declared)
    assert ran.code == 0
    head, *_ = ran.out.splitlines()
    assert head == "keys.backend, generation 1: the one in use"
    for words in ("active: it works", "payments-team", "local:prod/backend", "events:write", ":4:3"):
        assert words in ran.out
    assert "keys.other" not in ran.out + ran.err


@pytest.mark.parametrize(
    "around",
    [
        "'{}'",
        '"{}"',
        "  {}\r\n",
        "{},",
        "({})",
        "<{}>.",
        "API_KEY={}",
        'export_KEY="{}";',
        '{{"api_key":"{}"}}',
        "--token={},",
    ],
)
def test_what_stands_around_it_is_no_part_of_it(
    ask: Ask, folder: Path, declared: MovedClock, around: str
) -> None:
    ran = ask(around.format(stored(folder, "prod/backend")), clock=declared)
    assert ran.code == 0
    assert ran.out.startswith("keys.backend, generation 1: the one in use")


@pytest.mark.parametrize("cut", ["{:.16}", "{:.40}", "{}x", "KEY={:.40},"])
def test_one_that_only_looks_like_a_managed_key_is_told_to_be_rotated(
    ask: Ask, folder: Path, declared: MovedClock, cut: str
) -> None:
    string = cut.format(stored(folder, "prod/backend"))
    ran = ask(string, clock=declared)
    told = " ".join(ran.out.split())
    assert ran.code == 1
    assert "keys.backend, generation 1" in told
    assert "owner: payments-team" in told
    assert "`keyform rotate keys.backend --now --reason leaked`" in told
    for never in ("revoke it at its service", "adopt it", string):
        assert never not in told
    ran = ask(string, "--format", "json", clock=declared)
    jsonschema.validate(json.loads(ran.out), json.loads(schema_text("whose.schema.json")))
    (one,) = json.loads(ran.out)["candidates"]
    assert (one["address"], one["generation"], one["owner"]) == ("keys.backend", 1, "payments-team")


def test_an_adopted_key_is_told_as_one_that_is_managed(ask: Ask, keyform: Keyform, folder: Path) -> None:
    clock = MovedClock()
    both = TWO_KEYS + "    name: Other\n"
    (folder / "keyform.yaml").write_text(both)
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    leaked = stored(folder, "prod/other")
    shown = json.loads(keyform("show", "--format", "json", clock=clock).out)
    key_id = shown["keys"]["keys.other"]["current"]["id"]
    assert keyform("state", "rm", "keys.other", clock=clock).code == 0
    (folder / "keyform.yaml").write_text(both + f"imports: [{{key: other, id: {key_id}}}]\n")
    assert keyform("apply", "--auto-approve", clock=clock).code == 0
    told = " ".join(ask(leaked, clock=clock).out.split())
    assert f"keys.other, generation 1 ({key_id}" in told
    assert "keyform never had the secret of that key" in told
    assert "`keyform rotate keys.other --now --reason leaked`" in told
    assert "adopt it" not in told


def test_a_plan_without_an_outage_and_one_at_once(
    ask: Ask, keyform: Keyform, folder: Path, declared: MovedClock
) -> None:
    leaked = stored(folder, "prod/backend")
    gently = ask(leaked, clock=declared)
    assert "The plan that ends it without an outage:" in gently.out
    assert "1 to rotate" in gently.out
    assert "lives on for 3d" in gently.out
    assert "leaked" in gently.out
    at_once = ask(leaked, "--now", "--out", "kill.json", clock=declared)
    assert at_once.code == 0
    assert "The plan that ends it at once:" in at_once.out
    assert "lives on" not in at_once.out
    assert keyform("apply", "kill.json", clock=declared).code == 0
    after = ask(leaked, clock=declared)
    assert after.code == 0
    assert after.out.splitlines()[0] == "keys.backend, generation 1: which has ended"
    assert "it works no more" in after.out
    assert "The plan" not in after.out


def test_without_an_overlap_the_plan_is_not_said_to_cut_nobody_off(
    ask: Ask, folder: Path, declared: MovedClock
) -> None:
    ran = ask(stored(folder, "prod/other"), clock=declared)
    assert "without an outage" not in ran.out
    assert "The plan that ends it in the same run:" in ran.out
    assert "Declare a `rotation.overlap` first" in " ".join(ran.out.split())


def test_an_old_generation_that_waits_for_its_gate_says_so(
    ask: Ask, keyform: Keyform, folder: Path, declared: MovedClock
) -> None:
    text = (folder / "keyform.yaml").read_text()
    (folder / "keyform.yaml").write_text(
        text.replace("overlap: 72h", "overlap: 72h, revoke_when_unused_for: 1d")
    )
    leaked = stored(folder, "prod/backend")
    assert keyform("apply", "--auto-approve", clock=declared).code == 0
    assert keyform("rotate", "backend", "--auto-approve", clock=declared).code == 0
    assert "once it has not been used for 1d" in ask(leaked, clock=declared).out


def test_an_old_generation_in_its_overlap(
    ask: Ask, keyform: Keyform, folder: Path, declared: MovedClock
) -> None:
    leaked = stored(folder, "prod/backend")
    assert keyform("rotate", "backend", "--auto-approve", clock=declared).code == 0
    ran = ask(leaked, "--format", "json", clock=declared)
    jsonschema.validate(json.loads(ran.out), json.loads(schema_text("whose.schema.json")))
    (key,) = json.loads(ran.out)["keys"]
    assert (key["generation"], key["standing"], key["status"]) == (1, "old", "active")
    assert key["revoke_at"] == "2026-11-23T12:00:00Z"
    assert json.loads(ran.out)["plan"] is None
    told = ask(leaked, clock=declared).out
    assert "revoked by the first apply after 2026-11-23T12:00:00Z\n" in told
    assert "`keyform whose --now` plans to revoke it at once" in told
    assert ask(leaked, "--now", "--out", "kill.json", clock=declared).code == 0
    assert keyform("apply", "kill.json", clock=declared).code == 0
    assert "generation 1: which has ended" in ask(leaked, clock=declared).out
    now = ask(stored(folder, "prod/backend"), clock=declared)
    assert "generation 2: the one in use" in now.out
    assert "active: it works" in now.out


def test_a_string_that_nobody_knows(ask: Ask, declared: MovedClock) -> None:
    looks = "sk_live_" + "a" * 8 + "_" + "b" * 43
    ran = ask(looks, clock=declared)
    assert ran.code == 1
    assert "no key that this state knows" in ran.out
    assert "It looks like a key of sandbox (kind secret)." in ran.out
    assert "looks like no key of the declared services" in ask("hunter2", clock=declared).out


def test_the_credential_of_keyform_itself(
    ask: Ask, folder: Path, declared: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "token-of-keyform-itself")
    text = (folder / "keyform.yaml").read_text()
    extra = 'api: {type: unkey, credential: "${env:THE_TOKEN}", api_id: api_1}'
    (folder / "keyform.yaml").write_text(
        text.replace("{sandbox: {type: embedded}}", "{sandbox: {type: embedded}, " + extra + "}")
    )
    ran = ask("token-of-keyform-itself", clock=declared)
    assert ran.code == 0
    assert "`services.api.credential`" in ran.out
    assert "token-of-keyform-itself" not in ran.out + ran.err


def test_the_files_answer_where_no_service_can_be_asked(ask: Ask, folder: Path, declared: MovedClock) -> None:
    leaked = stored(folder, "prod/backend")
    text = (folder / "keyform.yaml").read_text()
    (folder / "keyform.yaml").write_text(
        text.replace("owner:", 'name: "${env:NOT_SET_ANYWHERE}"\n    owner:')
    )
    ran = ask(leaked, clock=declared)
    assert ran.code == 1
    assert "keys.backend, generation 1: the one in use" in ran.out
    assert "unknown: its service could not be asked" in ran.out
    assert "NOT_SET_ANYWHERE" in ran.err
    assert "whether it still works is not known" in ran.err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "nothing on standard input"),
        ("  \n", "nothing on standard input"),
        ("token: abc", "more than one word"),
        (b"\xff\xfe\x00", "no text"),
        ("a" * 70_000, "more than 65,536 bytes"),
    ],
)
def test_what_is_no_string(ask: Ask, declared: MovedClock, data: str | bytes, words: str) -> None:
    ran = ask(data, clock=declared)
    assert ran.code == 1
    assert words in ran.err


def test_a_terminal_is_read_without_echo_wherever_stderr_goes(
    keyform: Keyform, folder: Path, declared: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `keyform whose 2>log`."""
    leaked, hidden = stored(folder, "prod/backend"), []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def prompt(question: str, *, hide_input: bool, err: bool) -> str:
        hidden.append(hide_input)
        return leaked

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("keyform.cli.whose.click.prompt", prompt)
    assert keyform("whose", clock=declared).code == 0
    assert hidden == [True]


@pytest.mark.parametrize("argument", ["sk_live_leaked_in_an_argument", "-sk_live_leaked_in_an_argument"])
def test_an_argument_is_refused_without_being_repeated(ask: Ask, declared: MovedClock, argument: str) -> None:
    ran = ask("", argument, clock=declared)
    assert ran.code == 1
    assert "never as an argument" in ran.err
    assert "leaked_in" not in ran.out + ran.err


def test_it_is_written_nowhere_and_nothing_is(ask: Ask, folder: Path, declared: MovedClock) -> None:
    def files() -> dict[Path, bytes]:
        found = (path for path in folder.rglob("*") if path.is_file() and ".db" not in path.name)
        return {path: path.read_bytes() for path in found}

    before = files()
    leaked = stored(folder, "prod/backend")
    for argv in ([], ["--format", "json"], ["--now"]):
        ran = ask(leaked, *argv, clock=declared)
        assert leaked not in ran.out + ran.err
    assert files() == before


@pytest.mark.parametrize(
    ("hint", "fits"),
    [
        ("wxyz", True),
        ("…wxyz", True),
        ("rev_…wxyz", True),
        ("rev_", True),
        ("rev_…abcd", False),
        ("z", False),
        ("…", False),
    ],
)
def test_keys_whose_hint_fits_are_candidates(hint: str, fits: bool) -> None:
    view = ServiceView.of("s", PROFILE, Listing((LiveKey("id", KeySpec(), hint=hint),)))
    found = candidates(Secret("rev_mk_secretwxyz"), view, State("lineage", 1))
    assert [one.key.id for one in found] == (["id"] if fits else [])


def test_likenesses_of_the_vendors() -> None:
    loaded = {name: load_profile(name, Path()) for name in ("revenium", "millimetric", "climeter", "devtune")}
    profiles = {name: profile for name, profile in loaded.items() if profile is not None}
    assert {one.service for one in likenesses(Secret("dtk_live_" + "a" * 64), profiles)} == {"devtune"}
    kinds = {"metering-only": "rev_mk_", "read-only": "rev_rk_"}
    for kind, prefix in kinds.items():
        secret = Secret(f"{prefix}abcdefgh_{'0' * 48}")
        assert [*likenesses(secret, profiles)] == [Likeness("revenium", kind)]
