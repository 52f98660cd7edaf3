"""Where services and stores are: a name that means another place by now is not taken for the old one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from keyform.diagnostics import Diagnostic, error
from keyform.engine.plan import READDRESS, REFRESH, Change, FieldDiff, Step
from keyform.state import State

_MOVING = {
    "services": "move its keys there by `service:`",
    "stores": "move the secrets there by `secret: {store: …}`",
}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What the configuration declares: by name, which service or store that is, in words without secrets."""

    services: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Moved:
    """A name whose declared place (``now``) is not the recorded one (``before``). ``section`` is
    ``services`` or ``stores``."""

    section: str
    name: str
    before: str
    now: str

    @property
    def address(self) -> str:
        return f"{self.section}.{self.name}"


def moved(state: State, where: Whereabouts, minting: frozenset[str] = frozenset()) -> Iterator[Moved]:
    """Every name that has something of the state, and that the configuration has put elsewhere. ``minting``
    are services where an interrupted apply may have minted keys."""
    services, stores = _needed(state)
    services |= minting
    for section, needed, recorded, declared in (
        ("services", services, state.services, where.services),
        ("stores", stores, state.stores, where.stores),
    ):
        for name in sorted(needed & recorded.keys() & declared.keys()):
            if declared[name] != recorded[name]:
                yield Moved(section, name, recorded[name], declared[name])


def _needed(state: State) -> tuple[set[str], set[str]]:
    """The services and stores that hold something of the state."""
    services = {project.service for project in state.projects.values()}
    stores: set[str] = set()
    for record in state.keys.values():
        for generation in record.generations():
            services.add(generation.service)
            stores.update(place.store for place in generation.written)
    return services, stores


def refused(state: State, where: Whereabouts, minting: frozenset[str] = frozenset()) -> Iterator[Diagnostic]:
    """The errors for what has moved."""
    for one in moved(state, where, minting):
        what = one.section.removesuffix("s")
        yield error(
            "moved-elsewhere",
            f"{what} {one.name!r} is now declared as `{one.now}`, and the state has {_held(state, one)} at "
            f"`{one.before}`",
            f"Put the declaration back; or declare the new {what} under another name and "
            f"{_MOVING[one.section]}; or, if it is the same {what} under a new address, say so with "
            "--allow-endpoint-change.",
            address=one.address,
        )


def readdressed(state: State, where: Whereabouts) -> Iterator[Change]:
    """The changes that record new addresses of the same services and stores."""
    for one in moved(state, where):
        yield Change(
            one.address,
            REFRESH,
            f"the same {one.section.removesuffix('s')} under a new address, as --allow-endpoint-change says, "
            f"with {_held(state, one)} of the state; nothing is changed there",
            diff=(FieldDiff("where", one.before, one.now),),
            steps=(Step(READDRESS, one.address, where=one.now),),
        )


def _held(state: State, one: Moved) -> str:
    generations = [g for record in state.keys.values() for g in record.generations()]
    if one.section == "stores":
        count, noun = sum(any(p.store == one.name for p in g.written) for g in generations), "secret"
    else:
        count, noun = sum(g.service == one.name for g in generations), "key"
        projects = sum(project.service == one.name for project in state.projects.values())
        if projects and not count:
            count, noun = projects, "project"
        if not count:
            return "unfinished creates"
    return f"{count} {noun}" + ("" if count == 1 else "s")


def with_whereabouts(state: State, where: Whereabouts) -> State:
    """The state with what is recorded for the names that it needs, and for those alone. What is recorded
    already stays: only a ``readdress`` step changes it."""
    services, stores = _needed(state)
    return replace(
        state,
        services=_recorded(services, state.services, where.services),
        stores=_recorded(stores, state.stores, where.stores),
    )


def _recorded(names: set[str], recorded: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    known = {**declared, **recorded}
    return {name: known[name] for name in sorted(names) if name in known}


def same_service(state: State, where: Whereabouts, name: str) -> str:
    """What two names of one service have in common."""
    return where.services.get(name) or state.services.get(name) or name


def owners(state: State, where: Whereabouts) -> dict[tuple[str, str], str]:
    """Which address owns a key, by what its service is and the key's id."""
    return {
        (same_service(state, where, generation.service), generation.id): record.address
        for record in state.keys.values()
        for generation in record.generations()
    }
