"""Every way of paging: whole, in order, and never taken for whole when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.services.conftest import ManualClock
from tests.services.speaking import profile_text, speaking

TOP = "key: {id: id}"
NUMBERS = list(range(7))


def listing(call: str) -> str:
    return profile_text(TOP, f"  list: {{backing: documented, path: /keys, items: keys, {call}}}")


def ids(numbers: list[int]) -> list[dict[str, str]]:
    return [{"id": f"k{number}"} for number in numbers]


def slices(request: httpx.Request) -> tuple[int, int]:
    query = request.url.params
    if "offset" in query:
        return int(query["offset"]), 3
    return (int(query.get("page", "1")) - 1) * 3, 3


Extra = Callable[[int, int], dict[str, Any]]


def serving(
    extra: Extra, headers: Callable[[int], dict[str, str]] = lambda end: {}
) -> Callable[..., httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        start, size = slices(request)
        end = start + size
        return httpx.Response(
            200, json={"keys": ids(NUMBERS[start:end]), **extra(start, end)}, headers=headers(end)
        )

    return answer


def by_cursor(request: httpx.Request) -> httpx.Response:
    start = int(request.url.params.get("after", "0"))
    more = start + 3 < len(NUMBERS)
    following = {"next": str(start + 3)} if more else {"next": None}
    return httpx.Response(200, json={"keys": ids(NUMBERS[start : start + 3]), "more": more, **following})


def by_link(request: httpx.Request) -> httpx.Response:
    start = int(request.url.params.get("from", "0"))
    links = {"Link": f'</keys?from={start + 3}>; rel="next"'} if start + 3 < len(NUMBERS) else {}
    return httpx.Response(200, json={"keys": ids(NUMBERS[start : start + 3])}, headers=links)


CURSOR = 'query: {after: "{cursor}", n: "{limit}"}, paging: {by: cursor, size: 3, next: next'
PAGED = 'query: {page: "{page}", n: "{limit}"}, paging: {by: page, size: 3'
OFFSET = 'query: {offset: "{offset}", n: "{limit}"}, paging: {by: offset, size: 3'


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (CURSOR + "}", by_cursor),
        (CURSOR + ", more: more}", by_cursor),
        ("paging: {by: link}", by_link),
        (
            "paging: {by: link, next: links.next}",
            serving(lambda s, e: {"links": {"next": f"/keys?offset={e}"} if e < 7 else {}}),
        ),
        (
            "paging: {by: link, next: next}",  # relative to the page that it stands in, as RFC 3986 has it
            serving(lambda s, e: {"next": f"?offset={e}" if e < 7 else None}),
        ),
        (PAGED + "}", serving(lambda s, e: {})),
        (PAGED + ", more: more}", serving(lambda s, e: {"more": e < 7})),
        (PAGED + ", total: total}", serving(lambda s, e: {"total": 7})),
        (PAGED + ", pages: pages}", serving(lambda s, e: {"pages": 3})),
        (OFFSET + "}", serving(lambda s, e: {})),
        (OFFSET + ", total: total}", serving(lambda s, e: {"total": 7})),
        ("paging: {by: none}", lambda r: httpx.Response(200, json={"keys": ids(NUMBERS)})),
        (
            "paging: {by: none, total: total}",
            lambda r: httpx.Response(200, json={"keys": ids(NUMBERS), "total": 7}),
        ),
    ],
)
def test_all_of_it_comes(call: str, answer: Callable[[httpx.Request], httpx.Response]) -> None:
    found = speaking(listing(call), answer).list()
    assert found.complete, found.problem
    assert [key.id for key in found.keys] == [f"k{number}" for number in NUMBERS]


def for_ever(request: httpx.Request) -> httpx.Response:
    page = int(request.url.params.get("page", request.url.params.get("after", "1")))
    more = {"more": True, "total": 10**9, "pages": 10**9, "next": str(page + 1)}
    return httpx.Response(200, json={"keys": ids([page * 2, page * 2 + 1]), **more})


def the_same(request: httpx.Request) -> httpx.Response:
    return httpx.Response(
        200, json={"keys": ids([0, 1, 2]), "more": True, "total": 9, "pages": 9, "next": "again"}
    )


@pytest.mark.parametrize(
    "call",
    [
        CURSOR + "}",
        CURSOR + ", more: more}",
        PAGED + ", more: more}",
        PAGED + ", total: total}",
        PAGED + ", pages: pages}",
    ],
)
def test_a_service_that_pages_for_ever_is_given_up(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyform.services.paging.MOST_PAGES", 20)
    found = speaking(listing(call), for_ever).list()
    assert not found.complete
    assert "has not ended after 20 pages" in found.problem.summary
    assert len(found.keys) == 40


def lasting(clock: ManualClock, seconds: float, each: int) -> Callable[[httpx.Request], httpx.Response]:
    """Pages of new ids without end, each of which takes its time."""
    asked = [0]

    def answer(request: httpx.Request) -> httpx.Response:
        clock.sleep(seconds)
        asked[0] += 1
        first = asked[0] * each
        more = {"more": True, "total": 10**9, "pages": 10**9, "next": str(first)}
        return httpx.Response(200, json={"keys": ids(list(range(first, first + each))), **more})

    return answer


@pytest.mark.parametrize(
    ("call", "each", "within", "times", "said"),
    [
        (CURSOR + "}", 2, 121, 2, "after 2 minutes and its pages are small (5,334 entries on 2,667 pages)"),
        (PAGED + ", more: more}", 2, 121, 2, "after 2 minutes and its pages are small"),
        (OFFSET + ", more: more}", 2, 121, 2, "after 2 minutes and its pages are small"),
        (CURSOR + "}", 100, 91, 1, "after 200000 entries"),
    ],
)
def test_a_listing_without_end_ends_in_time_and_is_told_before(
    call: str, each: int, within: float, times: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    with caplog.at_level("WARNING", "keyform"):
        found = speaking(listing(call), lasting(clock, 0.045, each), clock).list()
    assert not found.complete
    assert said in found.problem.summary
    assert clock.monotonic() < within
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == times
    assert told[0].startswith("service 'made-up': listing the keys goes on for 60 s: ")
    assert "entries on" in told[0]


def test_a_slow_and_large_listing_may_take_its_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    slow = lasting(clock, 2, 100)

    def ends(request: httpx.Request) -> httpx.Response:
        answer = slow(request)
        if clock.monotonic() < 600:
            return answer
        return httpx.Response(200, json={"keys": []})

    with caplog.at_level("WARNING", "keyform"):
        found = speaking(listing(CURSOR + "}"), ends, clock).list()
    assert found.complete
    assert len(found.keys) == 29900
    assert len(caplog.records) == 18


def test_a_listing_is_given_up_after_a_quarter_of_an_hour() -> None:
    clock = ManualClock()
    found = speaking(listing(CURSOR + "}"), lasting(clock, 2, 100), clock).list()
    assert "it has not ended after 15 minutes" in found.problem.summary
    assert clock.monotonic() < 910


@pytest.mark.parametrize(
    "call", [CURSOR + "}", PAGED + "}", PAGED + ", more: more}", PAGED + ", pages: pages}", OFFSET + "}"]
)
def test_a_page_that_comes_again_is_noticed(call: str) -> None:
    found = speaking(listing(call), the_same).list()
    assert not found.complete
    assert "page 2 repeats an id" in found.problem.summary
    assert len(found.keys) == 3


@pytest.mark.parametrize(
    ("call", "answer", "said"),
    [
        (PAGED + ", total: total}", serving(lambda s, e: {"total": 9}), "nothing, where 7 of 9"),
        (PAGED + ", total: total}", serving(lambda s, e: {}), "how many entries"),
        (PAGED + ", pages: pages}", serving(lambda s, e: {"pages": "3"}), "how many pages"),
        (PAGED + ", more: more}", serving(lambda s, e: {}), "whether more follow"),
        (PAGED + ", more: more}", serving(lambda s, e: {"more": True}), "says that more follow"),
        (
            CURSOR + ", more: more}",
            lambda r: httpx.Response(200, json={"keys": [], "more": True}),
            "not where",
        ),
        (
            CURSOR + "}",
            lambda r: httpx.Response(200, json={"keys": [], "next": {}}),
            "a cursor that is no text",
        ),
        (
            "paging: {by: none, total: total}",
            lambda r: httpx.Response(200, json={"keys": ids([1]), "total": 7}),
            "1 of 7",
        ),
        ("paging: {by: link}", lambda r: httpx.Response(200, json={"keys": [], "next": 7}), "no address"),
    ],
)
def test_a_page_that_does_not_add_up_makes_the_listing_incomplete(
    call: str, answer: Callable[[httpx.Request], httpx.Response], said: str
) -> None:
    found = speaking(listing(call), answer).list()
    assert not found.complete
    assert said in found.problem.summary


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/keys?from=3",
        "//evil.example/",
        "http://made-up.example/keys",
        "ftp://x",
        "http://[/",
    ],
)
def test_a_link_to_another_host_is_not_followed(link: str) -> None:
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(f"{request.url.scheme}://{request.url.host}")
        return httpx.Response(200, json={"keys": ids([0]), "next": link})

    found = speaking(listing("paging: {by: link}"), answer).list()
    assert not found.complete
    assert "another host" in found.problem.summary
    assert hosts == ["https://made-up.example"]
