"""Which settings hold credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENSITIVE = re.compile(
    r"(?:^|_)(?:token|pass(?:word|wd|phrase)|secret|secret_?id|api_?key|access_?key|secret_?key"
    r"|private_?key|secret_?access_?key|client_?secret|credentials?)\Z"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USER_INFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*:[^/?#\s]*@")
ONE_ENVIRONMENT_NAME = re.compile(r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}\Z")
"""The only form in which a credential may be written."""


def is_sensitive(name: str) -> bool:
    """Whether an option of this name holds a credential (``token``, ``clientSecret``, ``db-password``)."""
    return _SENSITIVE.search(_CAMEL.sub("_", name).replace("-", "_").lower()) is not None


def passwords_in(text: str) -> Iterator[tuple[int, int]]:
    """Where URLs with a user name and a password stand in a text, each up to its host."""
    return (found.span() for found in _USER_INFO.finditer(text)) if "@" in text else iter(())


def has_password(text: str) -> bool:
    """Whether a URL carries a user name and a password in front of its host."""
    return "@" in text and _USER_INFO.match(text) is not None
