"""Where a credential may be sent, and which credentials can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyform.clock import SystemClock
from keyform.errors import ConfigError
from keyform.model import Secret
from keyform.services import open_service
from keyform.services.endpoint import check_credential, check_endpoint, is_loopback
from keyform.services.profiles import load_profile


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("https://keys.example.com", "https://keys.example.com"),
        ("https://keys.example.com:8443/base/", "https://keys.example.com:8443/base"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_good_endpoints(endpoint: str, base: str) -> None:
    assert check_endpoint("s", endpoint) == base


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("", "not an http"), ("keys.example.com", "not an http"),
        ("ftp://x", "not an http"), ("https://", "not an http"),
        ("https://[::1", "not an http"), ("https://h:port", "not an http"), ("https://h\n", "not an http"),
        ("https://hé.example", "not an http"),
        ("https://user:pw@h", "user name or password"),
        ("https://h/?a=1", "query"), ("https://h/#f", "query"),
        ("http://keys.example.com", "plain http"), ("http://10.0.0.1", "plain http"),
    ],
)  # fmt: skip
def test_bad_endpoints(endpoint: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_endpoint("s", endpoint)
    assert "pw" not in str(caught.value.diagnostics)


def test_plain_http_on_purpose() -> None:
    assert check_endpoint("s", "http://10.0.0.1", insecure=True) == "http://10.0.0.1"


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("a.localhost", False), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False),
     ("localhost.", False), ("::ffff:127.0.0.1", False), ("::", False),
     ("localhost.example.com", False), ("127.0.0.1.example.com", False)],
)  # fmt: skip
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize("text", ["", "two words", "line\n", "é", "\x00", "tab\t"])
def test_a_credential_that_no_header_can_hold_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="the credential of service 's'") as caught:
        check_credential("s", Secret("canary" + text if text else ""))
    assert "canary" not in str(caught.value.diagnostics)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"endpoint": "https://h"}, "endpoint but no credential"),
        ({"credential": Secret("x")}, "credential but no endpoint"),
        ({"type_text": "./acme.yaml"}, "no endpoint"),
        ({"endpoint": "http://h", "credential": Secret("x")}, "plain http"),
        ({"endpoint": "https://h", "credential": Secret("x\n")}, "credential of service"),
    ],
)
def test_a_service_that_cannot_be_opened_as_declared(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    profile = load_profile("embedded", tmp_path)
    assert profile is not None
    arguments: dict[str, Any] = {"type_text": "embedded", "endpoint": None, "credential": None, **given}
    with pytest.raises(ConfigError, match=said) as caught:
        open_service("s", profile=profile, options={}, folder=tmp_path, clock=SystemClock(), **arguments)
    assert caught.value.diagnostics[0].detail
    assert list(tmp_path.iterdir()) == []
