"""Who loses access by a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyform.engine.plan import Change


def origins_lost(change: Change) -> list[str]:
    """The origins that a change of an allowlist takes away."""
    return [
        str(origin)
        for difference in change.diff
        if difference.path == "allowed_origins"
        for origin in difference.before or ()
        if origin not in (difference.after or ())
    ]
