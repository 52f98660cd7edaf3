"""Secrets in their places: writing with read-back, finding, moving and erasing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keyform.apply.workspace import Workspace
from keyform.diagnostics import Diagnostic
from keyform.errors import StoreError
from keyform.masking import mask_error
from keyform.model import Place, Secret, fingerprint_matches


def put_secret(ws: Workspace, places: Iterable[Place], secret: Secret, labels: dict[str, str]) -> None:
    """Write to every place and read back. Raises ``StoreError`` when a place does not hold it then.

    A write that failed and yet is there (its answer was lost) counts as written.
    """
    for place in places:
        store = ws.store(place.store)
        ws.backend.check_lock()  # whoever broke it may have written there since
        try:
            store.put(place, secret, labels)
        except StoreError as problem:
            if not _holds(ws, place, secret):
                mask_error(problem, (secret,))
                raise
            continue
        if store.get(place) != secret:
            raise StoreError(
                f"{place} does not read back what was written to it",
                "Somebody else may write there too, or the store is failing. Run `keyform doctor`.",
            )


def _holds(ws: Workspace, place: Place, secret: Secret) -> bool:
    try:
        return ws.store(place.store).get(place) == secret
    except StoreError:
        return False


def find_secret(ws: Workspace, places: Iterable[Place], fingerprint: str) -> Secret | None:
    """The secret with this fingerprint if every place holds it, else None."""
    found: Secret | None = None
    for place in places:
        found = ws.store(place.store).get(place)
        if found is None or not fingerprint_matches(found, fingerprint):
            return None
    return found


def erase_secret(ws: Workspace, place: Place, fingerprint: str | None) -> str | None:
    """Delete what keyform wrote, as told by its fingerprint, except where the place says to keep it. Returns
    why the place was left as it is although it need not be kept. Raises ``StoreError``."""
    if place.on_revoke == "keep":
        return None
    if place.store not in ws.config.stores:
        return f"the store {place.store} is no longer declared"
    store = ws.store(place.store)
    value = store.get(place)
    if value is None:
        return None
    if fingerprint is None or not fingerprint_matches(value, fingerprint):
        return "it does not hold what keyform wrote there"
    ws.backend.check_lock()
    store.delete(place)
    return None


def take_back(
    ws: Workspace,
    places: Iterable[Place],
    fingerprint: str,
    before: Mapping[Place, Secret],
    labels: dict[str, str],
) -> None:
    """Undo a :func:`put_secret`: where the secret with this fingerprint is, the value of before comes back,
    or nothing stays. Raises ``StoreError``, after trying every place."""
    problems: list[Diagnostic] = []
    for place in places:
        if place.store not in ws.config.stores:
            continue
        store = ws.store(place.store)
        try:
            value = store.get(place)
            if value is None or not fingerprint_matches(value, fingerprint):
                continue
            ws.backend.check_lock()
            if place in before:
                store.put(place, before[place], labels)
            else:
                store.delete(place)
        except StoreError as problem:
            mask_error(problem, before.values())
            problems += problem.diagnostics
    if problems:
        raise StoreError(tuple(problems))


def copy_secret(
    ws: Workspace,
    sources: tuple[Place, ...],
    places: tuple[Place, ...],
    fingerprint: str,
    labels: dict[str, str],
) -> None:
    """Bring a secret from its old places to its new ones, and leave the old as they are. Repeating it is
    harmless. Raises ``StoreError`` when no old or new place holds the secret."""
    missing = sorted({source.store for source in sources} - set(ws.config.stores))
    if missing:
        raise StoreError(
            f"the secret cannot be moved out of {', '.join(missing)}, which is no longer declared",
            "Declare the store again until the secret has moved.",
        )
    if find_secret(ws, places, fingerprint) is None:
        for source in sources:
            secret = find_secret(ws, (source,), fingerprint)
            if secret is not None:
                put_secret(ws, places, secret, labels)
                break
        else:
            raise StoreError(
                f"the secret cannot be moved: {', '.join(map(str, sources))} does not hold what keyform "
                f"wrote there",
                "Put `secret` back as it was, or replace the key so that a new secret is stored.",
            )


def probe_stores(ws: Workspace, names: Iterable[str]) -> None:
    """Prove every named store before anything is minted. Raises ``StoreError`` with all that failed."""
    problems: list[Diagnostic] = []
    for name in sorted(set(names)):
        try:
            ws.store(name).probe()
        except StoreError as problem:
            problems += problem.diagnostics
    if problems:
        raise StoreError(tuple(problems))
