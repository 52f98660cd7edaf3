"""The one exception with which the service says no."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A request that the service answers with an error.

    status: HTTP status code. code: stable word for programs. details and headers travel with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})


def invalid(field: str, message: str, code: str = "invalid_request") -> Refusal:
    """A 422 that names the field at fault; a name that a caller made up is cut short."""
    return Refusal(422, code, message, details={"field": field[:100]})
