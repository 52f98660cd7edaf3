"""What the stores hold of the recorded secrets, what differs, and what makes it good again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from keyform.diagnostics import Diagnostic, error, note, warning
from keyform.engine.plan import MINT, RELOCATE, STORE_UNSEEN, Change, Stored
from keyform.model import DesiredKey, Place, digest
from keyform.state import Generation, State

HELD, MISSING, OTHER, CHANGED, ANOTHER, ENDED, UNKNOWN = (
    "held",
    "missing",
    "other-value",
    "changed",
    "other-generation",
    "revoked-generation",
    "unknown",
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a place holds of the secret that is recorded there.

    ``held``: that secret. ``missing``: nothing. ``other-value``: a value that keyform does not know.
    ``changed``: it was written since, and its value cannot be read. ``other-generation``: the secret of an
    earlier ``generation`` in its overlap, ``revoked-generation``: of one that has ended. ``unknown``: nobody
    could look. ``kept``: the store still gives the version that keyform wrote. ``why``: why its value
    could not be read, where the store gives values.
    """

    kind: str
    version: str | None = None
    generation: int | None = None
    kept: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The places that still give the secret of an older generation, now or as an earlier version, or ``why``
    none does."""

    places: tuple[Place, ...] = ()
    why: str = ""


NOT_SEEN = Found(UNKNOWN)
AS_RECORDED = Found(HELD)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What was found, by place. ``unread``: stores whose values cannot be read back. ``absent``: stores that
    hold something of the state and are no longer declared. ``unseen``: why a store could not be compared.
    ``taken``: places where something is although no secret is recorded there, ``own`` where that is a secret
    of the very key that is to come there. ``earlier``: by service and id, what is left of the secrets of
    older generations, where a rollback was asked for."""

    found: Mapping[Place, Found] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    unseen: Mapping[str, Diagnostic] = field(default_factory=dict)
    taken: frozenset[Place] = frozenset()
    own: frozenset[Place] = frozenset()
    earlier: Mapping[tuple[str, str], Earlier] = field(default_factory=dict)

    def at(self, place: Place) -> Found:
        return self.found.get(place, NOT_SEEN)

    def gives(self, place: Place) -> bool:
        """Whether the recorded secret can be had from there, as far as is known."""
        if place.store in self.unread or place.store in self.absent:
            return False
        found = self.at(place)
        return found.kind in (HELD, UNKNOWN) or found.kept

    def digest_of(self, generation: Generation) -> str | None:
        """Over what its places hold; None where that is not known of each."""
        found = [(place, self.at(place)) for place in generation.places]
        if not found or any(one.kind == UNKNOWN for _, one in found):
            return None
        return digest([[str(p), f.kind, None if f.kind == HELD else f.version] for p, f in found])


@dataclass(frozen=True, slots=True)
class Amends:
    """What is wrong with the places of a secret, and what makes it good: a copy at ``places`` from
    ``sources``, or a new key because of ``rotate``; ``problem`` if neither can be."""

    stored: tuple[Stored, ...] = ()
    places: tuple[Place, ...] = ()
    sources: tuple[Place, ...] = ()
    rotate: str | None = None
    problem: Diagnostic | None = None

    @property
    def reason(self) -> str:
        return "; ".join(f"{worded(one)}, so {one.remedy}" for one in self.stored)


NOTHING_AMISS = Amends()


def amends(want: DesiredKey, current: Generation, holdings: Holdings) -> Amends:
    """What becomes of the places of a secret that keyform wrote."""
    if current.fingerprint is None or not current.places:
        return NOTHING_AMISS
    gives = tuple(place for place in current.places if holdings.gives(place))
    wrong = [
        (place, found)
        for place in current.places
        if place in want.places and (found := holdings.at(place)).kind not in (HELD, UNKNOWN)
    ]
    new = [place for place in want.places if place not in current.places]
    if new and not gives:
        return _immovable(want, current, new, holdings)
    if not wrong:
        return NOTHING_AMISS
    sources = tuple(place for place in gives if holdings.at(place).kind != UNKNOWN)
    stored = tuple(_stored(place, found, sources) for place, found in wrong)
    if all(one.remedy != _NEW_KEY for one in stored):
        return Amends(stored, tuple(place for place, _ in wrong), sources)
    stored = tuple(_stored(place, found, ()) for place, found in wrong)
    return Amends(stored, rotate="; ".join(map(worded, stored)))


_NEW_KEY = "a new key takes its place"


def _stored(place: Place, found: Found, sources: tuple[Place, ...]) -> Stored:
    if place in sources:
        remedy = "the version that keyform wrote is written there again"
    elif sources:
        remedy = f"it is copied there from {sources[0]}"
    else:
        remedy = _NEW_KEY
    return Stored(place, found.kind, remedy, found.generation)


def worded(one: Stored) -> str:
    """What was found, as a clause."""
    match one.found:
        case "missing":
            return f"{one.place} no longer holds its secret"
        case "other-value":
            return f"{one.place} holds another value than keyform wrote"
        case "other-generation":
            return f"{one.place} holds the secret of generation {one.generation} again"
        case "revoked-generation":
            return f"{one.place} holds the secret of generation {one.generation} again, which is revoked"
        case _:
            return f"{one.place} was changed since keyform wrote it, and its value cannot be read"


def _immovable(want: DesiredKey, current: Generation, new: Iterable[Place], holdings: Holdings) -> Amends:
    """No place gives the secret that is to be somewhere else."""
    to = ", ".join(map(str, new))
    absent = sorted({place.store for place in current.places} & holdings.absent)
    if absent:
        return Amends(
            problem=error(
                "store-not-declared",
                f"{want.address}: its secret is to be at {to}, and it is in the store {absent[0]!r}, which "
                "is no longer declared",
                f"Declare {absent[0]!r} again until the secret has moved, and apply; then remove it.",
                address=want.address,
            )
        )
    why = []
    for place in current.places:
        if place.store in holdings.unread:
            why.append(f"nothing can be read back from {place}")
        else:
            why.append(worded(Stored(place, holdings.at(place).kind, "", holdings.at(place).generation)))
    return Amends(rotate=f"its secret is to be at {to}, and {'; '.join(why)}, so it cannot be copied")


def about_stores(
    state: State, declared: frozenset[str], holdings: Holdings, changes: tuple[Change, ...]
) -> Iterator[Diagnostic]:
    """What a reader has to know about the stores: what could not be compared, what never can be, and which
    values an apply overwrites only when it is told to."""
    for name, problem in sorted(holdings.unseen.items()):
        yield warning(
            STORE_UNSEEN,
            f"{_not_looked_at(name)}, so its secrets are not compared: {problem.summary}",
            f"The rest of the plan stands. {problem.detail}".rstrip(),
        )
    written = {p.store for c in changes for s in c.steps if s.op in (MINT, RELOCATE) for p in s.places}
    recorded = {p.store for a, r in state.keys.items() if a in declared for p in r.current.places}
    for name in sorted(holdings.unread & (written | recorded)):
        yield note(
            "store-write-only",
            f"store {name!r} gives no values back, so plans cannot compare them",
            "Whether a value there was changed is told by the version or time of its last write.",
        )
    for change in changes:
        coming = [p for step in change.steps if step.op in (MINT, RELOCATE) for p in step.places]
        for place in dict.fromkeys(place for place in coming if place in holdings.taken):
            yield warning(
                "place-taken",
                f"{change.address}: {place} holds a value already; apply overwrites it only with "
                "--overwrite-secrets, and refuses otherwise",
                "Choose another `secret`, or find out who wrote that value and delete it if nobody needs it.",
                address=change.address,
            )
        moved = [p for step in change.steps if step.op == RELOCATE for p in step.places]
        for place in dict.fromkeys(place for place in moved if place in holdings.own):
            yield warning(
                "one-place",
                f"{change.address}: {place} holds a secret of this key already, so it may be another of its "
                "places under another name",
                "Apply deletes nothing that turns out to be the same place: the old name is forgotten. Two "
                "names of one place in one `secret` are one copy, and no new key can be stored at both: "
                "declare one of them.",
                address=change.address,
            )
        for one in change.stored:
            if one.found in (OTHER, CHANGED):
                yield warning(
                    "foreign-value",
                    f"{change.address}: {one.place} {_foreign(holdings.at(one.place))}; apply overwrites it "
                    "only with --overwrite-secrets",
                    "Find out who wrote it, and whether anybody uses it, first.",
                    address=change.address,
                )


def _foreign(found: Found) -> str:
    if found.why:
        return f"was changed since keyform wrote it, and cannot be read ({found.why})"
    return "holds a value that keyform did not write"


def unseen_in(diagnostics: Iterable[Diagnostic], names: Iterable[str]) -> frozenset[str]:
    """Those of the stores that a plan with these diagnostics says could not be looked at."""
    told = [diagnostic.summary for diagnostic in diagnostics if diagnostic.code == STORE_UNSEEN]
    return frozenset(name for name in names if any(one.startswith(_not_looked_at(name)) for one in told))


def _not_looked_at(name: str) -> str:
    return f"store {name!r} could not be looked at"


def drift_notes(state: State, holdings: Holdings) -> Iterator[Diagnostic]:
    """The same findings where nothing is to be done about them."""
    for address, record in state.keys.items():
        for place in record.current.places if record.current.fingerprint else ():
            found = holdings.at(place)
            if found.kind not in (HELD, UNKNOWN):
                yield note(
                    "store-drift",
                    f"{address}: {worded(Stored(place, found.kind, '', found.generation))}",
                    "The next plan says what the next apply does about it.",
                    address=address,
                )
