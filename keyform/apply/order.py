"""In which order the changes of a plan are carried out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from keyform.engine.plan import DROP, END, ERASE, MINT, RELOCATE, Change, Step
from keyform.model import Place


@dataclass(frozen=True, slots=True)
class Chain:
    """The changes of one address, with the places of their steps in the plan."""

    address: str
    changes: tuple[tuple[Change, tuple[tuple[int, Step], ...]], ...]

    def numbers(self) -> tuple[int, ...]:
        """The places of all its steps."""
        return tuple(index for _, numbered in self.changes for index, _ in numbered)

    def steps(self, *ops: str) -> tuple[tuple[int, Step], ...]:
        """Its numbered steps of these operations."""
        return tuple(entry for _, numbered in self.changes for entry in numbered if entry[1].op in ops)


def chains(changes: Iterable[Change], done: frozenset[int] = frozenset()) -> tuple[Chain, ...]:
    """The plan's changes by address, in the plan's order; steps numbered in ``done`` are left out."""
    by_address: dict[str, list[tuple[Change, tuple[tuple[int, Step], ...]]]] = {}
    index = 0
    for change in changes:
        numbered = tuple(enumerate(change.steps, index))
        index += len(change.steps)
        left = tuple(entry for entry in numbered if entry[0] not in done)
        if left:
            by_address.setdefault(change.address, []).append((change, left))
    return tuple(Chain(address, tuple(entries)) for address, entries in by_address.items())


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a question holds back that a person has not answered yet: everything at these services, and
    everything of these addresses."""

    services: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    def why(self, chain: Chain) -> str | None:
        """Why a chain has to wait, or None where it need not."""
        at = {step.service for _, numbered in chain.changes for _, step in numbered} & self.services
        if at:
            return f"held back: a key of {', '.join(sorted(filter(None, at)))} is to be looked for first"
        if chain.address in self.addresses:
            return "held back: a key of it is to be looked for first"
        return None


def leaves(chain: Chain, declared: Collection[str]) -> bool:
    """Whether it revokes a key that is no longer declared."""
    return chain.address not in declared and bool(chain.steps(END))


def waves(todo: Iterable[Chain], declared: Collection[str]) -> tuple[tuple[Chain, ...], ...]:
    """The chains in groups that are run one after another: projects, then keys, then the keys whose places
    others take over (once the new secret is there, what is erased of them is known to be theirs). Keys that
    are no longer declared are revoked last of all, since another may be there in their place."""
    todo = tuple(todo)
    takers: dict[Place, str] = {}
    for chain in todo:
        takers.update(
            (place, chain.address) for _, step in chain.steps(MINT, RELOCATE) for place in step.places
        )

    def wave(chain: Chain) -> int:
        if chain.address.startswith("projects."):
            return 0
        if leaves(chain, declared):
            return 3
        left = {place for _, step in chain.steps(END, DROP, ERASE) for place in step.places}
        return 2 if any(takers.get(place, chain.address) != chain.address for place in left) else 1

    sorted_out: tuple[list[Chain], ...] = ([], [], [], [])
    for chain in todo:
        sorted_out[wave(chain)].append(chain)
    return tuple(tuple(chains) for chains in sorted_out if chains)
