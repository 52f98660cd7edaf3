"""Patterns of profiles come with pull requests: none can hang a command, whatever it is matched with."""

from __future__ import annotations

import time

import pytest

from keyform import patterns
from keyform.model import KeySpec, Secret
from keyform.profile import Kind, Profile, TextRule
from keyform.services.assisted import fault_finder, hint_of
from keyform.services.check import check_profile

HANGS = ["(a+)+$", "((a+)+)!", "(a|aa)+$", "(.*a){25}"]
"""Each takes Python's own engine longer than anybody waits, at 40 times `a` and something else."""


@pytest.mark.parametrize("pattern", HANGS)
@pytest.mark.timeout(20)
def test_no_pattern_hangs_a_check_of_a_text_or_of_a_pasted_key(pattern: str) -> None:
    began = time.monotonic()
    text = "a" * 40 + "-"
    assert TextRule(pattern=pattern).broken_by(text)
    profile = Profile("acme", "Acme", kinds={"full": Kind("full", key_format=pattern)})
    assert "looks like" in (fault_finder(profile, KeySpec(kind="full"))(Secret(text)) or "")
    assert not patterns.first_group(f"({pattern})x", text)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?=a)b", "invalid perl operator: (?="),
        (r"a\Z", r"invalid escape sequence: \Z"),
        ("[", "missing ]: ["),
        ("((a{100}){100}){100}", "invalid repetition size: {100}"),
        ("a" * 1001, "1,001 characters"),
    ],
    ids=["reference back", "looking ahead", "end", "bracket", "repeats", "length"],
)
def test_what_the_engine_cannot_do_is_refused_when_the_profile_is_read(
    pattern: str, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert what in patterns.fault(pattern)
    rest = "fields: [name]\noperations: {create: {backing: contract}, revoke: {backing: contract}}\n"
    in_kind = "kinds: {{k: {{key_format: '{}'}}}}"
    for place in ("key_format: '{}'", "texts: {{scope: {{pattern: '{}'}}}}", in_kind):
        text = f"version: 1\ntitle: Acme\n{place.format(pattern)}\n{rest}"
        (found,) = check_profile(text.encode(), "acme.yaml")
        assert "this pattern" in found.summary
        assert "re2/wiki/Syntax" in found.detail
        assert found.location is not None
        assert found.location.line == 3
    assert capfd.readouterr() == ("", "")


def test_a_hint_has_one_group() -> None:
    assert patterns.fault("(.{4})$", groups=1) == ""
    assert "has 0 groups" in patterns.fault(".{4}$", groups=1)
    profile = Profile("acme", "Acme")
    assert hint_of(profile, Secret("x" * 40)) == patterns.first_group(profile.dashboard.hint, "x" * 40) != ""


def test_halves_of_surrogate_pairs_match_nothing() -> None:
    assert not patterns.matches(".*", "\ud800")
    assert patterns.first_group("(.)", "\ud800") == ""
    assert patterns.matches("é.", "é中")
