"""Names and ids as a user writes them into YAML."""

from __future__ import annotations

import json
import re

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def in_yaml(text: str) -> str:
    """A text as YAML has it inside a flow mapping: plain where that is the same text, else in quotes."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


def key_in_yaml(address: str) -> str:
    """The name of a key, from its address, as ``imports``, ``moved`` and ``removed`` take it."""
    return in_yaml(address.removeprefix("keys."))
