"""How a service tells that something went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Errors:
    """Where a service's own ``code`` and ``message`` stand in an answer. ``failed``: whether an answer with a
    status of success tells of a failure all the same; ``statuses``: what such a one counts as by its code."""

    code: Callable[[Any], str]
    message: Callable[[Any], str]
    failed: Callable[[Any], bool] | None
    statuses: Mapping[str, int]

    def __call__(self, body: Any) -> tuple[str, str]:
        """Code and message, empty where the answer has none."""
        return self.code(body), self.message(body)

    def status_of(self, status: int, body: Any) -> tuple[int, bool]:
        """What an answer counts as, and whether it is a refusal."""
        if not 200 <= status < 300 or self.failed is None or not self.failed(body):
            return status, status >= 400
        return self.statuses.get(self.code(body), status), True
