"""From what is declared, recorded and live to findings, and to what could not be looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyform.acceptance import Acceptance
from keyform.diagnostics import Diagnostic, listed, note, warning
from keyform.engine.audit import lifetime, live, origins, places, privilege, surroundings
from keyform.engine.audit.accepting import settle
from keyform.engine.audit.finding import Finding, ManagedKey, managed_keys
from keyform.engine.audit.rules import PLACE_ALTERED, SEVERITIES
from keyform.engine.listings import is_of_another_state, unowned_keys
from keyform.engine.plan import INCOMPLETE_LISTING, STORE_UNSEEN
from keyform.engine.sight import ServiceView, Sight

GRACE = timedelta(days=1)
"""By how much an apply may be late before something is overdue, where no ``schedule`` says how often it is
run."""


@dataclass(frozen=True, slots=True)
class Audit:
    """``findings``: worst first, accepted ones included. ``diagnostics`` say what could not be looked at;
    ``complete`` False: something that could have been could not be read this time."""

    at: datetime
    findings: tuple[Finding, ...]
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def complete(self) -> bool:
        return not any(diagnostic.severity == "warning" for diagnostic in self.diagnostics)

    @property
    def outstanding(self) -> tuple[Finding, ...]:
        """The findings that nobody has accepted."""
        return tuple(finding for finding in self.findings if finding.accepted is None)

    @property
    def summary(self) -> dict[str, int]:
        """How many open findings there are by severity, and how many are accepted."""
        counts = Counter(finding.severity for finding in self.outstanding)
        accepted = len(self.findings) - len(self.outstanding)
        return {**{severity: counts[severity] for severity in SEVERITIES}, "accepted": accepted}

    def fails_on(self, level: str) -> bool:
        """Whether there is an open finding of this severity or a worse one; ``never`` is none of them."""
        counted = SEVERITIES[: SEVERITIES.index(level) + 1] if level in SEVERITIES else ()
        return any(finding.severity in counted for finding in self.outstanding)


def audit(sight: Sight, accepted: Sequence[Acceptance] = (), names: surroundings.Names = ()) -> Audit:
    """Audit. Pure: the same arguments give the same findings. ``names``: see :mod:`surroundings`."""
    keys = tuple(managed_keys(sight))
    found = tuple(_found(sight, keys, names))
    settled = settle(found, accepted, sight.now, lambda entry: _could_be_seen(sight, entry))
    return Audit(sight.now, tuple(sorted(settled, key=_order)), tuple(_unseen(sight)))


def _found(sight: Sight, keys: tuple[ManagedKey, ...], names: surroundings.Names) -> Iterator[Finding]:
    yield from live.unmanaged(sight)
    yield from live.unused(sight, keys)
    yield from live.doubtful(sight)
    yield from places.shared(sight, keys)
    yield from origins.of_projects(sight, keys)
    grace = sight.schedule or GRACE
    for key in keys:
        yield from live.broken(key)
        yield from live.held(key, sight, grace)
        yield from lifetime.policies(key)
        yield from lifetime.deadlines(key, sight.now, grace)
        yield from privilege.scopes(key)
        yield from privilege.kind(key)
        yield from places.altered(key, sight)
        yield from surroundings.live_in_test(key, names)
        yield from origins.of_key(key)


def _order(finding: Finding) -> tuple[int, str, str, str]:
    return SEVERITIES.index(finding.severity), finding.rule.code, finding.subject, finding.about


def _could_be_seen(sight: Sight, entry: Acceptance) -> bool:
    if entry.rule == PLACE_ALTERED.code and sight.stores.unseen:
        return False
    if entry.service is not None:
        services = {entry.service}
    else:
        services = {key.service for key in sight.desired.keys if entry.is_about(key.address)}
        services |= {one.service for one in sight.desired.projects if entry.is_about(one.address)}
    return all((view := sight.services.get(name)) is None or view.listing.complete for name in services)


def _unseen(sight: Sight) -> Iterator[Diagnostic]:
    """What the audit says nothing about, because it cannot be seen or could not be read."""
    for view in sight.services.values():
        if not view.listing.complete:
            if view.listing.problem is not None:
                yield replace(view.listing.problem, severity="warning")
            yield warning(
                INCOMPLETE_LISTING,
                f"{view.name} could not be read whole, so keys there may be unmanaged, unused, disabled or "
                "revoked without being in this audit",
                "What is declared for it was audited. Audit again when the service can be read.",
            )
    for name, problem in sorted(sight.stores.unseen.items()):
        yield warning(
            STORE_UNSEEN,
            f"store {name!r} could not be looked at, so whether it holds what was written there was not "
            f"audited: {problem.summary}",
            problem.detail,
        )
    yield from _undeclared(sight)
    blind = [view for view in sight.services.values() if not view.profile.lists]
    if blind:
        rules = " ".join(dict.fromkeys(view.profile.cite("list") for view in blind)).strip()
        yield note(
            "no-listing",
            f"{_names(blind)}: nothing shows keyform the keys there, so only what is declared and recorded "
            "was audited",
            f"Unmanaged, unused, disabled and revoked keys there cannot be found. {rules}".rstrip(),
        )
    silent = [
        view for view in sight.services.values() if view not in blind and not view.profile.shows_last_used
    ]
    if silent:
        yield note(
            "no-last-use",
            f"{_names(silent)}: when a key was last used is not shown there, so unused keys cannot be found",
        )
    others = Counter(view.name for view, key in unowned_keys(sight) if is_of_another_state(sight.state, key))
    for name, count in others.items():
        keys = "1 key carries" if count == 1 else f"{count} keys carry"
        yield note(
            "other-states",
            f"{keys} the label of another keyform state at {name}, and were left to its audit",
            "Whether that state is still kept, only its owner knows.",
        )


def _undeclared(sight: Sight) -> Iterator[Diagnostic]:
    at = (record.current.service for record in sight.state.keys.values())
    for name, count in sorted(Counter(name for name in at if name not in sight.services).items()):
        keys = "1 key" if count == 1 else f"{count} keys"
        yield warning(
            "service-not-declared",
            f"the state has {keys} at the service {name!r}, which is not declared, so they were not audited",
            "Declare the service again.",
        )


def _names(views: Sequence[ServiceView]) -> str:
    return listed(view.name for view in views)
