"""The promises of DESIGN section 1, one by one; promise 3 has test_crashes.py and test_kills.py."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.engine.options import Options
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.errors import ConfigError, KeyformError, PlanError, StoreError
from keyform.model import KeySpec, Place, Secret
from tests.world import World, inspect

TWO = """
version: 1
services: {sandbox: {type: embedded}}
keys:
  one: {service: sandbox, secret: team/one}
  two: {service: sandbox, kind: read, secret: team/two}
"""


class Store:
    """A store with one method replaced."""

    def __init__(self, inner: Any, **methods: Callable[..., Any]) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


class Requests:
    """Notes every request, and lets a test answer some itself."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None) -> None:
        self.seen: list[str] = []
        self._answer = answer

    def wrapping(self) -> Wrapping:
        return Wrapping(
            transport=lambda inner: httpx.MockTransport(lambda request: self._handle(inner, request))
        )

    def _handle(self, inner: httpx.BaseTransport, request: httpx.Request) -> httpx.Response:
        self.seen.append(f"{request.method} {request.url.path}")
        answer = self._answer(request) or inner.handle_request(request)
        answer.read()
        return answer

    def writes(self) -> list[str]:
        return [line for line in self.seen if not line.startswith("GET ")]


def refuse(*args: Any) -> Any:
    raise StoreError("the disk is full", "Make room.")


# 1. A secret exists in two places only


def test_a_secret_shows_itself_to_nobody_who_does_not_ask() -> None:
    secret = Secret("sk_live_canary")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", "%s" % secret, repr([secret])]  # noqa: UP031
    assert all("canary" not in text for text in shown)
    for refused in (lambda: json.dumps(secret), lambda: pickle.dumps(secret), lambda: hash(secret)):
        with pytest.raises(TypeError):
            refused()
    assert secret.reveal() == "sk_live_canary"


def test_no_file_log_or_traceback_holds_a_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.NOTSET)
    caplog.set_level(logging.DEBUG, logger="httpcore")
    world.write(TWO).apply()
    secrets = [world.stored(address) for address in ("keys.one", "keys.two")]
    texts = [secret.reveal() for secret in secrets if secret]
    assert len(texts) == 2

    def explode(place: Place, secret: Secret, *rest: object) -> None:
        raise ValueError(f"a careless plug-in quotes {secret.reveal()}")

    world.write(TWO.replace("kind: read", "kind: secret"))
    outcome = world.apply(wrap=Wrapping(store=lambda inner: Store(inner, put=explode)))
    assert [d.code for d in outcome.failed] == ["bug", "mint-undone"]
    trace = ""
    try:
        world.apply(wrap=Wrapping(store=lambda inner: Store(inner, probe=refuse)))
    except StoreError:
        trace = traceback.format_exc()
    everything = [
        caplog.text,
        trace,
        repr(world.told),
        repr(outcome),
        repr(world.state()),
        str(outcome.failed),
    ]
    for file in world.folder.rglob("*"):
        if file.is_file() and file.suffix != ".age":
            everything.append(file.read_bytes().decode(errors="replace"))
    assert not [text for text in texts if any(text in where for where in everything)]
    assert "quotes sk_" not in "".join(everything)


def test_the_state_keeps_a_fingerprint_with_a_salt_of_its_own(world: World) -> None:
    world.write(TWO).apply()
    prints = [record.current.fingerprint or "" for record in world.state().keys.values()]
    salts = {text.split(":")[1] for text in prints}
    assert all(text.startswith("hmac-sha256:") for text in prints)
    assert len(salts) == 2


# 2. No live key without its stored secret


def test_nothing_is_minted_before_every_store_is_proven(world: World) -> None:
    requests = Requests()
    wrap = replace(requests.wrapping(), store=lambda inner: Store(inner, probe=refuse))
    with pytest.raises(StoreError, match="the disk is full"):
        world.write(TWO).apply(wrap=wrap)
    assert requests.writes() == []
    assert world.live() == {}


def test_a_key_that_cannot_be_stored_is_revoked_in_the_same_run(world: World) -> None:
    outcome = world.write(TWO).apply(wrap=Wrapping(store=lambda inner: Store(inner, put=refuse)))
    assert {d.code for d in outcome.failed} == {"store", "mint-undone"}
    assert world.live() == {}
    assert world.state().keys == {}
    assert not world.apply().failed
    assert not inspect(world)


def test_what_does_not_read_back_is_not_stored(world: World) -> None:
    outcome = world.write(TWO).apply(
        wrap=Wrapping(store=lambda inner: Store(inner, get=lambda place: Secret("something else"))),
        overwrite=True,
    )
    assert "does not read back" in outcome.failed[0].summary
    assert world.live() == {}


# 4. A rotation or replacement never leaves zero working keys


@pytest.mark.parametrize("rotation", ["", "rotation: {overlap: 2d},"])
def test_the_new_key_works_and_is_stored_before_the_old_one_is_revoked(world: World, rotation: str) -> None:
    text = (
        "version: 1\nservices: {sandbox: {type: embedded}}\nkeys: {one: {service: sandbox, ROT secret: one}}"
    )
    world.write(text.replace("ROT", rotation)).apply()
    old = world.stored("keys.one")
    (old_key,) = world.live().values()
    broken: list[str] = []

    def watch(request: httpx.Request) -> None:
        with world.open(Wrapping()) as ws:
            stored = ws.store("local").get(Place("local", "one"))
        works = [
            secret
            for secret in (old, stored)
            if secret and any(world.works(secret, k) for k in world.live().values())
        ]
        if not works:
            broken.append(f"before {request.method} {request.url.path}")
        if request.method == "DELETE" and stored == old:
            broken.append("the old key is revoked while the store still holds its secret")

    world.write(text.replace("ROT", rotation + "environment: test,"))
    assert not world.apply(wrap=Requests(watch).wrapping()).failed
    assert broken == []
    new = world.stored("keys.one")
    (new_key,) = [key for key in world.live().values() if key.id != old_key.id]
    assert new is not None and old is not None
    assert world.works(new, new_key)
    assert world.works(old, old_key) is bool(rotation)


def test_the_old_key_is_revoked_when_its_overlap_is_over(world: World) -> None:
    text = """
version: 1
services: {sandbox: {type: embedded}}
keys: {one: {service: sandbox, rotation: {every: 30d, overlap: 3d}, secret: one}}
"""
    world.write(text).apply()
    (first,) = world.live()
    world.clock.move(days=30)
    assert [change.action for change in world.plan().changes] == ["rotate"]
    world.apply()
    assert len(world.live()) == 2
    world.clock.move(days=2, hours=23)
    assert world.plan().empty
    world.clock.move(hours=1)
    (change,) = world.plan().changes
    assert (change.action, change.key_id) == ("revoke", first)
    world.apply()
    assert first not in world.live()
    assert not inspect(world)
    assert world.plan().empty


def test_a_new_key_that_does_not_work_leaves_the_old_one_and_its_secret_alone(world: World) -> None:
    world.write(TWO).apply()
    before = {address: world.stored(address) for address in ("keys.one", "keys.two")}
    refusal = httpx.Response(401, json={"error": {"code": "invalid_api_key", "message": "no", "details": {}}})
    requests = Requests(lambda request: refusal if request.url.path == "/v1/verify" else None)
    world.write(TWO.replace("service: sandbox,", "service: sandbox, environment: test,"))
    outcome = world.apply(wrap=requests.wrapping())
    assert "mint-undone" in {d.code for d in outcome.failed}
    assert {address: world.stored(address) for address in before} == before
    assert {key.spec.environment for key in world.live().values()} == {"live"}


# 5. keyform touches only what it owns


def test_keys_that_keyform_does_not_own_are_counted_and_left_alone(world: World) -> None:
    service = world.write(TWO).service()
    service.create(KeySpec(kind="secret", environment="live", name="theirs", scopes=("events:write",)), "x/1")
    service.close()
    assert world.plan().unmanaged == (("sandbox", 1),)
    world.apply()
    world.apply(Options(mode="destroy"))
    assert [key.spec.name for key in world.live().values()] == ["theirs"]


@pytest.mark.parametrize("half", ["status", "half", "html"])
def test_nothing_is_revoked_on_the_strength_of_an_incomplete_listing(world: World, half: str) -> None:
    world.write(TWO).apply()
    bodies = {
        "status": httpx.Response(500, json={"error": {"code": "oops", "message": "", "details": {}}}),
        "half": httpx.Response(200, content=b'{"data": [{"id": "key_'),
        "html": httpx.Response(200, html="<html>maintenance</html>"),
    }
    requests = Requests(lambda request: bodies[half] if request.url.path == "/v1/keys" else None)
    world.write(TWO.replace("two:", "three:").replace("team/two", "team/three"))
    with pytest.raises(KeyformError):
        world.apply(wrap=requests.wrapping())
    assert requests.writes() == []
    assert len(world.live()) == 2


# 6. A plan is inert and binding


def test_planning_writes_nothing_anywhere(world: World) -> None:
    world.write(TWO).apply()
    world.write(TWO.replace("kind: read", "kind: secret") + "  three: {service: sandbox, secret: three}\n")
    before = _digests(world.folder)
    requests = Requests()
    world.wrap = requests.wrapping()
    assert not world.plan().empty
    assert requests.writes() == []
    assert _digests(world.folder) == before


@pytest.mark.parametrize("mode", [0o755, 0o555])
@pytest.mark.parametrize("existing", [False, True], ids=["no folder", "an empty folder"])
def test_planning_leaves_nothing_in_a_fresh_folder(world: World, mode: int, existing: bool) -> None:
    project = "projects: {web: {service: sandbox, allowed_origins: ['https://a.example']}}\n"
    world.write(TWO + project)
    if existing:
        (world.folder / ".keyform" / "service").mkdir(parents=True)
    before = sorted(world.folder.rglob("*"))
    world.folder.chmod(mode)
    assert [change.action for change in world.plan().changes] == ["create"] * 3
    assert run(["-C", str(world.folder), "validate"]) == 0
    assert run(["-C", str(world.folder), "plan"]) == 0
    assert run(["-C", str(world.folder), "show"]) == 0
    assert sorted(world.folder.rglob("*")) == before
    world.folder.chmod(0o755)
    assert not world.apply().failed
    assert not inspect(world)


def test_a_service_that_comes_to_be_meanwhile_is_seen(world: World) -> None:
    world.write(TWO)
    early = world.service()
    assert early.list().keys == ()
    world.apply()
    assert len(early.list().keys) == 2
    early.close()


def test_a_plan_is_carried_out_as_it_was_reviewed_or_not_at_all(world: World) -> None:
    world.write(TWO)
    data = dump_plan(world.plan())
    world.write(TWO + "  three: {service: sandbox, secret: three}\n")
    with pytest.raises(PlanError, match="configuration or its variables changed"):
        world.apply(plan=load_plan(data, "plan"))
    assert world.live() == {}
    world.write(TWO)
    world.apply(plan=load_plan(data, "plan"))
    assert sorted(key.spec.name for key in world.live().values()) == ["one", "two"]
    with pytest.raises(PlanError, match="stale"):
        world.apply(plan=load_plan(data, "plan"))


def test_an_altered_plan_is_refused(world: World) -> None:
    data = dump_plan(world.write(TWO).plan()).replace(b"team/one", b"team/two")
    with pytest.raises(PlanError, match="altered"):
        load_plan(data, "plan")


# 7. Bad input changes nothing


def test_bad_input_changes_nothing_and_all_of_it_is_told(world: World) -> None:
    world.write(TWO).apply()
    before = _digests(world.folder)
    world.write(TWO.replace("kind: read", "kind: raed").replace("team/one", "../one"))
    with pytest.raises(ConfigError) as refused:
        world.apply()
    places = [str(diagnostic.location) for diagnostic in refused.value.diagnostics]
    assert [place.split(":")[:2] for place in places] == [["keyform.yaml", "5"], ["keyform.yaml", "6"]]
    world.write(TWO)
    assert _digests(world.folder) == before


def _digests(folder: Path) -> dict[str, str]:
    """Every file but those that the database of the service keeps beside itself while it is read."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(("-wal", "-shm"))
    }
