"""In which order the changes of a plan are carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keyform.engine.plan import DROP, END, MINT, RELOCATE, Change, Step
from keyform.model import Place


@dataclass(frozen=True, slots=True)
class Chain:
    """The changes of one address, with the places of their steps in the plan."""

    address: str
    changes: tuple[tuple[Change, tuple[tuple[int, Step], ...]], ...]


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


def waves(todo: Iterable[Chain]) -> tuple[tuple[Chain, ...], ...]:
    """Projects, then keys, then the keys whose places others take over: those are revoked once the new
    secret is there, and what is erased of them is known to be theirs."""
    todo = tuple(todo)
    takers: dict[Place, str] = {}
    for chain in todo:
        takers.update(
            (place, chain.address) for step in _steps(chain, (MINT, RELOCATE)) for place in step.places
        )

    def wave(chain: Chain) -> int:
        if chain.address.startswith("projects."):
            return 0
        left = {place for step in _steps(chain, (END, DROP)) for place in step.places}
        return 2 if any(takers.get(place, chain.address) != chain.address for place in left) else 1

    sorted_out: tuple[list[Chain], ...] = ([], [], [])
    for chain in todo:
        sorted_out[wave(chain)].append(chain)
    return tuple(tuple(chains) for chains in sorted_out if chains)


def _steps(chain: Chain, ops: tuple[str, ...]) -> list[Step]:
    return [step for _, numbered in chain.changes for _, step in numbered if step.op in ops]
