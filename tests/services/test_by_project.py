"""A service that lists keys project by project, with ids that count within their project."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.conformance.service import ServiceConformance
from keyform.errors import Refused, ServiceError
from keyform.model import KeySpec, ownership_label
from keyform.ports import Service
from keyform.services.canary import canary_spec
from keyform.services.check import check_profile
from keyform.services.trial import try_profile
from tests.services.conftest import ManualClock
from tests.services.speaking import speaking
from tests.world import MovedClock, World

PROFILE = """\
version: 1
title: Harbour
base_url: https://api.harbour.example
auth: {header: X-Harbour, value: "{credential}"}
errors: {code: [error], message: [text]}
names: {statuses: {active: open, revoked: closed}}
marker: {in: description, suffix: " [keyform:{label}]"}
kinds: {key: {project: required}}
default_kind: key
fields: [project, name, description]
mutable: [name]
shown: [project, name, description]
key:
  id: {at: number, number: true}
  name: label
  description: note
  status: state
operations:
  list:
    backing: documented
    parents:
      path: /v1/projects
      query: {page: "{page}", size: "{limit}"}
      items: projects
      id: slug
      where: {archived: false}
      paging: {by: page, size: 2, pages: pages}
    path: /v1/projects/{project}/keys
    query: {after: "{cursor}"}
    items: keys
    paging: {by: cursor, next: next}
  read: {backing: documented, path: "/v1/projects/{project}/keys/{id}", key: ""}
  create:
    backing: documented
    path: /v1/projects/{project}/keys
    body: {label: "{name}", note: "{description}"}
    key: key
    secret: token
  update:
    backing: documented
    method: PATCH
    path: /v1/projects/{project}/keys/{id}
    fields: {name: {label: "{name}"}}
    key: ""
  revoke:
    backing: documented
    method: DELETE
    path: /v1/projects/{project}/keys/{id}
    accept: [404 no_key]
  prove: {backing: documented, path: /v1/me, id: number, parent: project}
  own_key: {backing: documented, path: /v1/me, id: number, parent: project}
"""

CREDENTIAL = "CANARY-credential"
PROJECTS = ("web", "team/blue 100%", "ops")


class Harbour:
    """Its projects and their keys. Every project numbers its keys from 1."""

    def __init__(self, *projects: str) -> None:
        self.keys: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in projects}
        self.keys["admin"] = {1: {"label": "keyform", "note": "", "number": 1, "state": "open"}}
        self.tokens = {CREDENTIAL: ("admin", 1)}
        self.page = 2
        self.refused: dict[str, int] = {}
        self.lose = False
        self.asked: list[str] = []
        self._turn = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._turn:
            path = request.url.raw_path.decode().partition("?")[0]
            self.asked.append(f"{request.method} {path}")
            parts = [unquote(part) for part in path.strip("/").split("/")[1:]]
            query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
            status, body = self.answer(
                request.method,
                parts,
                query,
                request.headers["X-Harbour"],
                json.loads(request.content or b"{}"),
            )
            if self.lose and request.method == "POST":
                self.lose = False
                raise httpx.ReadError("lost")
        return httpx.Response(status, json=body) if body is not None else httpx.Response(status)

    def answer(
        self, method: str, parts: list[str], query: dict[str, str], token: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        project, number = self.tokens.get(token, ("", 0))
        if not project or self.keys[project][number]["state"] != "open":
            return 401, {"error": "bad_key", "text": "Unknown key."}
        if parts == ["me"]:
            return 200, {"project": project, "number": str(number)}
        if len(parts) == 1:
            first = (int(query["page"]) - 1) * self.page
            shown = [
                {"slug": name, "archived": name == "old"} for name in list(self.keys)[first:][: self.page]
            ]
            return 200, {"projects": shown, "pages": -(-len(self.keys) // self.page)}
        if parts[1] in self.refused:
            return self.refused[parts[1]], {"error": "no_right", "text": "Not yours."}
        if parts[1] not in self.keys:
            return 404, {"error": "no_project", "text": "There is no such project."}
        keys = self.keys[parts[1]]
        if len(parts) == 3:
            return self.create(parts[1], body) if method == "POST" else self.listed(keys, query)
        key = keys.get(int(parts[3])) if parts[3].isdecimal() else None
        if key is None or (method == "DELETE" and key["state"] == "closed"):
            return 404, {"error": "no_key", "text": "There is no such key."}
        if method == "DELETE":
            key["state"] = "closed"
            return 204, None
        key.update(body)
        return 200, key

    def listed(self, keys: dict[int, dict[str, Any]], query: dict[str, str]) -> tuple[int, Any]:
        after = [key for number, key in keys.items() if number > int(query.get("after", 0))]
        page = after[: self.page]
        return 200, {"keys": page, "next": page[-1]["number"] if len(after) > len(page) else None}

    def create(self, project: str, body: dict[str, Any]) -> tuple[int, Any]:
        number = len(self.keys[project]) + 1
        key = {"label": "", "note": "", **body, "number": number, "state": "open"}
        token = f"harbour-{project}-{number}-CANARY"
        self.keys[project][number], self.tokens[token] = key, (project, number)
        return 201, {"key": key, "token": token}


@pytest.fixture
def harbour() -> Harbour:
    return Harbour(*PROJECTS)


@pytest.fixture
def service(harbour: Harbour) -> Any:
    return speaking(PROFILE, harbour)


def spec_in(project: str, name: str) -> KeySpec:
    return KeySpec(kind="key", project=project, name=name)


class TestHarbour(ServiceConformance):
    @pytest.fixture
    def service(self, harbour: Harbour) -> Any:
        return speaking(PROFILE, harbour)

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: spec_in("team/blue 100%", name)

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(spec, name="renamed")

    @pytest.fixture
    def lose_next_answer(self, harbour: Harbour) -> Callable[[], None]:
        return lambda: setattr(harbour, "lose", True)

    @pytest.fixture
    def break_listing(self, harbour: Harbour, service: Service) -> Callable[[], None]:
        def arrange() -> None:
            for number in range(3):
                service.create(spec_in("web", f"paged-{number}"), ownership_label("lineage", str(number)))
            harbour.refused["team/blue 100%"] = 500

        return arrange


def test_keys_of_all_projects_are_listed_each_in_its_project(harbour: Harbour, service: Any) -> None:
    for project in PROJECTS:
        for name in ("a", "b", "c"):
            service.create(spec_in(project, name), f"lineage/{project}{name}")
    listing = service.list()
    assert listing.complete
    assert [(key.id, key.spec.project) for key in listing.keys][:4] == [
        ("web/1", "web"),
        ("web/2", "web"),
        ("web/3", "web"),
        ("team%2Fblue 100%25/1", "team/blue 100%"),
    ]
    assert len({key.id for key in listing.keys}) == 10
    assert "GET /v1/projects/team%2Fblue%20100%25/keys" in harbour.asked


def test_a_call_about_a_key_goes_to_its_project(harbour: Harbour, service: Any) -> None:
    for project in ("web", "ops"):
        service.create(spec_in(project, "same number"), f"lineage/{project}")
    service.revoke("ops/1")
    assert [harbour.keys[project][1]["state"] for project in ("web", "ops")] == ["open", "closed"]
    with pytest.raises(ServiceError, match="'1' is no id of a key"):
        service.revoke("1")


def test_keyforms_own_key_is_told_with_its_project(service: Any) -> None:
    assert service.own_key() == "admin/1"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_project_that_cannot_be_read_makes_the_listing_incomplete(
    harbour: Harbour, service: Any, status: int
) -> None:
    for project in ("web", "ops"):
        service.create(spec_in(project, "k"), f"lineage/{project}")
    harbour.refused["team/blue 100%"] = status
    listing = service.list()
    assert not listing.complete
    assert {key.id for key in listing.keys} == {"web/1", "ops/1", "admin/1"}
    assert "listing the keys" in listing.problem.summary
    assert "team/blue 100%" in listing.problem.summary


def test_a_refused_credential_is_no_incomplete_listing(harbour: Harbour, service: Any) -> None:
    harbour.tokens.clear()
    with pytest.raises(Refused, match="401"):
        service.list()


def test_a_project_that_does_not_count_is_not_asked(harbour: Harbour, service: Any) -> None:
    harbour.keys["old"] = {}
    assert service.list().complete
    assert not [call for call in harbour.asked if "/old/" in call]


def test_too_many_projects_are_an_incomplete_listing(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyform.services.parents.MOST_PARENTS", 2)
    listing = service.list()
    assert not listing.complete
    assert "more than 2 projects" in listing.problem.summary


CONFIG = """\
version: 1
services: {harbour: {type: ./harbour.yaml, credential: "${env:HARBOUR}"}}
projects: {web: {service: harbour}, blue: {service: harbour, id: team/blue 100%}}
keys:
  one: {service: harbour, project: web, name: One, secret: one}
  two: {service: harbour, project: blue, name: Two, secret: two}
"""


def test_from_yaml_to_stored_secret_and_back(
    harbour: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARBOUR", CREDENTIAL)
    (tmp_path / "harbour.yaml").write_text(PROFILE)
    wrap = Wrapping(transport=lambda _: httpx.MockTransport(harbour))
    world = World(tmp_path, MovedClock(), wrap)

    def applied(config: str) -> list[str]:
        outcome = world.write(config).apply()
        assert not outcome.failed, outcome.failed
        assert world.plan().empty
        return sorted(record.current.id for record in world.state().keys.values())

    assert applied(CONFIG) == ["team%2Fblue 100%25/1", "web/1"]
    stored = world.stored("keys.two")
    assert stored is not None
    assert harbour.tokens[stored.reveal()] == ("team/blue 100%", 1)
    # A rename is sent to the key's own project; another project needs a new key.
    assert applied(CONFIG.replace("Two", "Zwei")) == ["team%2Fblue 100%25/1", "web/1"]
    assert harbour.keys["team/blue 100%"][1]["label"] == "Zwei"
    assert applied(CONFIG.replace("project: blue", "project: web")) == ["web/1", "web/2"]
    assert harbour.keys["team/blue 100%"][1]["state"] == "closed"
    assert applied(CONFIG.partition("keys:")[0]) == []
    assert {key["state"] for name in PROJECTS for key in harbour.keys[name].values()} == {"closed"}


def test_a_key_without_a_project_is_refused_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARBOUR", CREDENTIAL)
    (tmp_path / "harbour.yaml").write_text(PROFILE)
    (tmp_path / "keyform.yaml").write_text(CONFIG.replace("project: web, ", ""))
    assert run(["-C", str(tmp_path), "validate"], clock=MovedClock()) == 1
    assert "Harbour keys need a `project`" in capsys.readouterr().err


def test_a_trial_passes_every_step(harbour: Harbour) -> None:
    service = speaking(PROFILE, harbour, ManualClock())
    trials = list(try_profile(service, canary_spec(service.profile, project="web")))
    assert {trial.step: trial.outcome for trial in trials if trial.outcome != "passed"} == {}
    assert {key["state"] for key in harbour.keys["web"].values()} == {"closed"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "path: /v1/projects/{project}/keys\n    query",
            "path: /v1/keys\n    query",
            "nothing says which project",
        ),
        ("fields: [project, ", "fields: [", "fields: keys are listed by project, so that each has one"),
        ("shown: [project, ", "shown: [", "shown: keys are listed by project, so that each has one"),
        ("{key: {project: required}}", "{key: {}}", "kinds.key: keys are listed by project"),
        ("kinds: {key: {project: required}}\ndefault_kind: key\n", "", "nothing demands that a key has one"),
        ("  name: label\n", "  name: label\n  project: p\n", "the project of a key is the one that it is"),
        (
            "/v1/me, id: number, parent: project}\n  own",
            "/v1/me, id: number}\n  own",
            "nothing tells that of this id",
        ),
        ("      id: slug\n", "", "`id` is missing"),
        ('page: "{page}", ', "", "pages are named by their page"),
        ("      items: projects\n", "      items: projects[x]\n", "is no path"),
        ("path: /v1/projects\n", "path: /v1/{project}\n", "`{project}` has no value here"),
        ("path: /v1/projects\n", "path: v1/projects\n", "a path begins with one /"),
    ],
)
def test_what_a_check_says_of_such_a_profile(before: str, after: str, said: str) -> None:
    assert check_profile(PROFILE.encode(), "harbour.yaml") == ()
    assert before in PROFILE
    found = check_profile(PROFILE.replace(before, after).encode(), "harbour.yaml")
    assert any(said in diagnostic.summary for diagnostic in found), found
