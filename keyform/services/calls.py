"""One call to a service and its answer, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keyform.model import Secret

READ, WRITE, CREATE = "read", "write", "create"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a service.

    ``doing`` is the operation in words, for messages ("creating a key"). ``effect`` is ``read``,
    ``write`` or ``create``. ``repeatable``: sending it twice does no more than sending it once.
    ``managed``: it carries the service's credential and counts against that credential's rate limit.
    ``form``: the body is sent as a form, not as JSON. ``empty``: an answer without content is fine.
    ``secret`` travels with the call and is hidden from every message.
    """

    doing: str
    method: str
    path: str
    effect: str = READ
    params: Mapping[str, str | int] | None = None
    body: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeatable: bool = True
    managed: bool = True
    form: bool = False
    empty: bool = False
    secret: Secret | None = None
    next_steps: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer (2xx) with its JSON body, which may hold a secret. ``next_link``: the address
    of the next page, from a ``Link`` header. ``size`` in bytes."""

    status: int
    body: Any = field(repr=False)
    next_link: str | None = None
    size: int = 0
