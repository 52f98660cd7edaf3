"""What ``keyform state`` does: looking at the state, and changing what is recorded without any call."""

from __future__ import annotations

from dataclasses import replace

from keyform.apply.journal import read_journal
from keyform.apply.workspace import Workspace
from keyform.engine.soundness import check_sound
from keyform.errors import StateError
from keyform.state import State, dump_state, load_state


def read_state(ws: Workspace) -> State | None:
    """The state as recorded, or None when there is none yet."""
    state, version = ws.read_state()
    return None if version is None else state


def move(ws: Workspace, before: str, after: str) -> None:
    """Record the key (or project) ``before`` as ``after``. Raises ``StateError``."""
    with ws.locked():
        state, version = _settled(ws)
        keys, projects = dict(state.keys), dict(state.projects)
        if after.partition(".")[0] != before.partition(".")[0]:
            raise StateError(
                f"{before} cannot become {after}: one is a key and the other a project",
                "Choose another address.",
            )
        if after in keys or after in projects:
            raise StateError(f"the state has {after} already", "Choose another address.")
        if before in keys:
            keys[after] = replace(keys.pop(before), address=after)
        elif before in projects:
            projects[after] = replace(projects.pop(before), address=after)
        else:
            raise _unknown(before)
        _write(ws, replace(state, keys=keys, projects=projects), version)


def remove(ws: Workspace, addresses: tuple[str, ...]) -> None:
    """Forget addresses. Their keys live on at the service, their secrets in the store."""
    with ws.locked():
        state, version = _settled(ws)
        keys, projects = dict(state.keys), dict(state.projects)
        for address in addresses:
            if keys.pop(address, None) is None and projects.pop(address, None) is None:
                raise _unknown(address)
        _write(ws, replace(state, keys=keys, projects=projects), version)


def pull(ws: Workspace) -> bytes:
    """The bytes of the state. Raises ``StateError`` when there is none."""
    snapshot = ws.backend.read()
    if snapshot is None:
        raise StateError(f"there is no state at {ws.backend.describe()} yet", "Run `keyform apply` first.")
    return snapshot.data


def push(ws: Workspace, data: bytes, force: bool) -> None:
    """Make ``data`` the state. Without ``force`` it must be of the same lineage and no older."""
    pushed = load_state(data, "the file to push", "Give one that `keyform state pull` wrote.")
    check_sound(pushed, "the file to push")
    with ws.locked():
        snapshot = ws.backend.read()
        if not force:
            _refuse_unrecovered(ws, ws.read_state()[0])
        if snapshot is not None and not force:
            now = load_state(snapshot.data, ws.backend.describe())
            if pushed.lineage != now.lineage:
                raise StateError(
                    "the state to push is of another lineage",
                    f"It is {pushed.lineage}, and {ws.backend.describe()} is {now.lineage}. If it is to "
                    "replace it all the same, use --force.",
                )
            if pushed.serial < now.serial:
                raise StateError(
                    f"the state to push is older: serial {pushed.serial}, and the present one has "
                    f"{now.serial}",
                    "Pull the newer one and edit that, or use --force.",
                )
        version = snapshot.version if snapshot else None
        serial = load_state(snapshot.data, ws.backend.describe()).serial if snapshot and not force else 0
        _write(ws, replace(pushed, serial=max(serial, pushed.serial)), version)


def unlock(ws: Workspace, lock_id: str) -> None:
    """Break the lock with this id. Its holder can no longer write. Raises ``StateError``."""
    ws.backend.unlock(lock_id)


def _settled(ws: Workspace) -> tuple[State, str | None]:
    """The state, provided that no interrupted apply is waiting to be recovered."""
    state, version = ws.read_state()
    if version is None:
        raise StateError(f"there is no state at {ws.backend.describe()} yet", "Run `keyform apply` first.")
    _refuse_unrecovered(ws, state)
    return state, version


def _refuse_unrecovered(ws: Workspace, state: State) -> None:
    if read_journal(ws.backend.journal, state) is not None:
        raise StateError(
            "an earlier apply was interrupted and is not recovered yet",
            "Run `keyform apply` first, so that nothing it did is lost.",
        )


def _write(ws: Workspace, state: State, version: str | None) -> None:
    ws.backend.write(dump_state(replace(state, serial=state.serial + 1, run=None)), version)


def _unknown(address: str) -> StateError:
    return StateError(f"the state does not know {address}", "`keyform state list` shows what it knows.")
