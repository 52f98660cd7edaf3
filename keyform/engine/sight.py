"""What planning sees: the declared, the recorded and the live, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyform.encoding import spec_to_json
from keyform.engine.holding import Holdings
from keyform.engine.whereabouts import Whereabouts
from keyform.model import (
    ACTIVE,
    DISABLED,
    EXPIRED,
    REVOKED,
    Desired,
    DesiredKey,
    KeySpec,
    LiveKey,
    LiveProject,
    Rotation,
    digest,
)
from keyform.ports import Listing
from keyform.profile import Profile
from keyform.state import Generation, State
from keyform.terms import Terms


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service: its profile, its listing by id, and the key that keyform uses as its credential.
    ``stale_after``: how long a key of it may go unused before plans say so, None for ever. ``skew``: how far
    its clock is ahead of this machine's, None where that is not known."""

    name: str
    profile: Profile
    listing: Listing
    own_key: str | None = None
    keys: Mapping[str, LiveKey] = field(default_factory=dict)
    projects: Mapping[str, LiveProject] = field(default_factory=dict)
    stale_after: timedelta | None = None
    skew: timedelta | None = None

    @staticmethod
    def of(
        name: str,
        profile: Profile,
        listing: Listing,
        own_key: str | None = None,
        stale_after: timedelta | None = None,
    ) -> ServiceView:
        """A view with its indexes."""
        return ServiceView(
            name,
            profile,
            listing,
            own_key,
            {key.id: key for key in listing.keys},
            {project.id: project for project in listing.projects},
            stale_after,
        )

    @property
    def shows_projects(self) -> bool:
        """Whether projects are seen at all; where not, what is recorded of them counts."""
        return self.profile.lists or "get_origins" in self.profile.operations

    def holder(self, kind: str | None) -> LiveKey | None:
        """The live key of a kind that has exactly one."""
        keys = self.listing.keys if self.profile.one_per_kind else ()
        return next((key for key in keys if key.spec.kind == kind and key.status != REVOKED), None)

    def backing(self, operation: str) -> str | None:
        """How the service backs an operation: documented, contract or assisted."""
        return self.profile.operations.get(operation)


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that a plan is made from. ``services`` holds every service that could be read, ``where``
    says which services and stores are declared. ``pending`` are the labels and ids of keys that an apply
    which is running, or was interrupted, has still to account for. ``stores`` is what they hold.
    ``schedule``: how often keyform is run by itself, None where that is not said. ``minting``: the services
    where an interrupted apply may have minted keys."""

    desired: Desired
    state: State
    services: Mapping[str, ServiceView]
    now: datetime
    config_digest: str = ""
    where: Whereabouts = field(default_factory=Whereabouts)
    pending: frozenset[str] = frozenset()
    stores: Holdings = field(default_factory=Holdings)
    schedule: timedelta | None = None
    minting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of a recorded generation at its service.

    ``live`` is None when it is gone or revoked; ``known`` False when the listing cannot tell.
    """

    live: LiveKey | None
    known: bool = True
    expired: bool = False
    disabled: bool = False


def presence(view: ServiceView, generation: Generation, now: datetime) -> Presence:
    """Find a generation in the listing. What the listing does not show is taken from the record, and a
    key younger than the listing's lag is taken to be there. Whether a key has expired is for its service to
    say; this machine's clock decides only where there is no listing, or one that does not say it."""
    profile = view.profile
    live = view.keys.get(generation.id)
    if live is None:
        recorded = LiveKey(generation.id, generation.spec, created_at=generation.created_at)
        if not profile.lists:
            live = recorded
        elif generation.revoke_at is not None and not profile.revokes:
            # The listing shows the key in use alone, and an old one ends when its service was told to end it.
            return Presence(recorded if generation.revoke_at > now else None)
        elif not view.listing.complete:
            return Presence(recorded, known=False)
        elif generation.created_at + profile.list_lag > now:
            live = recorded
        else:
            return Presence(None)
    if live.status == REVOKED:
        return Presence(None)
    spec = with_balance_of(generation.spec, live.spec)
    if hidden := profile.fields_unseen:
        spec = replace(spec, **{name: getattr(generation.spec, name) for name in hidden})
    if spec is not live.spec:
        live = replace(live, spec=spec)
    ends = live.spec.expires_at
    over = ends is not None and ends <= now
    told = profile.lists and profile.tells_expired
    return Presence(live, expired=live.status == EXPIRED if told else over, disabled=live.status == DISABLED)


def seen_digest(live: LiveKey | LiveProject | None) -> str:
    """A digest of what matters about something live; what passes by itself (last use, spent credits) is left
    out."""
    if live is None:
        return digest(None)
    if isinstance(live, LiveProject):
        return digest({"id": live.id, "allowed_origins": list(live.allowed_origins)})
    status = ACTIVE if live.status == EXPIRED else live.status
    return digest({"id": live.id, "spec": spec_to_json(without_balance(live.spec)), "status": status})


def with_balance_of(recorded: KeySpec, live: KeySpec) -> KeySpec:
    """A live key with the credits that keyform gave it last. Use spends them and a refill brings them back,
    so what is left is no change of the key; that they are there at all, and the refill, is compared."""
    if live.credits is None or recorded.credits is None:
        return live
    return replace(live, credits=replace(live.credits, remaining=recorded.credits.remaining))


def as_adopted(live: KeySpec, want: KeySpec, profile: Profile) -> KeySpec:
    """A live key that is adopted as ``want``. What cannot be seen of it and cannot be changed either is taken
    to be as declared, and so is what use has spent of its credits."""
    unseen = profile.fields_unseen - profile.mutable
    return replace(with_balance_of(want, live), **{name: getattr(want, name) for name in unseen})


def without_balance(spec: KeySpec) -> KeySpec:
    """A specification whose credits are there or not, whatever is left of them."""
    return replace(spec, credits=replace(spec.credits, remaining=0)) if spec.credits else spec


def terms_of(want: DesiredKey) -> Terms:
    """What the state is to keep about a declared key."""
    rotation = want.rotation if want.rotation != Rotation() else None
    return Terms(want.expires_in, want.owner, want.tags, want.protect, rotation)
