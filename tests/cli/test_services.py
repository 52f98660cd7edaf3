"""``keyform services`` and ``keyform services check``, and the options of ``keyform serve``."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from keyform.apply import Wrapping
from keyform.reference.app import create_app, root_token
from keyform.services.embedded import InProcess
from keyform.services.profiles import known_types, load_profile
from tests.cli.conftest import Keyform

PROFILES = Path("keyform/services/profiles").absolute()


def test_the_table_says_how_each_operation_is_backed(keyform: Keyform) -> None:
    told = keyform("services")
    lines = {line.split()[0]: line.split() for line in told.out.splitlines() if line}
    assert told.code == 0
    assert set(known_types()) < set(lines)
    assert lines["TYPE"][1:7] == ["LIST", "CREATE", "UPDATE", "REVOKE", "PROVE", "ORIGINS"]
    assert lines["climeter"][1:7] == ["-", "D", "-", "D", "D", "-"]
    assert lines["revkeen"][1:7] == ["C", "C", "-", "C", "D", "D"]
    assert lines["millimetric"][1:7] == ["C", "C", "-", "C", "C", "C"]
    assert lines["devtune"][1:7] == ["C", "C", "C", "C", "C", "-"], "its projects have no origins"


@pytest.mark.parametrize("name", known_types())
def test_one_type_is_told_with_every_rule_its_source_and_what_is_unknown(keyform: Keyform, name: str) -> None:
    profile = load_profile(name, Path())
    assert profile is not None
    told = " ".join(keyform("services", name).out.split())
    for fact in profile.facts:
        assert f"- {' '.join(fact.rule.split())} source: {fact.source}" in told
    for text in (*profile.unknowns, *profile.operations, *profile.kinds, *profile.options):
        assert " ".join(text.split()) in told
    for name, tree in profile.rest.get("operations", {}).items():
        if profile.operations[name] == "documented":
            assert f"{name} documented {tree['source']}" in told


def test_how_long_and_how_many_things_may_be_is_told(keyform: Keyform) -> None:
    told = " ".join(keyform("services", "unkey").out.split())
    assert "Expiry: any, until 2100-01-01T00:00:00Z." in told
    assert "At most: metadata 99; name 255; scopes 1,000; scopes.roles 100." in told
    assert "Longest: api id 255; prefix 16; scope 128; scopes.roles 128." in told


def test_what_a_type_does_not_have_is_not_told(keyform: Keyform) -> None:
    told = " ".join(keyform("services", "revenium").out.split())
    assert "write rev_sk_ 0 forbidden none full access" in told
    told = " ".join(keyform("services", "devtune").out.split())
    assert "Plans: devtune keys need the Plus plan." in told
    assert "At most: name 200; scopes 100." in told
    told = " ".join(keyform("services", "climeter").out.split())
    assert "Nothing says how long a name may be; keyform takes 200 characters at most." in told


def test_what_lets_a_key_do_more_is_told(keyform: Keyform) -> None:
    told = " ".join(keyform("services", "millimetric").out.split())
    assert "KIND WHAT IT CAN DO WITHOUT A PROJECT pk send events" in told
    assert "ak read statistics, be used at /mcp/account works in every project" in told
    assert "What is real is reached in: live." in told
    told = " ".join(keyform("services", "climeter").out.split())
    assert "To be looked at twice: what matches `keys:manage|(tools|billing):write`." in told
    assert "WHAT IT CAN DO" not in keyform("services", "revkeen-cart").out


def test_a_type_of_ones_own_is_told_too(keyform: Keyform, folder: Path) -> None:
    (folder / "acme.yaml").write_text((PROFILES / "devtune.yaml").read_text())
    assert "Expiry: 30d, 60d, 90d, 180d, 1y" in keyform("services", "./acme.yaml").out


def test_check_tells_everything_that_is_wrong_with_its_place(keyform: Keyform, folder: Path) -> None:
    (folder / "acme.yaml").write_text((PROFILES / "devtune.yaml").read_text())
    assert "is sound: list (contract)" in keyform("services", "check", "acme.yaml").out
    text = (folder / "acme.yaml").read_text()
    (folder / "acme.yaml").write_text(text.replace("mutable: [scopes]", "mutable: [scope]"))
    told = keyform("services", "check", "acme.yaml")
    assert (told.code, told.out) == (1, "")
    line = text.splitlines().index("mutable: [scopes]") + 1
    assert f"acme.yaml:{line}:11" in told.err
    assert "scope" in told.err
    assert keyform("services", "check", "missing.yaml").code == 1


class Unkey(InProcess):
    """Remembers the secrets that it gave out."""

    def __init__(self, data: Path) -> None:
        super().__init__(create_app(data, service="unkey"))
        self.secrets: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.url.path.endswith("createKey"):
            response.read()
            self.secrets.append(response.json()["data"]["key"])
        return response

    def close(self) -> None:
        """It outlives the runs that use it."""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unkey:
    made = Unkey(tmp_path / "data")
    monkeypatch.setenv("UNKEY_ROOT", root_token(tmp_path / "data"))
    return made


LIVE = (
    "--endpoint",
    "http://localhost:1",
    "--credential-env",
    "UNKEY_ROOT",
    "--option",
    "api_id=api_keyform",
)


def test_check_tries_a_profile_live_and_leaves_nothing(
    keyform: Keyform, folder: Path, service: Unkey
) -> None:
    (folder / "acme.yaml").write_text(
        (PROFILES / "unkey.yaml").read_text().replace("revocation_lag: 30s\n", "")
    )
    refused = keyform("services", "check", "acme.yaml", *LIVE, wrap=Wrapping(transport=lambda _: service))
    assert refused.code == 1
    assert "--yes" in refused.err
    told = keyform(
        "services",
        "check",
        "acme.yaml",
        *LIVE,
        "--scope",
        "documents.read",
        "--yes",
        wrap=Wrapping(transport=lambda _: service),
    )
    assert told.code == 0, told.err
    assert [line.split("  ")[0] for line in told.out.splitlines()[2:]] == [
        "list", "create", "list the new key", "prove", "update", "revoke", "revoke again", "own_key",
    ]  # fmt: skip
    (secret,) = service.secrets
    assert len(secret) == 26
    assert secret not in told.out + told.err
    again = keyform(
        "services", "check", "acme.yaml", *LIVE, "--yes", wrap=Wrapping(transport=lambda _: service)
    )
    assert "0 keys, 0 with a label" in again.out


def test_check_tells_what_a_sound_profile_leaves_out(keyform: Keyform, folder: Path) -> None:
    text = (PROFILES / "climeter.yaml").read_text()
    (folder / "acme.yaml").write_text(text)
    told = " ".join(keyform("services", "check", "acme.yaml").out.split())
    assert "is sound: create (documented)" in told
    assert "Missing: it lists no keys, so drift cannot be seen; keys carry no ownership label" in told
    (folder / "acme.yaml").write_text((PROFILES / "unkey.yaml").read_text())
    assert "Missing" not in keyform("services", "check", "acme.yaml").out


def test_check_mints_no_key_with_a_scope_that_there_is_not(
    keyform: Keyform, folder: Path, service: Unkey
) -> None:
    (folder / "acme.yaml").write_text((PROFILES / "climeter.yaml").read_text())
    told = keyform(
        "services", "check", "acme.yaml", *LIVE[:4], "--scope", "nope", "--yes",
        wrap=Wrapping(transport=lambda _: service),
    )  # fmt: skip
    assert told.code == 1
    assert "--scope 'nope' is none of " in told.err
    assert service.secrets == []


def test_check_says_which_operation_fails(keyform: Keyform, folder: Path, service: Unkey) -> None:
    text = (PROFILES / "unkey.yaml").read_text().replace("revocation_lag: 30s\n", "")
    (folder / "acme.yaml").write_text(text.replace("  name: name\n", "  name: start\n", 1))
    told = keyform(
        "services", "check", "acme.yaml", *LIVE, "--yes", wrap=Wrapping(transport=lambda _: service)
    )
    assert told.code == 1
    assert "`name` was asked for as" in told.err
    assert "revoke            passed" in told.out


def test_check_sends_nothing_undocumented_to_a_vendor(keyform: Keyform, folder: Path, service: Unkey) -> None:
    (folder / "acme.yaml").write_text((PROFILES / "millimetric.yaml").read_text())

    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    told = keyform(
        "services", "check", "acme.yaml", "--endpoint", "https://api.millimetric.ai", "--credential-env",
        "UNKEY_ROOT", "--yes", wrap=Wrapping(transport=lambda _: httpx.MockTransport(never)),
    )  # fmt: skip
    assert told.code == 1
    assert "documents no call for" in told.err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("millimetric_plan=gold", "millimetric_plan is none of free, pro, business"),
        ("devtune_per_minute=7", "devtune_per_minute is none of 100, 500, 1000"),
        ("plan=pro", "there is no option 'plan'"),
    ],
)
def test_an_option_of_serve_that_is_wrong_is_told(keyform: Keyform, option: str, said: str) -> None:
    told = keyform("serve", "--all-services", "--option", option)
    assert (told.code, told.out) == (1, "")
    assert said in told.err
