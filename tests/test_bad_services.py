"""A key service that answers badly: through the command line, each is told clearly, and nothing is revoked or
lost. Once the service is well again, one apply brings everything to what is declared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.cli.main import run
from keyform.reference.app import ReferenceApp, create_app
from keyform.services import paging
from keyform.services.embedded import InProcess
from tests.world import MovedClock, World

ROOT = "root_CANARY-of-the-bad-services"
SERVICES = {
    "embedded": 'type: embedded, endpoint: "http://localhost:1", credential: "${env:ROOT}"',
    "unkey": 'type: unkey, api_id: api_keyform, endpoint: "http://localhost:1", credential: "${env:ROOT}"',
}
BEFORE = """\
  kept: {service: it, name: Kept, scopes: ["events:read"], secret: kept}
  edited: {service: it, name: Edited, scopes: ["events:read"], secret: edited}
  dropped: {service: it, name: Dropped, scopes: ["events:read"], secret: dropped}
"""
AFTER = """\
  kept: {service: it, name: Kept, scopes: ["events:read"], secret: kept}
  edited: {service: it, name: Edited, scopes: ["events:read", "events:write"], secret: edited}
  added: {service: it, name: Added, scopes: ["events:read"], secret: added}
"""

Answer = Callable[[httpx.Request, httpx.Response], httpx.Response]


class Bad(InProcess):
    """The reference service, whose answers to some requests are turned into others."""

    def __init__(self, app: ReferenceApp) -> None:
        super().__init__(app)
        self.spoil: Answer | None = None
        self.listing_only = True
        self.changes: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        listing = request.method == "GET" or request.url.path.endswith(("listKeys", "whoami", "verify"))
        if not listing:
            self.changes.append(f"{request.method} {request.url.path}")
        response = super().handle_request(request)
        if self.spoil is None or listing is not self.listing_only:
            return response
        response.read()
        return self.spoil(request, response)

    def close(self) -> None:
        pass


class Bench:
    """A folder with three applied keys, and a second configuration that edits, drops and adds one."""

    def __init__(self, folder: Path, service: str) -> None:
        self.clock = MovedClock()
        self.app = create_app(
            folder / "data",
            root_token=ROOT,
            clock=lambda: self.clock.now().timestamp(),
            service=None if service == "embedded" else service,
        )
        self.bad = Bad(self.app)
        self.wrap = Wrapping(transport=lambda _: self.bad)
        self.folder = folder / "work"
        self.folder.mkdir()
        self.world = World(self.folder, self.clock, self.wrap)
        self.head = f"version: 1\nservices: {{it: {{{SERVICES[service]}}}}}\nkeys:\n"
        self.declare(BEFORE)
        assert self.run("apply", "--auto-approve") == 0
        self.declare(AFTER)
        self.bad.changes.clear()

    def declare(self, keys: str) -> None:
        (self.folder / "keyform.yaml").write_text(self.head + keys)

    def run(self, *arguments: str) -> int:
        return run(["-C", str(self.folder), *arguments], clock=self.clock, wrap=self.wrap)

    def files(self) -> dict[str, bytes]:
        """State and stored secrets."""
        return {
            str(file.relative_to(self.folder)): file.read_bytes()
            for file in (self.folder / ".keyform").rglob("*")
            if file.is_file() and file.suffix in (".json", ".age")
        }

    def live(self) -> dict[str, tuple[str, ...]]:
        """Names and scopes of the active keys, as the service really has them."""
        spoil, self.bad.spoil = self.bad.spoil, None
        with self.world.open() as ws:
            keys = [key for key in ws.service("it").list().keys if key.status == "active"]
        self.bad.spoil = spoil
        assert len({key.spec.name for key in keys}) == len(keys), "a key was minted twice"
        return {key.spec.name: key.spec.scopes for key in keys}

    def check_well_again(self) -> None:
        self.bad.spoil = None
        assert self.run("apply", "--auto-approve") == 0
        assert self.run("plan", "--detailed-exitcode") == 0
        assert self.live() == {
            "Kept": ("events:read",), "Edited": ("events:read", "events:write"), "Added": ("events:read",),
        }  # fmt: skip
        stored = {file.name for file in (self.folder / ".keyform" / "secrets").rglob("*.age")}
        assert stored == {"kept.age", "edited.age", "added.age"}
        with self.world.open() as ws:
            for record in ws.read_state()[0].keys.values():
                secret = ws.store("local").get(record.current.places[0])
                key = ws.service("it").list().keys
                live = next(k for k in key if k.id == record.current.id)
                assert secret is not None
                assert ws.service("it").prove(secret, live) in (record.current.id, None)


@pytest.fixture(params=SERVICES)
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ROOT", ROOT)
    made = Bench(tmp_path, request.param)
    yield made
    made.app.close()


def html(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return httpx.Response(200, html="<html><title>Sign in</title></html>")


def malformed(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "application/json"}, content=response.content[:-9])


def other_shape(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return httpx.Response(200, json=[1, "two", None])


def half_keys(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    body = response.json()
    if isinstance(body.get("data"), list):
        for entry in body["data"]:
            entry.pop("id", None)
            entry.pop("keyId", None)
    return httpx.Response(200, json=body)


def half_listing(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """One page, then the second fails."""
    if b"cursor" in request.url.query or b'"cursor":"more"' in request.content.replace(b" ", b""):
        return httpx.Response(500, json={"error": {"code": "broken", "message": "later"}})
    return httpx.Response(200, json=_following(response, "more", keep=1))


def for_ever(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """Other keys again and again, each time with another cursor for the next."""
    if isinstance(response.json().get("data"), list):
        first_page.append(response.json())
    counted[0] += 1
    more = json.loads(json.dumps(first_page[-1]))
    for key in more["data"]:
        name = "keyId" if "keyId" in key else "id"
        key[name] += f"-{counted[0]}"
    return httpx.Response(200, json=_following(httpx.Response(200, json=more), f"page-{counted[0]}"))


def round_and_round(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """The first page, and then empty ones that all point at the same next one."""
    if isinstance(response.json().get("data"), list):
        first_page.append(_following(response, "the-same"))
        return httpx.Response(200, json=first_page[-1])
    return httpx.Response(200, json={**first_page[-1], "data": []})


def repeating(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """The first page again and again."""
    if isinstance(response.json().get("data"), list):
        first_page.append(_following(response, "the-same"))
    return httpx.Response(200, json=first_page[-1])


def silent(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    raise httpx.ReadTimeout("nothing came", request=request)


def failing(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    return httpx.Response(503, html="<h1>Service Unavailable</h1>")


def silent_after_a_page(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    answered = half_listing(request, response)
    return silent(request, response) if answered.status_code == 500 else answered


counted = [0]
first_page: list[Any] = []


def _following(response: httpx.Response, cursor: str, keep: int | None = None) -> Any:
    body = response.json()
    if not isinstance(body.get("data"), list):
        return body
    body["data"] = body["data"][:keep]
    if "pagination" in body:
        body["pagination"] = {"cursor": cursor, "hasMore": True}
    else:
        body["next_cursor"] = cursor
    return body


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (html, "the answer is text/html, not JSON"),
        (malformed, "the answer is not whole JSON"),
        (other_shape, "a page without a list of entries"),
        (half_keys, "a key without an id"),
        (half_listing, "page 2: "),
        (for_ever, "it has not ended after 40 pages"),
        (round_and_round, "points back to an earlier page"),
        (repeating, "page 2 repeats an id"),
        (silent, "no answer came from localhost:1 within 30 s"),
        (silent_after_a_page, "no answer came from localhost:1 within 30 s"),
        (failing, "503"),
    ],
)
def test_a_listing_that_cannot_be_read_changes_nothing(
    bench: Bench,
    spoil: Answer,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(paging, "MOST_PAGES", 40)
    before, live = bench.files(), bench.live()
    bench.bad.spoil = spoil
    capsys.readouterr()
    for verb in (("plan",), ("apply", "--auto-approve"), ("destroy", "--auto-approve")):
        assert bench.run(*verb) == 1, verb
        told = " ".join(capsys.readouterr().err.split())
        assert "error: " in told
        assert said in told, told
        assert "a bug in keyform" not in told
    assert bench.bad.changes == []
    assert bench.files() == before
    assert bench.live() == live
    bench.check_well_again()


@pytest.mark.parametrize("verb", [("plan",), ("doctor",), ("apply", "--auto-approve")])
def test_a_silent_service_is_given_up_within_about_a_minute(
    bench: Bench, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def takes_its_time(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        bench.clock.sleep(request.extensions["timeout"]["read"])
        return silent(request, response)

    bench.bad.spoil = takes_its_time
    before = bench.clock.monotonic()
    assert bench.run(*verb) == 1
    assert 30 < bench.clock.monotonic() - before < 62
    assert "no answer came from localhost:1 within 30 s" in " ".join("".join(capsys.readouterr()).split())
    bench.check_well_again()


def test_a_service_that_takes_no_connection_is_given_up_sooner_still(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def takes_none(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        bench.clock.sleep(request.extensions["timeout"]["connect"])
        raise httpx.ConnectTimeout("timed out", request=request)

    bench.bad.spoil = takes_none
    before = bench.clock.monotonic()
    assert bench.run("plan") == 1
    assert 10 < bench.clock.monotonic() - before < 22
    assert "localhost:1 took no connection within 10 s" in " ".join(capsys.readouterr().err.split())


def test_a_service_that_answers_late_once_is_asked_again(bench: Bench) -> None:
    late = [silent]

    def once(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        return late.pop()(request, response) if late else response

    bench.bad.spoil = once
    assert bench.run("plan") == 0
    assert late == []


def test_a_listing_that_cannot_be_read_is_not_called_as_declared(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing to change, neither where none of it could be read nor where it breaks off half way."""

    def web_page(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        listed = isinstance(response.json().get("data"), list)
        return html(request, response) if listed else response

    bench.declare(BEFORE)
    for spoil in (web_page, half_listing):
        bench.bad.spoil = spoil
        for verb in (("plan",), ("plan", "--detailed-exitcode"), ("apply", "--auto-approve")):
            capsys.readouterr()
            assert bench.run(*verb) == 1, (spoil, verb)
            told = capsys.readouterr()
            assert "Every declared key is as declared" not in told.out
            if spoil is web_page:
                assert "nothing can be said of the keys" in " ".join(told.out.split())
                assert "warning: the listing of it is incomplete" in " ".join(told.err.split())
    bench.bad.spoil = None
    assert bench.run("plan", "--detailed-exitcode") == 0


class Drip(httpx.SyncByteStream):
    """A byte a minute."""

    def __init__(self, clock: MovedClock) -> None:
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(100):
            self._clock.move(minutes=1)
            yield b" "


def test_a_service_that_drips_is_given_up(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = bench.files()
    bench.bad.spoil = lambda request, response: httpx.Response(200, stream=Drip(bench.clock))
    capsys.readouterr()
    assert bench.run("apply", "--auto-approve") == 1
    assert "the answer is too long or takes too long" in " ".join(capsys.readouterr().err.split())
    assert (bench.files(), bench.bad.changes) == (before, [])
    bench.check_well_again()


@pytest.mark.parametrize("spoil", [html, malformed, other_shape, silent, failing])
def test_answers_to_changes_that_make_no_sense_lose_nothing(
    bench: Bench, spoil: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.bad.listing_only = False
    bench.bad.spoil = spoil
    capsys.readouterr()
    code = bench.run("apply", "--auto-approve")
    told = " ".join(capsys.readouterr().err.split())
    assert code == 1
    assert "error: " in told
    assert "a bug in keyform" not in told
    # What is stored still works: no secret of a live key was lost or overwritten.
    stored = {file.name for file in (bench.folder / ".keyform" / "secrets").rglob("*.age")}
    assert {"kept.age", "edited.age"} <= stored
    bench.check_well_again()


def test_scopes_that_were_not_asked_for_are_told_and_show_as_drift(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service grants every new key more than was asked for, and shows it."""

    def generous(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        body = json.loads(response.content)
        entries = (
            body.get("data")
            if isinstance(body.get("data"), list)
            else [body, body.get("key"), body.get("data")]
        )
        for entry in entries:
            if isinstance(entry, dict) and entry.get("name") in ("Added", "Edited"):
                for word in ("scopes", "permissions"):
                    if word in entry:
                        entry[word] = ["events:read", "reports:read"]
        return httpx.Response(response.status_code, json=body)

    original = bench.bad.handle_request

    def both(request: httpx.Request) -> httpx.Response:
        response = original(request)
        response.read()
        return generous(request, response)

    bench.bad.handle_request = both  # type: ignore[method-assign]
    capsys.readouterr()
    assert bench.run("apply", "--auto-approve") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "warning: keys.added: it granted the scopes [events:read, reports:read] where [events:read] were"
        in told
    )
    assert (
        "keys.edited: it granted the scopes [events:read, reports:read] where [events:read, events:write]"
        in told
    )
    assert bench.run("plan", "--detailed-exitcode") == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "Changed outside keyform" in out
    assert "it granted scopes otherwise than keyform last asked for, and may do so again" in out
    bench.bad.handle_request = original  # type: ignore[method-assign]
    assert bench.run("plan", "--detailed-exitcode") in (0, 2)
    bench.check_well_again()


def test_a_revocation_that_is_not_one_is_told_and_tried_again(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service answers a revocation with a success and leaves the key as it is."""
    original = bench.bad.handle_request

    def lies(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            shown = httpx.Request("GET", request.url, headers=request.headers)
            return original(shown)
        if request.url.path.endswith("deleteKey"):
            return httpx.Response(200, html="<p>deleted</p>")
        return original(request)

    bench.bad.handle_request = lies  # type: ignore[method-assign]
    capsys.readouterr()
    assert bench.run("apply", "--auto-approve") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "keys.dropped" in told
    assert "Dropped" in bench.live()
    assert (bench.folder / ".keyform" / "secrets" / "dropped.age").exists()
    bench.bad.handle_request = original  # type: ignore[method-assign]
    bench.check_well_again()


@pytest.mark.parametrize("verb", [("plan",), ("doctor",)])
def test_a_listing_that_goes_on_and_on_says_so_and_ends(
    bench: Bench, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def slowly(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        bench.clock.sleep(0.5)
        return for_ever(request, response)

    bench.bad.spoil = slowly
    before = bench.clock.monotonic()
    capsys.readouterr()
    assert bench.run(*verb) in (0, 1)
    assert bench.clock.monotonic() - before < 130
    captured = capsys.readouterr()
    told = " ".join(captured.err.split())
    assert "warning: service 'it': listing the keys goes on for 60 s: " in told
    assert "it has not ended after 2 minutes" in " ".join(captured.out.split()) + told
    bench.check_well_again()
