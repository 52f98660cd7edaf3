"""What a reader of a plan has to know about the services: what cannot be seen, and what takes effect late."""

from __future__ import annotations

from collections.abc import Iterator

from keyform.diagnostics import Diagnostic, note, warning
from keyform.engine.plan import END, Change
from keyform.engine.sight import Sight
from keyform.model import format_duration


def notes(sight: Sight, changes: tuple[Change, ...]) -> Iterator[Diagnostic]:
    """Notes on the services that the plan looked at or changes."""
    for name, view in sight.services.items():
        profile = view.profile
        if not profile.lists:
            yield note(
                "unseen",
                f"nothing lists the keys of {name}, so the state is the only record of them",
                "The plan cannot see keys that were changed, revoked or made elsewhere. If the answer to a "
                "create is lost, keyform cannot look whether a key was made. " + profile.cite("list"),
            )
        ended = sum(step.op == END and step.service == name for change in changes for step in change.steps)
        if ended and profile.revocation_lag:
            keys = "a revoked key" if ended == 1 else f"{ended} revoked keys"
            yield note(
                "revocation-lag",
                f"{keys} at {name} may go on working for up to {format_duration(profile.revocation_lag)}",
                profile.cite("cache"),
            )
    for change in changes:
        lost = origins_lost(change)
        if lost:
            these = "this origin" if len(lost) == 1 else "these origins"
            rule = sight.services[change.service or ""].profile.cite("allowed_origins")
            yield warning(
                "origins-removed",
                f"{change.address}: {', '.join(lost)} will lose access, as if the keys there were revoked",
                f"Browsers at {these} are refused as soon as this is applied. {rule}".rstrip(),
                address=change.address,
            )


def origins_lost(change: Change) -> list[str]:
    """The origins that a change of an allowlist takes away."""
    return [
        str(origin)
        for difference in change.diff
        if difference.path == "allowed_origins"
        for origin in difference.before or ()
        if origin not in (difference.after or ())
    ]
