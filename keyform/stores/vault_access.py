"""What a store at Vault or OpenBao may do there, and whether the server is as the configuration has it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import hvac

from keyform.errors import StoreError
from keyform.stores.vault_client import CANARY, Denied, Grant, VaultClient
from keyform.stores.vault_kv import Engine, generation_at

_ANY = "keyform-may-it"
"""A name that no policy names by itself: what is granted at it, is granted at every name beside it."""


def agreed(store: str, client: VaultClient, mount: str, number: int | None) -> None:
    """Raise ``StoreError`` where the server tells that it is another one than the options ``namespace`` and
    ``kv_version`` (``number``) say; a server that does not tell is taken as it is declared."""
    if client.namespace and client.health().get("enterprise") is False:
        # Vault's community edition passes the header over: the secrets would go beside everybody else's.
        raise StoreError(
            f"Store {store!r} has the namespace {client.namespace!r}, and there are none at {client.address}"
            ": it is Vault's community edition, which passes them over",
            "Leave `namespace` out (and VAULT_NAMESPACE or BAO_NAMESPACE unset), or check `address`; "
            "`prefix` keeps this store's paths apart from others.",
        )
    found = None
    if number is not None:
        with contextlib.suppress(Denied):
            found = generation_at(client, mount)
    if found not in (None, number):
        raise StoreError(
            f"Store {store!r} says `kv_version: {number}`, and {mount!r} at {client.where} is KV version "
            f"{found}",
            f"Write `kv_version: {found}`, or leave it out: keyform asks the server then.",
        )


def told_access(store: str, client: VaultClient, engine: Engine, mount: str, prefix: str) -> str:
    """What the server says that the token may do, in words, at the names of canaries and at all others below
    ``prefix`` (empty, or with a slash at its end). Raises ``StoreError`` where it may do less than the canary
    needs, by which every apply proves the store."""
    canary, beside = f"{prefix}{CANARY}{'0' * 16}", f"{prefix}{_ANY}"
    needed, general = engine.needs(canary), engine.needs(beside, canary=False)
    labelled = engine.describes(beside)
    asked = sorted({grant.path for grant in (*needed, *general, *([labelled] if labelled else []))})

    def act(vault: hvac.Client) -> Mapping[str, list[str]]:
        return dict(vault.adapter.post("/v1/sys/capabilities-self", json={"paths": asked})["data"])

    told = None
    with contextlib.suppress(Denied):
        told = client.call("ask what it may do", act)
    what = f"KV version {engine.number} in {mount!r} at {client.where}, by {client.who}"
    if told is None:
        return f"{what}: it may not be told what it may do (sys/capabilities-self)"
    missing = _missing(needed, told)
    if missing:
        raise StoreError(
            f"Store {store!r}: {client.who} may not do all that keyform needs at {client.where}",
            "A policy of it has to say, for the paths of your keys and keyform's canary: "
            f"{' '.join(map(str, missing))}",
        )
    labels = "labels are not kept" if labelled is None else "labels are kept"
    if labelled is not None and not _allowed(labelled, told):
        labels = f"labels are not kept, which takes: {_for_all(labelled)}"
    lacking = _missing(general, told)
    if not lacking:
        below = f" below {prefix!r}" if prefix else ""
        return f"{what}: secrets can be written, read and deleted{below}; {labels}"
    return (
        f"{what}: keyform's canary can be written, read and deleted, and other names beside it cannot: no "
        f"policy says {' '.join(map(_for_all, lacking))}. Each of your keys' paths needs a grant of its own, "
        "which was not looked at"
    )


def _missing(grants: Sequence[Grant], told: Mapping[str, Any]) -> list[Grant]:
    return [grant for grant in grants if not _allowed(grant, told)]


def _allowed(grant: Grant, told: Mapping[str, Any]) -> bool:
    has = told.get(grant.path, ())
    return "root" in has or set(grant.capabilities) <= set(has)


def _for_all(grant: Grant) -> str:
    return str(Grant(f"{grant.path.removesuffix(_ANY)}*", grant.capabilities))
