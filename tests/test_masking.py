"""What repeats a secret is found however it is spelled, and only that."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from keyform.diagnostics import error
from keyform.errors import Refused
from keyform.masking import gives_away, in_json, mask_error, masked
from keyform.model import KeySpec, LiveKey, Secret

START = "sk_live_abcdefgh"
TEXT = START + "_" + "Zx9/-_Kq3+" * 4 + "end"
SECRET = Secret(TEXT)
SPELLINGS = {
    "plain": TEXT,
    "upper case": TEXT.upper(),
    "zero width": "\u200b".join(TEXT),
    "controls": TEXT[:9] + "\x00" + TEXT[9:30] + "\x1b" + TEXT[30:],
    "fillers that count as letters": TEXT[:9] + "\u3164" + TEXT[9:],
    "line breaks": TEXT[:20] + "\r\n  " + TEXT[20:],
    "url": quote(TEXT, safe=""),
    "hex": TEXT.encode().hex(),
    **{f"base64 {n}": base64.b64encode(b"x" * n + TEXT.encode() + b"yz").decode() for n in range(3)},
    "base64 for urls": base64.urlsafe_b64encode(TEXT.encode()).decode(),
    "cut": TEXT[:50],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_secret_is_masked_in_every_spelling(spelling: str) -> None:
    shown = masked(f"before {spelling} after", [SECRET])
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "[hidden]" in shown
    assert len(shown) < 50


def test_what_is_no_secret_stays_as_it_is() -> None:
    text = (
        f"7f3c9a52-1b1e-4f7e-9d6a-000000000000 of {START} failed: sk_live is short, ask_{'a' * 30} is a word"
    )
    assert masked(text, [SECRET, Secret("")], ["sk", ""]) == text


def test_several_secrets_and_a_short_one() -> None:
    shown = masked(
        "a pw7 b OTHER-secret-text c " + TEXT, [SECRET, Secret("Pw7"), Secret("other-secret-text")]
    )
    assert shown == "a [hidden] b [hidden] c [hidden]"


def test_what_looks_like_a_key_of_the_service_is_masked_though_nobody_knows_it() -> None:
    other = "SK_live_zzzzzzzz_" + "q" * 43
    assert masked(f'no "{other}" here; {START} may be shown', [], ["pk", "sk"]) == (
        f'no "[hidden]" here; {START} may be shown'
    )


def test_an_error_is_masked_and_stays_what_it_was() -> None:
    problem = Refused(error("x", f"a {TEXT}", f"b {TEXT}", address="keys.a"), status=422, reason="r")
    mask_error(problem, [SECRET])
    (told,) = problem.diagnostics
    assert (told.summary, told.detail, told.address, str(problem)) == (
        "a [hidden]", "b [hidden]", "keys.a", "a [hidden]",
    )  # fmt: skip
    assert problem.status == 422


@pytest.mark.parametrize(
    "key",
    [
        LiveKey(TEXT, KeySpec()),
        LiveKey("k", KeySpec(), label=TEXT),
        LiveKey("k", KeySpec(), hint=TEXT[:50]),
        LiveKey("k", KeySpec(kind=TEXT)),
        LiveKey("k", KeySpec(project=TEXT)),
        LiveKey("k", KeySpec(name="key " + TEXT.lower())),
        LiveKey("k", KeySpec(description="\u200b".join(TEXT))),
        LiveKey("k", KeySpec(scopes=("a", TEXT))),
        LiveKey("k", KeySpec(allowed_origins=(TEXT,))),
        LiveKey("k", KeySpec(metadata=((TEXT, "x"),))),
        LiveKey("k", KeySpec(metadata=(("x", base64.b64encode(TEXT.encode()).decode()),))),
    ],
)
def test_a_key_that_repeats_its_secret_gives_it_away(key: LiveKey) -> None:
    assert gives_away(key, SECRET)


def test_an_id_or_a_start_that_a_secret_begins_with_does_not() -> None:
    secret = Secret("sk_0123456789abcdef0123456789abcdef_" + "Kq3" * 14)
    key = LiveKey(
        "0123456789abcdef0123456789abcdef", KeySpec(name="s"), hint="sk_0123456789abcdef0123456789abcdef"
    )
    assert not gives_away(key, secret)
    assert not gives_away(LiveKey("sk_live_s", KeySpec()), Secret("s"))


def test_a_credential_is_found_in_a_document_with_and_without_escapes() -> None:
    credential = Secret('root/"\\canary" 0123456789')
    text = json.dumps({"a": [credential.reveal().upper()]})
    escaped = "".join(rf"\u{ord(c):04x}" for c in credential.reveal())
    for document in (text, text.replace("/", r"\/"), f'{{"x": "{escaped}"}}'):
        assert in_json(document.encode(), credential)
    for document in (
        '{"a": "root/"}',
        rf'{{"x": "{escaped[:-6]}"}}',
        text.replace("CANARY", r"can\\u0061ry"),
    ):
        assert not in_json(document.encode(), credential)
    assert not in_json(b'{"a": "dev"}', Secret("dev"))
