"""Permission queries of verifyKey: slugs joined by AND, OR and parentheses; AND binds tighter."""

from __future__ import annotations

import re
from collections.abc import Collection

from ..refusal import Refusal, invalid

_TOKEN = re.compile(r"[()]|[^\s()]+")


def satisfied(query: str, held: Collection[str]) -> bool:
    """Whether these permissions answer the query. Raises Refusal for a query that is none."""
    tokens = _TOKEN.findall(query)
    if len(tokens) > 100:
        raise _not_a_query()
    value, rest = _either(tokens, held)
    if rest:
        raise _not_a_query()
    return value


def _either(tokens: list[str], held: Collection[str]) -> tuple[bool, list[str]]:
    value, rest = _both(tokens, held)
    while rest[:1] == ["OR"]:
        other, rest = _both(rest[1:], held)
        value = value or other
    return value, rest


def _both(tokens: list[str], held: Collection[str]) -> tuple[bool, list[str]]:
    value, rest = _one(tokens, held)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:], held)
        value = value and other
    return value, rest


def _one(tokens: list[str], held: Collection[str]) -> tuple[bool, list[str]]:
    if not tokens or tokens[0] in (")", "AND", "OR"):
        raise _not_a_query()
    if tokens[0] != "(":
        return tokens[0] in held, tokens[1:]
    value, rest = _either(tokens[1:], held)
    if rest[:1] != [")"]:
        raise _not_a_query()
    return value, rest[1:]


def _not_a_query() -> Refusal:
    return invalid("permissions", "Join permission slugs with AND, OR and parentheses.")
