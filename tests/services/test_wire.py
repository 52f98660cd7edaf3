"""Paths and headers that no request can have are refused in the profile, and values at the call."""

from __future__ import annotations

import httpx
import pytest

from keyform.errors import AnswerLost, ConfigError, ServiceError
from keyform.model import KeySpec
from keyform.services.check import check_profile
from tests.services.speaking import profile_text, speaking

LOGIN = "auth: {{login: {{path: {}, token: t}}}}"


def told(text: str) -> list[tuple[str, int]]:
    found = check_profile(text.encode(), "made-up.yaml")
    return [(d.summary, d.location.line) for d in found if d.location is not None]


@pytest.mark.parametrize(
    ("top", "what"),
    [
        ('headers: {"Bad Header:": x}', "Bad Header:: this is no name of a header"),
        ('headers: {"": x}', "this is no name of a header"),
        ('headers: {"X-\\n": x}', "this is no name of a header"),
        ('headers: {X-Team: "a\\r\\nHost: b"}', "headers.X-Team: the value of a header holds a line break"),
        ('headers: {X-Team: "a\\0b"}', "the value of a header holds a line break or another control"),
        ("headers: {X-Team: é}", "holds letters outside ASCII"),
        ('headers: {X-Team: " a"}', "begins or ends with a space"),
        ("headers: {Host: evil.example}", "`Host` belongs to the connection"),
        ('headers: {content-length: "7"}', "`content-length` belongs to the connection"),
        ("headers: {Transfer-Encoding: chunked}", "`Transfer-Encoding` belongs to the connection"),
        ("headers: {CONNECTION: close}", "`CONNECTION` belongs to the connection"),
        ("headers: {Authorization: Basic abc}", "`Authorization` carries a credential"),
        ("headers: {Cookie: a=b}", "`Cookie` carries a credential"),
        ("headers: {X-Api-Key: abc}", "`X-Api-Key` carries a credential"),
        ('auth: {value: "Bearer {credential}\\r\\nX: y"}', "auth.value: the value of a header holds"),
        ("auth: {header: Host}", "auth.header: `Host` belongs to the connection"),
        ("auth: {choices: {a: {header: Connection}, b: {}}}", "auth.choices.a.header: `Connection` belongs"),
        ("key_auth: {header: Content-Length}", "key_auth.header: `Content-Length` belongs"),
        (LOGIN.format("evil.example/"), "auth.login.path: a path begins with one /"),
        (LOGIN.format('"/a b"'), "auth.login.path: a path holds no spaces"),
    ],
)
def test_what_no_request_can_say_is_refused_at_the_top(top: str, what: str) -> None:
    ((summary, line),) = told(profile_text(top))
    assert what in summary
    assert line == 6


@pytest.mark.parametrize(
    ("operations", "what"),
    [
        ('  prove: {backing: documented, path: "/a\\nb"}', "operations.prove.path: a path holds no spaces"),
        ("  prove: {backing: documented, path: /a b}", "operations.prove.path: a path holds no spaces"),
        ('  prove: {backing: documented, path: "/\\u2028"}', "a path holds no spaces and no control"),
        (
            "  prove: {backing: documented, path: /me, headers: {Host: a}}",
            "operations.prove.headers.Host: `Host` belongs",
        ),
        (
            "  set_origins: {backing: documented, add: {path: '/{project}/a b'}, remove: {path: /r}}\n"
            "  get_origins: {backing: contract}",
            "operations.set_origins.add.path: a path holds no spaces",
        ),
        (
            "  update: {backing: documented, calls: {name: [{path: '/{id}', headers: {'a b': x}}]}}",
            "operations.update.calls.name.0.headers.a b: this is no name",
        ),
    ],
)
def test_what_no_request_can_say_is_refused_in_a_call(operations: str, what: str) -> None:
    top = "mutable: [name]" if "update" in operations else ""
    text = profile_text(top, operations)
    assert any(what in summary and line == 10 for summary, line in told(text)), told(text)


def test_the_new_key_may_travel_in_a_header_of_its_own() -> None:
    proof = '  prove: {backing: documented, path: /me, auth: none, headers: {X-Api-Key: "{secret}"}}'
    assert told(profile_text("headers: {Acme-Version: 2026-01}", proof)) == []
    assert told(profile_text(operations=proof.replace("{secret}", "{name}")))


def test_a_base_url_without_spaces() -> None:
    for host in ("https://a b.example", '"https://a.example/\\n"', "https://ä.example"):
        assert told(profile_text().replace("https://made-up.example", host))


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError("nothing may be sent")


@pytest.mark.parametrize("name", ["a\r\nHost: evil", "a\nb", "a\0b", "é", " a"], ids=repr)
def test_a_value_that_a_header_cannot_carry_is_an_error_and_nothing_is_sent(name: str) -> None:
    text = profile_text().replace("path: /keys, ", 'path: /keys, headers: {X-Name: "{name}"}, ')
    with pytest.raises(ServiceError, match="what the header X-Name is to say") as caught:
        speaking(text, never).create(KeySpec(name=name), "lineage/label")
    assert not isinstance(caught.value, AnswerLost)
    assert "evil" not in str(caught.value)


def test_ids_that_no_address_can_hold_are_errors_and_nothing_is_sent() -> None:
    service = speaking(profile_text(), never)
    for key_id in ("\ud800", "a" * 70_000):
        with pytest.raises(ServiceError, match="is no id"):
            service.revoke(key_id)


def test_texts_that_are_no_unicode_are_errors_and_nothing_is_sent() -> None:
    with pytest.raises(ServiceError, match="is no Unicode") as caught:
        speaking(profile_text(), never).create(KeySpec(name="\ud800"), "lineage/label")
    assert not isinstance(caught.value, AnswerLost)
    query = profile_text().replace("path: /keys, ", 'path: /keys, query: {n: "{name}"}, ')
    for name in ("\ud800", "a" * 70_000):
        with pytest.raises(ServiceError, match="too long"):
            speaking(query, never).create(KeySpec(name=name), "lineage/label")


def test_line_breaks_in_ids_are_written_so_that_they_stay_in_the_path() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(204)

    speaking(profile_text(), answer).revoke("a\r\nHost: evil")
    assert seen == ["/keys/a%0D%0AHost%3A%20evil"]


def test_a_profile_with_such_a_call_is_not_loaded() -> None:
    with pytest.raises(ConfigError, match="belongs to the connection"):
        speaking(profile_text("headers: {Host: evil.example}"), never)
