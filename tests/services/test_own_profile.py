"""examples/own-profile: a service of one's own by a profile, through the command line, the conformance suite
and a trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.cli.main import run
from keyform.clock import SystemClock
from keyform.conformance.service import ServiceConformance
from keyform.model import KeySpec, Secret
from keyform.services import open_service
from keyform.services.check import check_profile
from keyform.services.profiles import load_profile
from keyform.services.trial import try_profile
from tests.services.acme import TOKEN, Acme, acme_server

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "own-profile"


@pytest.fixture
def acme() -> Iterator[tuple[str, Acme]]:
    with acme_server() as running:
        yield running


class Ill(httpx.BaseTransport):
    """Loses the answer to the next create, or every second page, on demand."""

    lose_create = False
    lose_pages = False

    def around(self, inner: httpx.BaseTransport) -> httpx.BaseTransport:
        self.inner = inner
        return self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.inner.handle_request(request)
        if self.lose_create and request.method == "POST":
            self.lose_create = False
            response.close()
            raise httpx.ReadError("lost")
        if self.lose_pages and request.url.params.get("page") == "2":
            response.close()
            return httpx.Response(404, json={"code": "no_such_page"})
        return response

    def close(self) -> None:
        self.inner.close()


def opened(url: str, wrap: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None) -> Any:
    profile = load_profile("./acme.yaml", EXAMPLE)
    assert profile is not None
    return open_service(
        "acme",
        "./acme.yaml",
        profile=profile,
        endpoint=url,
        credential=Secret(TOKEN),
        options={},
        folder=EXAMPLE,
        clock=SystemClock(),
        wrap_transport=wrap,
    )


class TestAcme(ServiceConformance):
    @pytest.fixture
    def ill(self) -> Ill:
        return Ill()

    @pytest.fixture
    def service(self, acme: tuple[str, Acme], ill: Ill) -> Iterator[Any]:
        service = opened(acme[0], ill.around)
        yield service
        service.close()

    @pytest.fixture
    def spec(self) -> Callable[[str], KeySpec]:
        return lambda name: KeySpec(name=name, scopes=("read", "write"), metadata=(("team", "payments"),))

    @pytest.fixture
    def changed(self) -> Callable[[KeySpec], KeySpec]:
        return lambda spec: replace(spec, name="Ключ ✓", scopes=("read",), metadata=(("tier", "1"),))

    @pytest.fixture
    def lose_next_answer(self, service: Any, ill: Ill) -> Callable[[], None]:
        return lambda: setattr(ill, "lose_create", True)

    @pytest.fixture
    def break_listing(
        self, service: Any, spec: Callable[[str], KeySpec], ill: Ill, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], None]:
        def arrange() -> None:
            monkeypatch.setattr("keyform.services.paging.LARGEST_PAGE", 2)
            for number in range(3):
                service.create(spec(f"paged-{number}"), f"lineage/{number}")
            ill.lose_pages = True

        return arrange


def test_the_profile_is_short_and_sound() -> None:
    data = (EXAMPLE / "acme.yaml").read_bytes()
    assert check_profile(data, "acme.yaml") == ()
    lines = [
        line for line in data.decode().splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    assert len(lines) <= 50


def test_the_example_applies_rests_changes_and_is_destroyed(
    acme: tuple[str, Acme], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, service = acme
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "own-profile"))
    monkeypatch.setenv("ACME_ENDPOINT", url)
    monkeypatch.setenv("ACME_TOKEN", TOKEN)

    def keyform(*arguments: str) -> int:
        return run(["-C", str(folder), *arguments], clock=SystemClock())

    assert keyform("apply", "--auto-approve") == 0
    assert keyform("plan", "--detailed-exitcode") == 0
    assert sorted(token["label"] for token in service.tokens.values()) == ["Backend", "Reports"]
    config = folder / "keyform.yaml"
    config.write_text(config.read_text().replace("[read, write]", "[read]"))
    assert keyform("plan", "--detailed-exitcode") == 2
    assert keyform("apply", "--auto-approve") == 0
    assert {token["permissions"] for token in service.tokens.values()} == {"read"}
    assert len(service.tokens) == 2, "scopes change in place"
    assert {token["note"] for token in service.tokens.values()} == {"kept"}
    assert keyform("destroy", "--auto-approve") == 0
    assert {token["state"] for token in service.tokens.values()} == {"ended"}
    assert json.loads((folder / ".keyform" / "state.json").read_bytes())["keys"] == {}


def test_a_trial_of_a_sound_profile_passes_and_leaves_nothing(acme: tuple[str, Acme]) -> None:
    url, service = acme
    trials = list(try_profile(opened(url)))
    assert [(trial.step, trial.outcome) for trial in trials] == [
        ("list", "passed"), ("create", "passed"), ("list the new key", "passed"), ("prove", "passed"),
        ("update", "passed"), ("revoke", "passed"), ("revoke again", "passed"), ("own_key", "skipped"),
    ]  # fmt: skip
    assert [token["state"] for token in service.tokens.values()] == ["ended"]


@pytest.mark.parametrize(
    ("mend", "step", "said"),
    [
        (("items: tokens", "items: entries"), "list", "without a list of entries"),
        (("secret: value", "secret: text"), "create", "no secret"),
        (("metadata: labels", "metadata: tags"), "list the new key", "does not carry its label"),
        (
            ("scopes: {at: permissions", "scopes: {at: label"),
            "list the new key",
            "asked for as read and is shown",
        ),
        (
            ("prove: {backing: documented, path: /api/me", "prove: {backing: documented, path: /api/us"),
            "prove",
            "404",
        ),
        (("drop: [id, state, created]", "drop: [id]"), "update", "not_whole"),
        (
            ('method: DELETE, path: "/api/tokens/{id}"', 'method: GET, path: "/api/tokens/{id}"'),
            "revoke",
            "listed as active",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trial_says_what_is_wrong_and_revokes_what_it_minted(
    acme: tuple[str, Acme], tmp_path: Path, mend: tuple[str, str], step: str, said: str
) -> None:
    text = (EXAMPLE / "acme.yaml").read_text()
    assert mend[0] in text
    (tmp_path / "acme.yaml").write_text(text.replace(mend[0], mend[1]))
    profile = load_profile("./acme.yaml", tmp_path)
    assert profile is not None
    service = open_service(
        "acme",
        "./acme.yaml",
        profile=profile,
        endpoint=acme[0],
        credential=Secret(TOKEN),
        options={},
        folder=tmp_path,
        clock=SystemClock(),
    )
    failed = [trial for trial in try_profile(service) if trial.outcome == "failed"]
    assert step in [trial.step for trial in failed]
    first = next(trial for trial in failed if trial.step == step)
    assert said in first.diagnostics[0].summary
    assert first.diagnostics[0].detail
    if step != "revoke":
        assert {token["state"] for token in acme[1].tokens.values()} <= {"ended"}
