"""GitHub's secrets, against a stand-in that opens what arrives; GitHub itself cannot be run here."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyform.conformance.write_only_store import WriteOnlyConformance
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.stores.github_actions import GitHubActionsStore, open_store
from keyform.stores.github_api import GitHubApi
from tests.servers import free_port, installed
from tests.stores.github import TOKEN, GitHub, check_calls, served
from tests.stores.whole_run import check_whole_run

REPOSITORY = {"repository": "acme/web"}
CANARY = "sk_live_must-not-appear-anywhere"
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "repository": (REPOSITORY, "/repos/acme/web/actions/secrets"),
    "dependabot": ({**REPOSITORY, "app": "dependabot"}, "/repos/acme/web/dependabot/secrets"),
    "environment": (
        {**REPOSITORY, "environment": "prod/eu"},
        "/repos/acme/web/environments/prod%2Feu/secrets",
    ),
    "organization": ({"organization": "acme"}, "/orgs/acme/actions/secrets"),
    "organization of Dependabot": (
        {"organization": "acme", "app": "dependabot"},
        "/orgs/acme/dependabot/secrets",
    ),
}


def store_of(
    github: GitHub,
    url: str,
    options: Mapping[str, Any] = REPOSITORY,
    *,
    token: str = TOKEN,
    timeout: float = 30,
) -> GitHubActionsStore:
    api = GitHubApi("hub", url, Secret(token), sleep=github.wait, timeout=timeout)
    return GitHubActionsStore("hub", options, api, sleep=github.wait)


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
def url(github: GitHub) -> Iterator[str]:
    with served(github) as address:
        yield address


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", KINDS)
class TestGitHubActions(WriteOnlyConformance):
    largest = 48 * 1024
    refused = tuple(
        Place("hub", path, field)
        for path, field in (
            ("", None), ("prod/checkout", None), ("lower", None), ("9LIVES", None), ("GITHUB_TOKEN", None),
            ("WITH-DASH", None), ("ÜMLAUT", None), ("LINE\n", None), ("CHECKOUT", "field"), ("..", None),
        )
    )  # fmt: skip

    @pytest.fixture(autouse=True)
    def hub(self, github: GitHub, kind: str) -> Iterator[None]:
        self.github, (self.options, self.root) = github, KINDS[kind]
        with silent() as self.silent_url:
            yield

    @pytest.fixture
    def open_store(self, hub: None, url: str) -> Callable[[], GitHubActionsStore]:
        return lambda: store_of(self.github, url, self.options)

    def place(self, path: str) -> Place:
        return Place("hub", path.upper().replace("/", "_").replace("-", "_"))

    def read(self, place: Place) -> str | None:
        kept = self.github.secrets[self.root].get(place.path)
        return kept.value if kept else None

    def bad_days(self) -> Mapping[str, Callable[[], GitHubActionsStore]]:
        closed = f"http://127.0.0.1:{free_port()}"
        return {
            "unreachable": lambda: store_of(self.github, closed, self.options),
            "slow": lambda: store_of(self.github, self.silent_url, self.options, timeout=0.05),
        }


def test_an_expired_token_is_told(github: GitHub, url: str) -> None:
    store = store_of(github, url, token="ghp_expired")
    for act in acts(store):
        with pytest.raises(StoreError) as told:
            act()
        [said] = told.value.diagnostics
        assert "401" in said.summary
        assert "expired" in said.detail
        assert "ghp_expired" not in f"{said}"


def acts(store: GitHubActionsStore) -> list[Callable[[], object]]:
    place = Place("hub", "CHECKOUT")
    return [
        store.access,
        store.probe,
        lambda: store.look(place),
        lambda: store.put(place, Secret(CANARY), {}),
        lambda: store.delete(place),
    ]


def test_a_place_that_the_token_may_not_see_is_not_taken_for_an_empty_one(github: GitHub, url: str) -> None:
    store = store_of(github, url)
    store.put(Place("hub", "CHECKOUT"), Secret("first"), {})
    github.may_see = False  # GitHub answers 404 for that, as for a secret that is not there
    for act in acts(store):
        with pytest.raises(StoreError) as told:
            act()
        [said] = told.value.diagnostics
        assert "the repository acme/web" in said.summary
        assert "may not see" in said.detail


def test_a_token_that_may_only_read_is_told_what_it_lacks(github: GitHub, url: str) -> None:
    github.may_write = False
    store = store_of(github, url)
    assert "shows with the first write" in store.access()
    with pytest.raises(StoreError) as told:
        store.probe()
    [said] = told.value.diagnostics
    assert "could not write" in said.summary, "the first problem is told, and not that of the deletion"
    assert "403" in said.summary
    assert "secrets=write" in said.detail


def test_scopes_of_a_classic_token_are_checked_without_writing(github: GitHub, url: str) -> None:
    github.headers["X-OAuth-Scopes"] = "gist, read:org"
    with pytest.raises(StoreError, match="may not write secrets") as told:
        store_of(github, url).access()
    assert "scope repo" in told.value.diagnostics[0].detail
    github.headers["X-OAuth-Scopes"] = "repo, gist"
    assert "written" in store_of(github, url).access()
    assert {method for method, *_ in github.calls} == {"GET"}


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        ((403, {"message": "Resource not accessible by integration"}, {}), "workflow run"),
        ((403, {"message": "no"}, {"X-GitHub-SSO": "required; url=https://x.example/sso"}), "single sign-on"),
        ((403, {"message": "no"}, {"X-Accepted-OAuth-Scopes": "admin:org"}), "admin:org"),
        ((301, {"message": "Moved Permanently"}, {"Location": "/repositories/1"}), "renamed"),
        ((404, "no object", {}), "may not see"),
    ],
)
def test_refusals_say_what_to_do(github: GitHub, url: str, reply: Any, advice: str) -> None:
    github.ahead.append(reply)
    with pytest.raises(StoreError) as told:
        store_of(github, url).access()
    assert advice in told.value.diagnostics[0].detail


@pytest.mark.parametrize(
    ("reply", "least", "most"),
    [
        ((429, {"message": "slow down"}, {"Retry-After": "7"}), 7, 7),
        ((403, {"message": "You have exceeded a secondary rate limit"}, {}), 60, 60),
        ((502, {"message": "bad gateway"}, {}), 0, 1),
    ],
)
def test_limits_and_outages_are_waited_out(
    github: GitHub, url: str, reply: Any, least: int, most: int
) -> None:
    began = github.now
    github.ahead.append(reply)
    store_of(github, url).access()
    assert least <= (github.now - began).total_seconds() <= most


def test_a_limit_that_lasts_is_told_at_once(github: GitHub, url: str) -> None:
    exhausted = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}
    began = github.now
    github.ahead.append((403, {"message": "API rate limit exceeded"}, exhausted))
    with pytest.raises(StoreError, match="rate limit exceeded") as told:
        store_of(github, url).access()
    assert "rate limit is used up" in told.value.diagnostics[0].detail
    assert github.now == began


def test_what_is_no_github_is_told(github: GitHub, url: str) -> None:
    for body in ({}, {"key_id": "1", "key": "%%"}, {"key_id": "1", "key": "AAAA"}, [], None):
        github.ahead.append((200, body, {}))
        with pytest.raises(StoreError, match=r"not what GitHub documents|documentation does not have"):
            store_of(github, url).put(Place("hub", "CHECKOUT"), Secret(CANARY), {}, None)
        github.ahead.clear()


def test_two_writes_within_one_second_have_different_versions(github: GitHub, url: str) -> None:
    place, began = Place("hub", "CHECKOUT"), github.now
    first = store_of(github, url).put(place, Secret("first"), {})
    assert github.now == began
    second = store_of(github, url).put(place, Secret("second"), {})
    assert first != second
    assert (github.now - began).total_seconds() == 1
    held = store_of(github, url).look(place)
    assert held is not None
    assert held.version == second


def test_a_write_that_never_shows_is_told(github: GitHub, url: str) -> None:
    store = store_of(github, url)
    store.put(Place("hub", "CHECKOUT"), Secret("first"), {})
    api = GitHubApi("hub", url, Secret(TOKEN), sleep=github.wait)
    frozen = GitHubActionsStore("hub", REPOSITORY, api, sleep=lambda seconds: None)
    with pytest.raises(StoreError, match="does not show"):
        frozen.put(Place("hub", "CHECKOUT"), Secret("second"), {})


def test_a_public_key_that_was_replaced_is_asked_for_again(github: GitHub, url: str) -> None:
    store, place = store_of(github, url), Place("hub", "CHECKOUT")
    store.put(place, Secret("first"), {})
    github.replace_keys()
    store.put(place, Secret("second"), {})
    assert github.secrets[KINDS["repository"][1]]["CHECKOUT"].value == "second"


def test_an_organizations_secrets_reach_the_repositories_that_are_named(github: GitHub, url: str) -> None:
    kept = github.secrets.setdefault("/orgs/acme/actions/secrets", {})
    for given, expected in (
        ({}, ("private", [])),
        ({"visibility": "all"}, ("all", [])),
        (
            {"visibility": "selected", "selected_repositories": ("web", "acme/api", 7)},
            ("selected", [1001, 1002, 7]),
        ),
    ):
        store_of(github, url, {"organization": "acme", **given}).put(Place("hub", "KEY"), Secret("value"), {})
        assert (kept["KEY"].visibility, kept["KEY"].repositories) == expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repository": "acme/web", "organization": "acme"},
        {"repository": "web"},
        {"repository": "acme/../web"},
        {"organization": "acme", "environment": "prod"},
        {"repository": "acme/web", "environment": "prod", "app": "dependabot"},
        {"repository": "acme/web", "visibility": "all"},
        {"organization": "acme", "visibility": "selected"},
        {"organization": "acme", "selected_repositories": ("web",)},
        {"repository": "acme/web", "endpoint": "http://github.example"},
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Store 'hub'") as refused:
        open_store("hub", options, tmp_path, {})
    assert refused.value.diagnostics[0].detail


def test_a_missing_token_is_told_when_it_is_needed(url: str, tmp_path: Path) -> None:
    store = open_store("hub", {**REPOSITORY, "endpoint": url}, tmp_path, {})
    store.check(Place("hub", "CHECKOUT"))
    with pytest.raises(StoreError, match="has no token") as told:
        store.access()
    assert "GITHUB_TOKEN" in told.value.diagnostics[0].detail
    with closing(
        open_store("hub", {**REPOSITORY, "endpoint": url}, tmp_path, {"GITHUB_TOKEN": TOKEN})
    ) as store:
        assert store.access()


def test_nothing_secret_is_logged_or_told(github: GitHub, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = store_of(github, url)
    place = Place("hub", "CHECKOUT")
    store.put(place, Secret(CANARY), {})
    assert repr(store).find(TOKEN) == -1
    github.ahead.append((422, {"message": f"{TOKEN} may not, {TOKEN}"}, {}))
    with pytest.raises(StoreError) as told:
        store.look(place)
    assert TOKEN not in f"{told.value} {told.value.diagnostics}"
    assert "repos/acme/web/actions/secrets/CHECKOUT: 201" in caplog.text
    assert "httpcore" in caplog.text
    assert CANARY not in caplog.text
    assert TOKEN not in caplog.text


def test_many_threads_write_one_at_a_time(github: GitHub, url: str) -> None:
    store = store_of(github, url)
    taken = []

    def write(number: int) -> None:
        try:
            store.put(Place("hub", "FIRST"), Secret(f"value {number}"), {}, None)
        except Taken:
            taken.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 5


@pytest.mark.integration
def test_every_call_is_as_github_describes_it(github: GitHub, url: str) -> None:
    def install(folder: Path) -> None:
        npm = ["npm", "pack", "--silent", "@octokit/openapi@22.0.0"]
        archive = subprocess.run(npm, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
        wanted = "package/generated/api.github.com.deref.json"
        subprocess.run(["tar", "xzf", archive, wanted], cwd=folder, check=True)
        everything = json.loads((folder / wanted).read_bytes())["paths"]
        kept = {
            path: told
            for path, told in everything.items()
            if path == "/repos/{owner}/{repo}" or "secrets" in path
        }
        (folder / "secrets.json").write_text(json.dumps({"paths": kept}))
        (folder / wanted).unlink()
        (folder / archive).unlink()

    description = json.loads((installed("github-openapi", install) / "secrets.json").read_bytes())
    selected = {"organization": "acme", "visibility": "selected", "selected_repositories": ("web", 7)}
    for options in (*(options for options, _ in KINDS.values()), selected):
        store = store_of(github, url, options)
        store.access()
        store.probe()
        store.put(Place("hub", "CHECKOUT"), Secret("value"), {})
        store.put(Place("hub", "CHECKOUT"), Secret("value 2"), {})
        store.delete(Place("hub", "CHECKOUT"))
    assert check_calls(github, description) >= 6 * 12


def test_keys_arrive_and_go(
    github: GitHub,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    github.ticks = True

    def read(name: str) -> str | None:
        kept = github.secrets[KINDS["repository"][1]].get(name)
        return kept.value if kept else None

    declared = f"{{type: github-actions, repository: acme/web, endpoint: '{url}'}}"
    check_whole_run(tmp_path, declared, "ONE", "TWO", read, capfd)
    assert github.secrets == {KINDS["repository"][1]: {}}
