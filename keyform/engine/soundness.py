"""What no keyform writes into a state: found there, somebody has edited it, and it is not to be gone by."""

from __future__ import annotations

from collections.abc import Iterator

from keyform.diagnostics import Diagnostic, error
from keyform.errors import StateError
from keyform.state import State

_MEND = (
    "Nothing was changed. It was edited by hand, or put together from two states: restore it from a backup, "
    "or mend what `keyform state pull` writes and push that with --force."
)


def check_sound(state: State, where: str) -> None:
    """Refuse a state by which the wrong key would be revoked. ``where`` names it in messages. Raises
    ``StateError`` naming all that is wrong."""
    if faults := (*_known_twice(state, where), *_misnumbered(state, where)):
        raise StateError(faults)


def _known_twice(state: State, where: str) -> Iterator[Diagnostic]:
    """Keys of a service that stand there more than once: the end of one would be that of the other."""
    seen: dict[tuple[str, str], str] = {}
    for address, record in sorted(state.keys.items()):
        for generation in record.generations():
            key, here = (generation.service, generation.id), f"{address} generation {generation.number}"
            if key in seen:
                yield _fault(
                    f"{where} has the key {generation.id} of {generation.service} twice: as {seen[key]} and "
                    f"as {here}",
                    address,
                )
            seen[key] = here


def _misnumbered(state: State, where: str) -> Iterator[Diagnostic]:
    for address, record in sorted(state.keys.items()):
        numbers = [generation.number for generation in record.generations()]
        again = sorted({number for number in numbers if numbers.count(number) > 1})
        if again:
            yield _fault(f"{where} has generation {again[0]} of {address} more than once", address)
        elif min(numbers) < 1:
            yield _fault(f"{where} has a generation {min(numbers)} of {address}; they begin with 1", address)
        elif record.current.number < max(numbers) and record.rolled_back_at is None:
            yield _fault(
                f"{where} has generation {record.current.number} of {address} as the current one and "
                f"{max(numbers)} as an old one, and no rollback has made that so",
                address,
            )


def _fault(what: str, address: str) -> Diagnostic:
    return error("state-unsound", what, _MEND, address=address)
