"""Origins as the profile allows them: http, wildcards, and the one form that each is brought into."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.config import Config
from keyform.errors import ConfigError
from keyform.profile import Profile

Loader = Callable[..., Config]


def origins(config: Loader, text: str, *, http: str = "localhost", wildcard: bool = False) -> tuple[str, ...]:
    profile = Profile(
        type="open",
        title="",
        fields=frozenset({"allowed_origins"}),
        origins_on=frozenset({"key"}),
        http_origins=http,
        wildcard_origins=wildcard,
    )
    loaded = config(
        "version: 1\nservices: {a: {type: open}}\n"
        f"keys: {{k: {{service: a, secret: k, allowed_origins: ['{text}']}}}}",
        profile_of=lambda kind, folder: profile,
    )
    return loaded.desired.keys[0].spec.allowed_origins


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://App.Example.com", "https://app.example.com"),
        ("https://a.example:443", "https://a.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_each_origin_has_one_form(text: str, clean: str, config: Loader) -> None:
    assert origins(config, text) == (clean,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://a.example/", "Write `https://a.example`."),
        ("https://a.example/app", "has a path Write `https://a.example`."),
        ("https://a.example?x=1", "has a query Write `https://a.example`."),
        ("https://a.example#top", "Write `https://a.example`."),
        ("https://me:pw@a.example", "user name or a password Write `https://a.example`."),
        ("HTTPS://A.example:443/x", "Write `https://a.example`."),
        ("http://a.example", "not encrypted Write `https://a.example`"),
        ("http://localhost.evil.example", "not encrypted"),
        ("https://*.a.example", "wildcards are not supported"),
        ("https://a.*.example", "`*` is not allowed"),
        ("https://bücher.example", "xn--bcher-kva"),
        ("a.example", "no scheme Write `https://a.example`."),
        ("ftp://a.example", "its scheme is `ftp`"),
        ("https://", "cannot be read"),
        ("https://a.example:99999", "cannot be read"),
        ("http://[::1]:3000", "is an IPv6 address"),
        ("https://[2001:DB8:0::1]", "is an IPv6 address"),
        ("https://a_b.example", "cannot be read"),
        ("https://" + "a." * 126 + "ab", "cannot be read"),
        ("https://a.example:0", "port 0"),
        ("https://[::1", "cannot be read"),
        ("https://a b.example", "a space"),
        ("https://-a.example", "cannot be read"),
        ("null", "is not an origin"),
        ("*", "is not an origin"),
    ],
)
def test_what_is_no_origin_is_shown_in_its_right_form(text: str, words: str, config: Loader) -> None:
    with pytest.raises(ConfigError) as caught:
        origins(config, text)
    (found,) = caught.value.diagnostics
    assert (found.code, str(found.location)) == ("bad-origin", "keyform.yaml:3:53")
    assert words in f"{found.summary} {found.detail}"
    assert "me:pw" not in f"{found.summary} {found.detail} {found.snippet}"


def test_the_profile_opens_http_and_wildcards(config: Loader) -> None:
    assert origins(config, "http://a.example", http="always") == ("http://a.example",)
    assert origins(config, "https://*.a.example", wildcard=True) == ("https://*.a.example",)
    with pytest.raises(ConfigError, match="not encrypted"):
        origins(config, "http://localhost", http="never")
    with pytest.raises(ConfigError, match=r"`\*` is not allowed"):
        origins(config, "https://a.*.example", wildcard=True)
