"""Remembering mints that were undone: with the record of their key, or by themselves where it has none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keyform.ended import Undone
from keyform.state import PAST, Past, State


def remembering(state: State, undone: Iterable[Undone] = ()) -> State:
    """``state`` with these too, and each of those that it has among the past of its key's record, if there is
    one by now. Of each address without a record the last ``PAST`` are kept."""
    known = {one.fingerprint: one for one in (*state.undone, *undone)}
    if not known:
        return state
    keys = dict(state.keys)
    alone: dict[str, list[Undone]] = {}
    for one in known.values():
        record = keys.get(one.address)
        if record is None:
            alone.setdefault(one.address, []).append(one)
        else:
            keys[one.address] = record.knowing(Past(one.number, one.fingerprint))
    kept = tuple(one for same in alone.values() for one in same[-PAST:])
    return replace(state, keys=keys, undone=kept)
