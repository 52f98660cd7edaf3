"""Calls of a vendor's data plane, cut down to the question who may make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import falcon

from ..records import Key
from ..refusal import Refusal
from ..verification import Asked, Verifier
from ..web import answer

Ask = Callable[[falcon.Request, Mapping[str, str]], Asked]
"""What a request wants, from the request and the fields of its path. Raises Refusal."""


class Read:
    """A GET that answers with a fixed document when the key may read it."""

    def __init__(self, verifier: Verifier, ask: Ask, document: object) -> None:
        self._verifier = verifier
        self._ask = ask
        self._document = document

    def on_get(self, req: falcon.Request, resp: falcon.Response, **fields: str) -> None:
        """Serve it."""
        _serve(self._verifier, self._ask, req, resp, fields)
        answer(resp, self._document)


class Write:
    """A POST that answers with a fixed document when the key may send it; what is sent is thrown away."""

    def __init__(self, verifier: Verifier, ask: Ask, document: object, status: int = 200) -> None:
        self._verifier = verifier
        self._ask = ask
        self._document = document
        self._status = status

    def on_post(self, req: falcon.Request, resp: falcon.Response, **fields: str) -> None:
        """Serve it."""
        _serve(self._verifier, self._ask, req, resp, fields)
        resp.status = self._status
        answer(resp, self._document)


def only(kinds: frozenset[str], code: str, message: str) -> Callable[[Key], None]:
    """A rule that lets keys of these kinds pass and refuses others with a 403."""

    def permit(key: Key) -> None:
        if key.kind not in kinds:
            raise Refusal(403, code, message)

    return permit


def _serve(
    verifier: Verifier, ask: Ask, req: falcon.Request, resp: falcon.Response, fields: Mapping[str, str]
) -> None:
    _, allowance = verifier.verify(ask(req, fields))
    if allowance is not None:
        resp.set_headers(allowance.headers())
