"""Services whose keys live in a dashboard, off a terminal: answers given in advance, and CI."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from keyform.apply import Wrapping
from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import Over, Store
from keyform.schemas_location import schema_text
from tests.cli.conftest import Keyform, Ran
from tests.cli.forked import Forked
from tests.world import World

CANARY = "CaNaRy7xPq3Zk9Wm2Lr5Tt8Vb"
SNIPPET = f"pk_live_f6589a94_{CANARY}A"
INGEST = f"rev_mk_tenant1_{CANARY}B9Qz"

CONFIG = """\
version: 1
services:
  sandbox: {type: embedded}
  analytics: {type: millimetric, mode: assisted}
  meter: {type: revenium, mode: assisted}
projects:
  web: {service: analytics, allowed_origins: ["https://yoursite.com"]}
keys:
  auto: {service: sandbox, kind: secret, name: Auto, secret: auto}
  snippet: {service: analytics, project: web, kind: pk, name: Snippet, secret: web/mm}
  ingest: {service: meter, kind: metering-only, name: Production, secret: rev/ingest}
"""


@pytest.fixture(autouse=True)
def _nothing_leaks(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    (folder / "keyform.yaml").write_text(CONFIG)
    yield
    for file in folder.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file


def run(folder: Path, *argv: str, given: str | None = None, fds: tuple[int, ...] = ()) -> Ran:
    """A process of its own, with ``given`` on its standard input and no terminal."""
    reader, writer = os.pipe()
    os.write(writer, (given or "").encode())
    os.close(writer)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = (reader, out.fileno(), err.fileno())
        code = Forked(["-vv", "-C", str(folder), *argv], streams, pass_fds=fds).wait(120)
        os.close(reader)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
    assert CANARY not in "".join(texts)
    return Ran(code, *texts)


def secret_of(folder: Path, address: str) -> str:
    secret = World(folder).stored(address)
    assert secret is not None
    return secret.reveal()


def test_in_ci_everything_else_is_done_and_what_waits_is_listed(folder: Path) -> None:
    ran = run(folder, "apply", "--auto-approve")
    assert ran.code == 1
    assert "2 steps wait for a person:" in ran.err
    assert "keys.ingest: create at meter, by hand: there is nobody to ask" in ran.err
    assert "keys.snippet: not begun (held back: projects.web comes before its keys" in ran.err
    assert "--secrets-from FILE" in ran.err
    assert "[4/4] keys.ingest: waits for a person" in ran.err
    assert "Apply incomplete: 1 created; 2 waiting for a person; 1 not begun." in ran.out
    world = World(folder)
    assert set(world.state().keys) == {"keys.auto"}
    assert not (folder / ".keyform" / "state.json.journal").exists()
    again = run(folder, "plan")
    assert "Plan: 3 to create; 1 unchanged. 3 changes need a person." in again.out


def test_what_waits_of_a_destroy_is_not_said_to_be_applied(folder: Path) -> None:
    given = f"ingest\t{INGEST}\nprojects.web\tdone\nkeys.snippet\t{SNIPPET}\n"
    assert run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given).code == 0
    ran = run(folder, "destroy", "--auto-approve")
    assert ran.code == 1
    assert "Run `keyform destroy` on a terminal" in ran.err
    assert "`keyform destroy --auto-approve --secrets-from FILE`" in ran.err
    assert "the next `keyform destroy` goes on with the rest" in ran.err
    advice = ran.err[ran.err.index("2 steps wait for a person") :]
    assert "keyform apply" not in advice and "next apply" not in advice


def test_a_rotation_that_is_asked_for_is_a_checklist_and_takes_the_new_secret(folder: Path) -> None:
    given = f"ingest\t{INGEST}\nprojects.web\tdone\nkeys.snippet\t{SNIPPET}\n"
    assert run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given).code == 0
    alone = run(folder, "rotate", "ingest", "--now", "--auto-approve")
    assert (alone.code, secret_of(folder, "keys.ingest")) == (1, INGEST)
    assert "the next `keyform rotate` goes on with the rest" in alone.err
    new = f"rev_mk_tenant1_{CANARY}C4Xy"
    answers = f"ingest\t{new}\nkeys.ingest\tdone\n"
    ran = run(folder, "rotate", "ingest", "--now", "--auto-approve", "--secrets-from", "-", given=answers)
    assert ran.code == 0, ran.err
    assert secret_of(folder, "keys.ingest") == new
    assert len(World(folder).state().keys["keys.ingest"].generations()) == 1
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_a_rollback_needs_nobody(folder: Path) -> None:
    config = CONFIG.replace("secret: rev/ingest}", "secret: rev/ingest, rotation: {overlap: 2d}}")
    (folder / "keyform.yaml").write_text(config)
    given = f"ingest\t{INGEST}\nprojects.web\tdone\nkeys.snippet\t{SNIPPET}\n"
    assert run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given).code == 0
    new = f"ingest\trev_mk_tenant1_{CANARY}C4Xy\n"
    rotated = run(folder, "rotate", "ingest", "--auto-approve", "--secrets-from", "-", given=new)
    assert (rotated.code, "time alone" in " ".join(rotated.err.split())) == (0, True), rotated.err
    back = run(folder, "rollback", "ingest", "--auto-approve")
    assert (back.code, secret_of(folder, "keys.ingest")) == (0, INGEST), back.err
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_json_events_of_what_waits(folder: Path) -> None:
    ran = run(folder, "apply", "--auto-approve", "--format", "json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    waiting = [e["address"] for e in events if e["type"] == "failed"]
    assert waiting == ["projects.web", "keys.ingest"]
    assert {e["diagnostics"][0]["code"] for e in events if e["type"] == "failed"} == {"assisted-pending"}


def test_by_address_from_standard_input(folder: Path) -> None:
    given = f"ingest\t{INGEST}\n\nprojects.web\tdone\nkeys.snippet\t{SNIPPET}\n"
    ran = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given)
    assert ran.code == 0, ran.err
    assert secret_of(folder, "keys.snippet") == SNIPPET
    assert secret_of(folder, "keys.ingest") == INGEST
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_in_the_plans_order_from_a_descriptor(folder: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{SNIPPET}\n{INGEST}\n".encode())
    os.close(writer)
    ran = run(folder, "apply", "--auto-approve", "--secrets-from", f"fd:{reader}", fds=(reader,))
    os.close(reader)
    assert ran.code == 1
    assert "1 step waits for a person:" in ran.err
    assert "projects.web: set origins at analytics" in ran.err
    assert "keys.snippet: not begun" in ran.err
    assert secret_of(folder, "keys.ingest") == INGEST


def test_every_step_in_the_plans_order_from_a_file(folder: Path) -> None:
    file = folder.parent / "answers"
    file.write_text(f"done\n{SNIPPET}\n{INGEST}\n")
    file.chmod(0o600)
    ran = run(folder, "apply", "--auto-approve", "--secrets-from", str(file))
    assert ran.code == 0, ran.err
    assert "can be read by others" not in ran.err
    file.chmod(0o644)
    doomed = run(folder, "destroy", "--auto-approve", "--secrets-from", str(file))
    assert "can be read by others" in doomed.err


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (f"{SNIPPET}\n", "gives 1 answers without addresses, and the plan has 2 keys to make by hand"),
        (f"{SNIPPET}\nkeys.ingest\t{INGEST}\n", "mixes lines with an address and lines without"),
        ("keys.ingest\t\n", "line 1 of standard input has an address and no answer"),
    ],
)
def test_answers_that_do_not_fit_change_nothing(folder: Path, given: str, why: str) -> None:
    ran = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given)
    assert ran.code == 1
    assert why in " ".join(ran.err.split())
    assert World(folder).state().keys == {}


def test_a_wrong_answer_is_told_without_showing_it_and_the_rest_goes_on(folder: Path) -> None:
    given = f"projects.web\tdone\nsnippet\tsk_live_a1b2c3d4_{CANARY}\ningest\t{INGEST}\nother\t{CANARY}\n"
    ran = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given)
    assert ran.code == 1
    assert "the key given for it is not taken: this looks like a key of kind sk" in ran.err
    assert "1 of the answers given are for nothing that is to be done" in ran.err
    assert set(World(folder).state().keys) == {"keys.auto", "keys.ingest"}
    rest = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=f"snippet\t{SNIPPET}\n")
    assert rest.code == 0, rest.err


def test_revoking_by_a_file(folder: Path) -> None:
    given = f"projects.web\tdone\nsnippet\t{SNIPPET}\ningest\t{INGEST}\n"
    assert run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given).code == 0
    half = run(folder, "destroy", "--auto-approve", "--secrets-from", "-", given="ingest\tdone\n")
    assert half.code == 1
    assert set(World(folder).state().keys) == {"keys.snippet"}
    assert run(folder, "destroy", "--auto-approve", "--secrets-from", "-", given="snippet\tdone\n").code == 0
    assert World(folder).state().keys == {}


def test_a_replacement_takes_the_secret_and_then_the_word(folder: Path) -> None:
    given = f"projects.web\tdone\nsnippet\t{SNIPPET}\ningest\t{INGEST}\n"
    assert run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=given).code == 0
    (folder / "keyform.yaml").write_text(CONFIG.replace("kind: pk", "kind: sk"))
    fresh = f"sk_live_a1b2c3d4_{CANARY}"
    half = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given=f"snippet\t{fresh}\n")
    assert half.code == 1
    assert secret_of(folder, "keys.snippet") == fresh
    rest = run(folder, "apply", "--auto-approve", "--secrets-from", "-", given="snippet\tdone\n")
    assert rest.code == 0, rest.err
    assert World(folder).plan().empty


def test_a_descriptor_that_is_none(folder: Path) -> None:
    assert "no file descriptor" in run(folder, "apply", "--auto-approve", "--secrets-from", "fd:x").err
    assert "cannot be read" in run(folder, "apply", "--auto-approve", "--secrets-from", "fd:99").err
    assert "cannot be read" in run(folder, "apply", "--auto-approve", "--secrets-from", "missing").err


def test_the_plan_in_every_format_holds_the_checklist(folder: Path) -> None:
    schema = json.loads(schema_text("plan.schema.json"))
    plan = json.loads(run(folder, "plan", "--format", "json").out)
    jsonschema.validate(plan, schema)
    assert plan["summary"]["by_hand"] == 3
    lines = next(s for s in plan["steps"] if s["address"] == "keys.snippet")["checklist"]
    markdown = run(folder, "plan", "--format", "markdown").out
    text = run(folder, "plan").out
    for number, line in enumerate(lines, 1):
        assert f"{number}. {line}" in markdown
        assert f"{number}. {line}" in text
    assert "4 to create. 3 changes need a person." in markdown
    assert "analytics, meter: keyform sees no listing of keys there" in markdown


METER = """\
version: 1
services: {meter: {type: revenium, mode: assisted, endpoint: "https://elsewhere.example"}}
keys: {reader: {service: meter, kind: read-only, name: Reader, secret: reader}}
"""
READER = f"rev_rk_tenant1_{CANARY}"


def proving(status: int, asked: list[httpx.Request]) -> Wrapping:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if status == 0:
            raise httpx.ConnectError("no route")
        return httpx.Response(status, json={"id": "user_1"})

    return Wrapping(transport=lambda real: httpx.MockTransport(answer))


def given(folder: Path, text: str) -> str:
    file = folder.parent / "answers"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_the_proof_goes_to_the_vendors_documented_call_only(folder: Path, keyform: Keyform) -> None:
    (folder / "keyform.yaml").write_text(METER)
    asked: list[httpx.Request] = []
    answers = given(folder, f"reader\t{READER}\n")
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=proving(200, asked))
    assert ran.code == 0, ran.err
    assert [str(request.url) for request in asked] == ["https://api.revenium.ai/profitstream/v2/api/users/me"]
    assert [request.headers["x-api-key"] for request in asked] == [READER]
    assert CANARY not in ran.out + ran.err


def test_a_key_that_the_vendor_refuses_is_not_kept(folder: Path, keyform: Keyform) -> None:
    (folder / "keyform.yaml").write_text(METER)
    answers = given(folder, f"reader\t{READER}\nreader\tdone\n")
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=proving(403, []))
    assert ran.code == 1
    assert "was minted, could not be kept, and was revoked again" in ran.err
    assert World(folder).state().keys == {}
    assert CANARY not in ran.out + ran.err


def test_a_vendor_out_of_reach_costs_nobody_a_key(folder: Path, keyform: Keyform) -> None:
    (folder / "keyform.yaml").write_text(METER)
    answers = given(folder, f"reader\t{READER}\n")
    clock = World(folder).clock
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=proving(0, []), clock=clock)
    assert ran.code == 0, ran.err
    assert "The new key could not be tried out, and is kept" in ran.err
    assert CANARY not in ran.out + ran.err


class Failing:
    """A store that proves itself and then refuses one write."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, place: Place, secret: Secret, labels: dict[str, str], over: Over) -> str | None:
        raise StoreError(f"{place} cannot be written", "Look at the disk.")


def test_a_store_that_fails_leaves_a_key_to_delete_which_the_next_apply_asks_for(
    folder: Path, keyform: Keyform
) -> None:
    (folder / "keyform.yaml").write_text(METER.replace("read-only", "metering-only"))
    answers = given(folder, f"reader\t{READER.replace('_rk_', '_mk_')}\n")
    failing = Wrapping(store=Failing)
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=failing)
    assert ran.code == 1
    assert "could not be revoked yet" in ran.err
    held = keyform("apply", "--auto-approve")
    assert held.code == 1
    assert "keys.reader: revoke at meter, by hand" in held.err
    answers = given(folder, f"reader\tdone\nreader\t{READER.replace('_rk_', '_mk_')[:-1]}z\n")
    rest = keyform("apply", "--auto-approve", "--secrets-from", answers)
    assert rest.code == 0, rest.err
    assert set(World(folder).state().keys) == {"keys.reader"}


def test_a_crash_between_the_receipt_and_the_state_keeps_what_is_stored(
    folder: Path, keyform: Keyform
) -> None:
    (folder / "keyform.yaml").write_text(METER.replace("read-only", "metering-only"))
    answers = given(folder, f"reader\t{READER.replace('_rk_', '_mk_')}\n")

    class Dying(Failing):
        def put(self, place: Place, secret: Secret, labels: dict[str, str], over: Over) -> str | None:
            self._store.put(place, secret, labels, over)
            raise KeyboardInterrupt

    dying = Wrapping(store=Dying)
    assert keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=dying).code == 130
    rest = keyform("apply", "--auto-approve")
    assert rest.code == 0, rest.err
    assert "which the interrupted apply minted and stored" in " ".join(rest.err.split())
    assert set(World(folder).state().keys) == {"keys.reader"}


def test_a_key_that_exists_is_adopted_as_declared(folder: Path, keyform: Keyform) -> None:
    (folder / "keyform.yaml").write_text(METER + "imports: [{key: reader, id: Ab3x}]\n")
    ran = keyform("apply", "--auto-approve")
    assert ran.code == 0, ran.err
    assert World(folder).state().keys["keys.reader"].current.id == "Ab3x"
    assert World(folder).plan().empty
    (folder / "keyform.yaml").write_text(METER.replace("name: Reader", "name: Finance"))
    assert 'Change the name from "Reader" to "Finance".' in keyform("plan").out


def test_doctor_and_generate_say_that_there_is_nothing_to_reach(folder: Path, keyform: Keyform) -> None:
    (folder / "keyform.yaml").write_text(METER)
    assert "worked by hand in its dashboard" in keyform("doctor").out
    assert "no listing of its keys" in keyform("generate", "meter").err
    assert "a person works on the page Connections > SDK Setup" in " ".join(
        keyform("services", "revenium").out.split()
    )


def test_a_lost_answer_of_a_service_that_lists_nothing_is_told_until_it_is_done(
    folder: Path, keyform: Keyform, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "keyform.yaml").write_text(
        "version: 1\nservices: {meter: {type: climeter, credential: '${env:METER_TOKEN}'}}\n"
        "keys: {a: {service: meter, name: Lost, scopes: ['events:write'], secret: a}}\n"
    )

    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    monkeypatch.setenv("METER_TOKEN", "a.jwt.token")
    losing = Wrapping(transport=lambda real: httpx.MockTransport(lose))
    clock = World(folder).clock
    ran = keyform("apply", "--auto-approve", wrap=losing, clock=clock)
    assert ran.code == 1
    doubt = "keys.a: a key named 'Lost' may have been minted at meter on 2026-11-20T12:00:00Z"
    assert doubt in " ".join(ran.err.split())
    assert "unsettled" not in ran.err
    assert not (folder / ".keyform" / "state.json.journal").exists()
    assert "keys.a" in keyform("show").out and "Lost" in keyform("show").out
    assert "1 key may exist that nobody owns" in keyform("doctor").out
    (folder / "keyform.yaml").write_text(CONFIG)  # where `meter` is another service
    plan = keyform("plan", "--format", "json", clock=clock)
    assert [d["code"] for d in json.loads(plan.out)["diagnostics"] if d["severity"] == "warning"] == [
        "perhaps-stray"
    ]
    assert doubt in " ".join(keyform("plan", "--format", "markdown", clock=clock).out.split())
    schema = json.loads(schema_text("state.schema.json"))
    jsonschema.validate(json.loads(keyform("show", "--format", "json").out), schema)
    answers = given(folder, f"projects.web\tdone\nsnippet\t{SNIPPET}\ningest\t{INGEST}\na\tdone\n")
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, clock=clock)
    assert ran.code == 0, ran.err
    assert "Recovered: keys.a: a person has looked for the key that meter may have minted" in ran.err
    assert "are for nothing that is to be done" not in ran.err
    assert "perhaps" not in keyform("show").out
    assert doubt not in " ".join(keyform("plan", clock=clock).err.split())


def test_origins_go_by_documented_calls_where_there_is_a_credential(
    folder: Path, keyform: Keyform, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "keyform.yaml").write_text(
        "version: 1\nservices: {shop: {type: revkeen, mode: assisted, credential: '${env:SHOP_TOKEN}'}}\n"
        "projects: {storefront: {service: shop, allowed_origins: ['https://new.example']}}\n"
        "keys: {a: {service: shop, name: A, scopes: ['checkout:write'], secret: a}}\n"
    )
    monkeypatch.setenv("SHOP_TOKEN", "rk_live_CredentialOfTheShop")
    origins = {"o1": "https://old.example"}
    hosts = set()

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        assert request.headers["Authorization"] == "Bearer rk_live_CredentialOfTheShop"
        assert request.url.path.startswith("/v2/storefront/origins")
        if request.method == "POST":
            origins[f"o{len(origins) + 1}"] = json.loads(request.content)["origin"]
        elif request.method == "DELETE":
            del origins[request.url.path.rpartition("/")[2]]
        return httpx.Response(200, json={"data": [{"id": i, "origin": o} for i, o in origins.items()]})

    wrap = Wrapping(transport=lambda real: httpx.MockTransport(answer))
    plan = keyform("plan", wrap=wrap)
    assert plan.code == 0, plan.err
    assert "Plan: 1 to create, 1 to update; 1 origin loses access. 1 change needs a person." in plan.out
    answers = given(folder, f"a\trk_live_{CANARY}\n")
    ran = keyform("apply", "--auto-approve", "--secrets-from", answers, wrap=wrap)
    assert ran.code == 0, ran.err
    assert origins == {"o2": "https://new.example"}
    assert hosts == {"api.revkeen.com"}
    assert keyform("plan", "--detailed-exitcode", wrap=wrap).code == 0
