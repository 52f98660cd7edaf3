"""Going through a listing page by page, whichever way a service counts its pages.

However a page goes wrong, what was read before it is kept and the reason is told: a listing is whole, or
it says that it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from keyform.errors import Refused, ServiceError, Unreachable
from keyform.ports import Clock
from keyform.services.calls import Answer
from keyform.services.fields import Unintelligible
from keyform.services.paths import compile_path

CURSOR, PAGE, OFFSET, LINK, NONE = "cursor", "page", "offset", "link", "none"
STYLES = (CURSOR, PAGE, OFFSET, LINK, NONE)

MOST_PAGES = 10_000
MOST_ENTRIES = 200_000
MOST_BYTES = 256 << 20
LARGEST_PAGE = 1000
"""Entries that one page is asked to hold at most."""

TELL_AFTER, TELL_EVERY = 60, 30
SCANTY_SECONDS, SCANTY_PAGE = 120, 20
LONGEST = 900
"""Seconds after which a listing that goes on is told, and then how often; after which one whose pages hold
less than ``SCANTY_PAGE`` entries on average is given up, and any other."""

_log = logging.getLogger(__name__)

_CANNOT_BE_USED = (200, 401, 403, 404)
_MISSING: Any = object()


class Entry(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=Entry)

Values = Mapping[str, Any]
Fetch = Callable[[Values, str | None], Answer]
"""Takes the placeholders of one page, or the address of the page as a link gave it."""


@dataclass(frozen=True, slots=True)
class Following:
    """What comes after a page: placeholders for the next, an address for it, or nothing (both None)."""

    values: Values | None = None
    link: str | None = None

    @property
    def ends(self) -> bool:
        return self.values is None and self.link is None


class Patience:
    """How long a listing may take, whichever number of walks it is made of, and who is told that it does."""

    def __init__(self, clock: Clock, doing: str) -> None:
        self._clock, self._doing = clock, doing
        self._began = clock.monotonic()
        self._told = self._began + TELL_AFTER - TELL_EVERY

    def now(self) -> float:
        """Seconds, as the beginning of a walk is counted from."""
        return self._clock.monotonic()

    def over(self, since: float, pages: int, entries: int) -> str | None:
        """Why a walk that began ``since`` then is to be given up after so many pages and entries, or None."""
        now = self._clock.monotonic()
        so_far = f"{_counted(entries, 'entry', 'entries')} on {_counted(pages, 'page', 'pages')}"
        if now - self._began > LONGEST:
            return f"it has not ended after {LONGEST // 60} minutes ({so_far})"
        if now - since > SCANTY_SECONDS and entries < SCANTY_PAGE * pages:
            return f"it has not ended after {SCANTY_SECONDS // 60} minutes and its pages are small ({so_far})"
        if now - self._told >= TELL_EVERY:
            self._told = now
            _log.warning("%s goes on for %d s: %s so far", self._doing, now - self._began, so_far)
        return None


class Pages:
    """How one listing is divided, from a profile's ``items`` and ``paging``."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        paging = tree.get("paging", {})
        self._items = items_of(tree.get("items", ""))
        self._style: str = paging.get("by", NONE)
        self._size: int = paging.get("size", 100)
        self._first: int = paging.get("first", 1)
        self._next = compile_path(paging.get("next", "next"), _MISSING)
        self._must_say = paging.get("ends") == "null"
        self._more = _path_or_none(paging.get("more"))
        self._total = _path_or_none(paging.get("total"))
        self._pages = _path_or_none(paging.get("pages"))

    def walk(
        self, fetch: Fetch, read: Callable[[object], _T], keep: Callable[[Any], bool], patience: Patience
    ) -> tuple[tuple[_T, ...], str | None]:
        """Every entry in the service's order, and why some may be missing. Raises ``ServiceError`` when
        the first page shows that the service cannot be used at all."""
        since = patience.now()
        found: dict[str, _T] = {}
        seen: set[str] = set()
        following = Following(self._start())
        count = size = 0
        for number in range(1, MOST_PAGES + 1):
            try:
                answer = fetch(following.values or {}, following.link)
                entries = self._items(answer.body)
                if type(entries) is not list:
                    raise Unintelligible("a page without a list of entries")
                count, size = count + len(entries), size + answer.size
                if count > MOST_ENTRIES or size > MOST_BYTES:
                    beyond = f"{MOST_ENTRIES} entries or {MOST_BYTES >> 20} MiB"
                    return tuple(found.values()), f"it has not ended after {beyond}"
                shown = [read(raw) for raw in entries if keep(raw)]
                page = {entry.id: entry for entry in shown}
                if len(page) < len(shown) or not found.keys().isdisjoint(page):
                    # Whatever shifted while the pages were read may have pushed another entry out of sight.
                    return tuple(found.values()), f"page {number} repeats an id"
                found.update(page)
                following = self._following(answer, following, len(entries), count, number)
            except Unintelligible as problem:
                return tuple(found.values()), f"page {number} holds {problem}"
            except (Refused, Unreachable) as problem:
                if number == 1 and (isinstance(problem, Unreachable) or problem.status in _CANNOT_BE_USED):
                    raise
                return tuple(found.values()), f"page {number}: {problem}"
            except ServiceError as problem:
                return tuple(found.values()), f"page {number}: {problem}"
            if following.ends:
                return tuple(found.values()), None
            if (why := patience.over(since, number, count)) is not None:
                return tuple(found.values()), why
            if self._style in (CURSOR, LINK):
                place = following.link or str((following.values or {}).get("cursor"))
                if place in seen:
                    return tuple(found.values()), f"page {number} points back to an earlier page"
                seen.add(place)
        return tuple(found.values()), f"it has not ended after {MOST_PAGES} pages"

    def _start(self) -> dict[str, Any]:
        size = min(self._size, LARGEST_PAGE)
        if self._style == PAGE:
            return {"limit": size, "page": self._first}
        if self._style == OFFSET:
            return {"limit": size, "offset": 0}
        return {"limit": size}

    def _following(self, answer: Answer, now: Following, count: int, found: int, number: int) -> Following:
        body, values = answer.body, dict(now.values or self._start())
        if self._style == NONE:
            self._check_total(body, found)
            return Following()
        if self._style == CURSOR:
            cursor = self._cursor(body)
            return Following() if cursor is None else Following({**values, "cursor": cursor})
        if self._style == LINK:
            link = self._next(body) if type(body) is dict else _MISSING
            return Following(
                link=self._address(link if link not in (_MISSING, None, "") else answer.next_link)
            )
        if not self._goes_on(body, count, found, number, values["limit"]):
            return Following()
        if self._style == PAGE:
            return Following({**values, "page": values["page"] + 1})
        return Following({**values, "offset": values["offset"] + count})

    def _cursor(self, body: Any) -> str | int | None:
        cursor = self._next(body)
        if self._must_say and cursor is _MISSING:
            raise Unintelligible("a page that does not say whether more follow")
        cursor = None if cursor is _MISSING else cursor
        texts = (str,) if self._must_say else (str, int)
        if cursor is not None and (type(cursor) not in texts or (cursor == "" and self._must_say)):
            raise Unintelligible("a cursor that is no text")
        if self._more is None:
            return None if cursor == "" else cursor
        more = self._says_more(body)
        if more and cursor in (None, ""):
            raise Unintelligible("a page that says that more follow and not where")
        return cursor if more else None

    def _says_more(self, body: Any) -> bool:
        more = self._more(body) if self._more else None
        if type(more) is not bool:
            raise Unintelligible("a page that does not say whether more follow")
        return more

    def _goes_on(self, body: Any, count: int, found: int, number: int, size: int) -> bool:
        if self._more is not None:
            more = self._says_more(body)
            if more and not count:
                raise Unintelligible("nothing, and says that more follow")
            return more
        if self._pages is not None:
            return number < _count(self._pages(body), "pages")
        if self._total is not None:
            total = _count(self._total(body), "entries")
            if not count and found < total:
                raise Unintelligible(f"nothing, where {found} of {total} entries have been shown")
            return found < total
        return count >= size

    def _check_total(self, body: Any, found: int) -> None:
        if self._total is not None and found < (total := _count(self._total(body), "entries")):
            raise Unintelligible(f"{found} of {total} entries and no way to the others")

    def _address(self, link: Any) -> str | None:
        if link is None:
            return None
        if type(link) is not str or not link.isprintable():
            raise Unintelligible("a link that is no address")
        return link


def items_of(places: str | list[str]) -> Callable[[Any], Any]:
    """A function that finds the entries of a listing: a list at one place, or at each of several places one
    entry or null. Where such a place is missing, so may be an entry: that raises ``Unintelligible``."""
    if isinstance(places, str):
        return compile_path(places)
    getters = tuple(compile_path(place, _MISSING) for place in places)

    def find(raw: Any) -> list[Any]:
        entries = [getter(raw) for getter in getters]
        if _MISSING in entries:
            raise Unintelligible("a page without all of its entries")
        return [entry for entry in entries if entry is not None]

    return find


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _path_or_none(text: str | None) -> Callable[[Any], Any] | None:
    return None if text is None else compile_path(text)


def _count(value: Any, what: str) -> int:
    if type(value) is not int or value < 0:
        raise Unintelligible(f"a page that does not say how many {what} there are")
    return value
