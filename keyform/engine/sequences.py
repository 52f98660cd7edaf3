"""Which steps a change may have, in what order, and which changes an address may have: those of planning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from keyform.engine import plan as pl
from keyform.engine.plan import Change

_IN_PLACE = tuple(
    tuple(op for op in ops if op is not None)
    for ops in product((None, pl.ALTER, pl.RECORD), (None, pl.RESTORE), (None, pl.RELOCATE), (None, pl.ERASE))
)

_SEQUENCES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    pl.CREATE: ((pl.SET_ORIGINS,),),
    pl.UPDATE: (*_IN_PLACE, (pl.SET_ORIGINS,)),
    pl.IMPORT: ((pl.ADOPT,), (pl.ADOPT, pl.ALTER)),
    pl.MOVE: ((pl.RENAME,),),
    pl.ROLLBACK: ((pl.PROMOTE,),),
    pl.FORGET: ((pl.DROP,), (pl.DROP_PROJECT,), (pl.END,)),
    pl.REFRESH: ((pl.RECORD,), (pl.READDRESS,)),
}


_SUCCEEDING = (pl.CREATE, pl.REPLACE, pl.ROTATE)


def misplaced(change: Change) -> str | None:
    """Why no such change is planned, by its steps alone, or None. All of its steps are wanted, those that an
    interrupted apply took included."""
    ops = tuple(step.op for step in change.steps)
    if not ops:
        return f"a change {change.action!r} without steps"
    for step in change.steps:
        if step.address != change.address:
            return f"a step {step.op!r} of {step.address} in a change of {change.address}"
    if change.action == pl.REVOKE:
        fits = set(ops) == {pl.END}
    elif change.action in _SUCCEEDING and ops[0] == pl.MINT:  # then older generations end
        fits = set(ops[1:]) <= {pl.END}
    else:
        fits = ops in _SEQUENCES.get(change.action, ())
    return None if fits else f"a change {change.action!r} of the steps {', '.join(ops)}"


def out_of_turn(changes: Iterable[Change]) -> tuple[tuple[Change, str], ...]:
    """The changes that do not come after those which stand before them. An address is renamed, then changed
    once, and then its old generations are ended, each once."""
    turns: dict[str, int] = {}
    ended: set[tuple[str | None, str | None]] = set()
    out = []
    for change in changes:
        turn = _turn(change)
        before = turns.get(change.address, -1)
        ends = [(step.service, step.key_id) for step in change.steps if step.op == pl.END]
        if turn < before or (turn == before and turn != _ENDING):
            out.append((change, f"a second change of {change.address}, or one out of turn"))
        elif len(set(ends)) < len(ends) or not ended.isdisjoint(ends):
            out.append((change, "the same key is revoked twice"))
        turns[change.address] = max(turn, before)
        ended.update(ends)
    return tuple(out)


_RENAMING, _CHANGING, _ENDING = range(3)


def _turn(change: Change) -> int:
    if change.action == pl.MOVE:
        return _RENAMING
    return _ENDING if all(step.op == pl.END for step in change.steps) else _CHANGING
