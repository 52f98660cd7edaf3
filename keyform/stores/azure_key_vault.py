"""Azure Key Vault: each place is a secret of a vault, each write a version of it, the labels its tags.

A deleted secret keeps its name for the days that the vault retains it. keyform takes such a name back by
recovering the secret; so that no old value comes back with it, what keyform deletes it disables first, and
marks as deleted. Key Vault has no conditional write: what a write may replace is checked right before it, and
the keyforms of one machine take turns at a secret meanwhile.
"""

from __future__ import annotations

import re
import secrets as _random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from azure.core.exceptions import HttpResponseError
from azure.keyvault.secrets import KeyVaultSecret, SecretClient, SecretProperties
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.azure_calls import Calls, reason
from keyform.stores.flat_names import FlatNames
from keyform.stores.over import allow, allow_deletion
from keyform.stores.turns import Turn, turn

_T = TypeVar("_T")
LARGEST = 25_000
"""Bytes: "25k" by https://learn.microsoft.com/azure/key-vault/secrets/about-secrets"""
NAMES = FlatNames(
    re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*"),
    "--",
    127,
    "Use lower-case letters (Key Vault ignores case), digits and single - inside; / becomes -- there. "
    "An example: prod/revkeen/checkout.",
)
_LABEL, _MADE_BY, _DELETED = "keyform-label-", "keyform-managed", "keyform-deleted"
_MOST_TAGS, _LONGEST_TAG = 15, 256  # the smaller ones of the limits that Azure's pages give
_VERSION = re.compile(r"[0-9a-f]{32}")
_CANARY = "keyform-canary"


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> AzureKeyVaultStore:
    """The store that a configuration declares.

    Options: ``vault_url``, ``purge`` (purge what keyform deletes; default False), ``timeout`` (seconds,
    default 30). Does no I/O. Raises ``StoreError``.
    """
    url = options["vault_url"].rstrip("/")
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(?::\d+)?", url):
        raise StoreError(
            f"Store {name!r} has a `vault_url` that is not the address of a Key Vault: {url}",
            "Write it as the portal shows it, such as https://shop-prod.vault.azure.net.",
        )
    return AzureKeyVaultStore(
        name, url, Calls(name, url, options.get("timeout", 30)), env, purge=options.get("purge", False)
    )


class AzureKeyVaultStore:
    """A :class:`~keyform.ports.Store` over the secrets of a vault. ``patience``: seconds for which a secret
    that is being deleted or recovered is waited for."""

    readable = True

    def __init__(
        self,
        name: str,
        vault_url: str,
        calls: Calls,
        env: Mapping[str, str],
        *,
        purge: bool = False,
        patience: float = 60,
    ) -> None:
        self.name = name
        self._vault_url = vault_url
        self._call = calls
        self._env = env
        self._purges = purge
        self._patience = patience

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        NAMES.name(self.name, place)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for a secret that does not exist: who may not gets another
        answer than who may. Whether secrets may be set shows only by setting one."""
        missing = f"{_CANARY}-{_random.token_hex(8)}"
        calls: dict[str, Callable[[SecretClient], object]] = {
            "get": lambda client: client.get_secret(missing),
            "list": lambda client: list(client.list_properties_of_secret_versions(missing)),
            "update": lambda client: client.update_secret_properties(missing, enabled=False),
            "delete": lambda client: client.begin_delete_secret(missing),
            "recover": lambda client: client.begin_recover_deleted_secret(missing),
        }
        for verb, call in calls.items():
            with suppress(HttpResponseError):
                self._call(f"ask ({verb}) for", "a secret", call)
        return (
            f"secrets of {self._vault_url} can be read and deleted; an apply proves first that it can write"
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. The canary has one name for all probes, since a deleted one
        keeps it; it is purged where that is allowed."""
        place = Place(self.name, _CANARY)
        for _ in range(5):  # another process's probe may delete ours
            canary = Secret(_random.token_urlsafe(32))
            found = self.get(place, self.put(place, canary, {}))
            self._remove(place, _CANARY)
            with suppress(StoreError, HttpResponseError):
                self._call("purge", place, lambda client: client.purge_deleted_secret(_CANARY))
            if found is not None:
                break
        if found != canary:
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._vault_url}",
                f"Check that nothing else writes the secret {_CANARY} there.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`."""
        found = self._current(place, NAMES.name(self.name, place))
        if found is None:
            return None
        tags = found.properties.tags or {}
        labels = {k.removeprefix(_LABEL): v for k, v in tags.items() if k.startswith(_LABEL)}
        return Held(found.properties.version, labels)

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Disabled versions are gone."""
        name = NAMES.name(self.name, place)
        if version is None:
            return _value(self._current(place, name))
        if not _VERSION.fullmatch(version):
            return None
        try:
            return _value(self._call("read", place, lambda client: client.get_secret(name, version)))
        except HttpResponseError as refused:
            if refused.status_code == 404 or reason(refused) == "SecretDisabled":
                return None
            raise self._call.told(f"could not read {place}", refused) from None

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`. Recovers a deleted secret of that name."""
        name = NAMES.name(self.name, place)
        size = len(secret.reveal().encode())
        if size > LARGEST:
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: the value has {size:,} bytes",
                f"Azure Key Vault takes at most {LARGEST:,}. Keep this one in another store.",
            )
        with self._turn(name):
            return self._put(place, name, secret, labels, over)

    def _put(
        self, place: Place, name: str, secret: Secret, labels: Mapping[str, str], over: Over
    ) -> str | None:
        found = self._current(place, name)
        before = dict(found.properties.tags or {}) if found else {}
        tags = _tags(before, labels)
        if found is not None and _value(found) == secret:
            version = found.properties.version
            if tags != before:
                self._settle(
                    "label",
                    place,
                    lambda client: client.update_secret_properties(name, version, tags=tags),
                )
            return version
        allow(self.name, place, over, _value(found))
        kind = found.properties.content_type if found else None

        def write(client: SecretClient) -> KeyVaultSecret:
            try:
                return client.set_secret(name, secret.reveal(), tags=tags, content_type=kind)
            except HttpResponseError as refused:
                if reason(refused) == "ObjectIsDeletedButRecoverable":
                    self._recover(place, name)
                raise

        return self._settle("write", place, write).properties.version

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. The vault retains what is deleted, unless ``purge`` is set."""
        name = NAMES.name(self.name, place)
        with self._turn(name):
            if over != ANYTHING:  # the vault has no conditional deletion
                allow_deletion(self.name, place, over, _value(self._current(place, name)))
            if self._remove(place, name) and self._purges:
                self._settle("purge", place, lambda client: client.purge_deleted_secret(name), also=404)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._call.close()

    def _turn(self, name: str) -> AbstractContextManager[Turn]:
        return turn(self.name, f"{self._vault_url}/secrets/{name}", self._env, 2 * self._patience)

    def _current(self, place: Place, name: str) -> KeyVaultSecret | None:
        """The secret as it stands; None where there is none, or keyform was about to delete it."""
        try:
            return self._call("read", place, lambda client: client.get_secret(name))
        except HttpResponseError as refused:
            if refused.status_code == 404:
                return None
            newest = self._newest(place, name) if reason(refused) == "SecretDisabled" else None
            if newest is not None and _DELETED in (newest.tags or {}):
                return None
            if newest is not None:
                raise StoreError(
                    f"Store {self.name!r} cannot read {place}: the secret {name} is disabled",
                    "Enable it in the vault, or delete it if nobody needs it.",
                ) from None
            raise self._call.told(f"could not read {place}", refused) from None

    def _newest(self, place: Place, name: str) -> SecretProperties | None:
        """The newest version, which may be disabled."""
        try:
            versions = self._call(
                "look at", place, lambda client: list(client.list_properties_of_secret_versions(name))
            )
        except HttpResponseError as refused:
            if refused.status_code == 404:
                return None
            raise self._call.told(f"could not look at {place}", refused) from None
        return max(versions, key=_age, default=None)

    def _remove(self, place: Place, name: str) -> bool:
        """Delete a secret, disabled and marked so that recovering it brings no value back. False: it was gone
        or going already."""
        try:
            newest = self._call("read", place, lambda client: client.get_secret(name).properties)
        except HttpResponseError:
            found = self._newest(place, name)
            if found is None:
                return False
            newest = found
        tags = {**dict(list((newest.tags or {}).items())[: _MOST_TAGS - 1]), _DELETED: "true"}

        def mark(client: SecretClient) -> None:
            client.update_secret_properties(name, newest.version, enabled=False, tags=tags)

        def remove(client: SecretClient) -> None:
            client.begin_delete_secret(name)

        try:
            self._call("disable", place, mark)
            self._call("delete", place, remove)
        except HttpResponseError:  # not found, or being deleted
            return False
        return True

    def _recover(self, place: Place, name: str) -> None:
        def recover(client: SecretClient) -> None:
            client.begin_recover_deleted_secret(name)

        try:
            with suppress(HttpResponseError):  # purged, or recovered by somebody else: the write tells
                self._call("recover the deleted secret for", place, recover)
        except StoreError as refused:
            (told,) = refused.diagnostics
            raise StoreError(
                told.summary,
                f"A deleted secret holds the name {name}. {told.detail} Otherwise purge it "
                f"(`az keyvault secret purge --id {self._vault_url}/deletedsecrets/{name}`), or choose "
                "another path.",
            ) from None

    def _settle(
        self, verb: str, place: Place, call: Callable[[SecretClient], _T], *, also: int | None = None
    ) -> _T:
        """Do ``call``, again and again while the vault is still deleting or recovering the secret (409)."""
        again = Retrying(
            retry=retry_if_exception(
                lambda e: isinstance(e, HttpResponseError) and e.status_code in (409, also)
            ),
            stop=stop_after_delay(self._patience),
            wait=wait_random_exponential(0.1, max=3),
            reraise=True,
        )
        try:
            done: _T = again(self._call, verb, place, call)
        except HttpResponseError as refused:
            raise self._call.told(f"could not {verb} {place}", refused) from None
        return done


def _value(found: KeyVaultSecret | None) -> Secret | None:
    return None if found is None else Secret(found.value or "")


def _age(version: SecretProperties) -> tuple[float, bool]:
    """What versions are ordered by. The vault tells whole seconds; of two in one, what is marked is last."""
    created = version.created_on.timestamp() if version.created_on else 0.0
    return created, _DELETED in (version.tags or {})


def _tags(before: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """The tags of a new version: those of others stay; labels for which there is no room are left out."""
    others = {k: v for k, v in before.items() if not k.startswith(_LABEL) and k != _DELETED}
    ours = {_LABEL + k: v for k, v in labels.items() if len(v) <= _LONGEST_TAG}
    return dict(list({**others, _MADE_BY: "true", **ours}.items())[:_MOST_TAGS])
