"""Versions 1 and 2 of Vault's KV secrets engine: documents of fields that are read and written whole."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import hvac
from hvac import utils
from hvac.exceptions import InvalidPath, InvalidRequest, UnexpectedError

from keyform.errors import StoreError
from keyform.stores.vault_client import Denied, Grant, VaultClient


@dataclass(frozen=True, slots=True)
class Document:
    """What a path holds. ``version`` is what a write goes by (0: there never was one), ``metadata`` that
    of the path, which is not versioned."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


class Beaten(Exception):
    """Somebody else wrote to the path since it was read. Nothing was written."""


class Engine(Protocol):
    """One KV mount. Everything raises ``StoreError``; ``where`` names the place in its messages."""

    number: int
    versioned: bool

    def read(self, path: str, where: str, version: int | None = None) -> Document:
        """What is there, or was at ``version``; a ``Document`` without fields where there is nothing."""

    def write(self, path: str, where: str, fields: Mapping[str, Any], over: Document) -> int:
        """Make these the fields. Returns the new version (0: the engine has none). Raises ``Beaten``."""

    def remove(self, path: str, where: str, seen: Document) -> None:
        """Remove the fields of ``seen``, and nothing that was written since."""

    def describe(self, path: str, metadata: Mapping[str, str | None]) -> None:
        """Set these entries of the path's own metadata and leave the others; None takes one away. Does
        nothing where the engine has no metadata, no room, or the token may not."""

    def purge(self, path: str, where: str) -> None:
        """Remove all that there is and was at the path."""

    def needs(self, path: str, *, canary: bool = True) -> tuple[Grant, ...]:
        """What the token must be allowed to do at the path of a canary, or of a secret."""

    def describes(self, path: str) -> Grant | None:
        """What it should be allowed to do, so that labels are kept."""


class KvTwo:
    """KV version 2: versions, check-and-set, metadata."""

    number = 2
    versioned = True

    def __init__(self, client: VaultClient, mount: str) -> None:
        self._client = client
        self._mount = mount

    def _grant(self, part: str, path: str, *capabilities: str) -> Grant:
        return Grant(f"{self._mount}/{part}/{path}", capabilities)

    def read(self, path: str, where: str, version: int | None = None) -> Document:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> Document:
            try:
                answer = vault.secrets.kv.v2.read_secret_version(
                    path, version, mount_point=self._mount, raise_on_deleted_version=False
                )
            except InvalidPath as nothing:
                if nothing.errors:
                    raise
                return Document()
            data, about = answer["data"]["data"], answer["data"]["metadata"]
            return Document(data or {}, about["version"], about.get("custom_metadata") or {})

        return self._client.call(f"read {where}", act, self._grant("data", path, "read"))

    def write(self, path: str, where: str, fields: Mapping[str, Any], over: Document) -> int:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> int:
            try:
                answer = vault.secrets.kv.v2.create_or_update_secret(
                    path, dict(fields), cas=over.version, mount_point=self._mount
                )
            except InvalidRequest as refusal:
                if "check-and-set parameter did not match" in str(refusal.errors):
                    raise Beaten from None
                raise
            return int(answer["data"]["version"])

        return self._client.call(f"write {where}", act, self._grant("data", path, "create", "update"))

    def remove(self, path: str, where: str, seen: Document) -> None:
        """See :class:`Engine`. The version is marked as deleted; Vault can bring it back for a while."""

        def act(vault: hvac.Client) -> None:
            vault.secrets.kv.v2.delete_secret_versions(path, [seen.version], mount_point=self._mount)

        self._client.call(f"delete {where}", act, self._grant("delete", path, "update"))

    def describe(self, path: str, metadata: Mapping[str, str | None]) -> None:
        """See :class:`Engine`. A merge patch, so that concurrent writers keep one another's entries."""
        url = utils.format_url("/v1/{mount}/metadata/{path}", mount=self._mount, path=path)

        def act(vault: hvac.Client) -> None:
            try:
                vault.adapter.request(
                    "patch",
                    url,
                    headers={"Content-Type": "application/merge-patch+json"},
                    json={"custom_metadata": dict(metadata)},
                )
            except (InvalidRequest, InvalidPath, UnexpectedError):
                return  # no more room, a path without metadata, a server from before patches

        with contextlib.suppress(Denied):
            self._client.call(f"describe {path}", act)

    def purge(self, path: str, where: str) -> None:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> None:
            vault.secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point=self._mount)

        self._client.call(f"delete {where}", act, self._grant("metadata", path, "delete"))

    def needs(self, path: str, *, canary: bool = True) -> tuple[Grant, ...]:
        """See :class:`Engine`."""
        grants = (
            self._grant("data", path, "create", "read", "update"),
            self._grant("delete", path, "update"),
        )
        return (*grants, self._grant("metadata", path, "delete")) if canary else grants

    def describes(self, path: str) -> Grant | None:
        """See :class:`Engine`."""
        return self._grant("metadata", path, "patch")


class KvOne:
    """KV version 1: no versions, no metadata, and no check-and-set, so that another writer's change between
    a read and a write is lost."""

    number = 1
    versioned = False

    def __init__(self, client: VaultClient, mount: str) -> None:
        self._client = client
        self._mount = mount

    def _grant(self, path: str, *capabilities: str) -> Grant:
        return Grant(f"{self._mount}/{path}", capabilities)

    def read(self, path: str, where: str, version: int | None = None) -> Document:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> Document:
            try:
                return Document(vault.secrets.kv.v1.read_secret(path, mount_point=self._mount)["data"] or {})
            except InvalidPath as nothing:
                if nothing.errors:
                    raise
                return Document()

        return self._client.call(f"read {where}", act, self._grant(path, "read"))

    def write(self, path: str, where: str, fields: Mapping[str, Any], over: Document) -> int:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> int:
            vault.secrets.kv.v1.create_or_update_secret(
                path, dict(fields), method="POST", mount_point=self._mount
            )
            return 0

        return self._client.call(f"write {where}", act, self._grant(path, "create", "update"))

    def remove(self, path: str, where: str, seen: Document) -> None:
        """See :class:`Engine`."""
        self.purge(path, where)

    def describe(self, path: str, metadata: Mapping[str, str | None]) -> None:
        """See :class:`Engine`."""

    def purge(self, path: str, where: str) -> None:
        """See :class:`Engine`."""

        def act(vault: hvac.Client) -> None:
            vault.secrets.kv.v1.delete_secret(path, mount_point=self._mount)

        self._client.call(f"delete {where}", act, self._grant(path, "delete"))

    def needs(self, path: str, *, canary: bool = True) -> tuple[Grant, ...]:
        """See :class:`Engine`."""
        return (self._grant(path, "create", "read", "update", "delete"),)

    def describes(self, path: str) -> Grant | None:
        """See :class:`Engine`."""
        return None


def engine_at(store: str, client: VaultClient, mount: str, number: int | None) -> Engine:
    """The engine mounted at ``mount``: of the generation ``number``, or else as the server tells."""
    if number is None:
        with contextlib.suppress(Denied):  # as it also answers for a mount that is not there
            number = generation_at(client, mount)
        if number is None:
            raise StoreError(
                f"Store {store!r}: {mount!r} at {client.where} is no KV engine that {client.who} may see",
                f"Check `mount` (`vault secrets list` shows what there is). If it is there, a policy of "
                f"{client.who} has to grant something below it; or say `kv_version: 2` (or 1).",
            )
    return KvTwo(client, mount) if number == 2 else KvOne(client, mount)


def generation_at(client: VaultClient, mount: str) -> int | None:
    """The KV version of the engine at ``mount``, or None where there is none that the server tells of.
    Raises ``StoreError``, ``Denied`` where the token may not be told."""
    return client.call(f"find the secrets engine {mount!r}", lambda vault: _generation(vault, mount))


def _generation(vault: hvac.Client, mount: str) -> int | None:
    # What `vault kv` asks too: any token may, that is granted something below the mount.
    try:
        about = vault.adapter.get(utils.format_url("/v1/sys/internal/ui/mounts/{mount}", mount=mount))["data"]
    except InvalidPath:
        return None
    if about["type"] not in ("kv", "generic"):
        return None
    return int((about.get("options") or {}).get("version") or 1)
