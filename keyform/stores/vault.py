"""The store ``vault``: the KV secrets engine of HashiCorp Vault and of OpenBao, versions 1 and 2.

A path holds one or more named fields; a place without a field uses the one that the option ``field`` names.
With KV version 2 every write is check-and-set, the key's address, id and generation are kept as the path's
custom metadata (``keyform.FIELD.address`` and so on), and older versions can be read.

Sources: https://developer.hashicorp.com/vault/api-docs/secret/kv and https://openbao.org/api-docs/secret/kv/
"""

from __future__ import annotations

import json
import random
import re
import secrets as _random
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.http_access import checked_address
from keyform.stores.over import allow, allow_deletion
from keyform.stores.turns import turn
from keyform.stores.vault_access import agreed, told_access
from keyform.stores.vault_client import CANARY, Server, VaultClient
from keyform.stores.vault_kv import Beaten, Document, Engine, engine_at
from keyform.stores.vault_labels import label_entries, label_removals, labels_of
from keyform.stores.vault_login import credentials_of

ATTEMPTS = 30
"""How often a write is begun anew because another writer came before it."""

_TURNS = tuple(threading.Lock() for _ in range(64))


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> VaultStore:
    """The store that a configuration declares; docs/stores/vault.md describes the options. Does no I/O.
    Raises ``StoreError``."""

    def given(option: str, variable: str) -> str | None:
        return options.get(option) or env.get(f"BAO_{variable}") or env.get(f"VAULT_{variable}") or None

    def file(option: str, variable: str) -> str | None:
        text = given(option, variable)
        return str(project_folder / text) if text else None

    address = given("address", "ADDR")
    if address is None:
        raise StoreError(f"Store {name!r} has no address", "Write `address`, or set VAULT_ADDR or BAO_ADDR.")
    if not re.match(r"https?://[^/?#\s]+\Z", address.rstrip("/"), re.I):
        raise StoreError(
            f"Store {name!r}: {address!r} is not the address of a server",
            "Write a scheme, a host and a port, like https://vault.example:8200.",
        )
    address = checked_address(name, address, insecure=options.get("insecure") is True)
    certificate, key = file("client_cert", "CLIENT_CERT"), file("client_key", "CLIENT_KEY")
    if (certificate is None) != (key is None):
        raise StoreError(
            f"Store {name!r} has half a client certificate", "Give `client_cert` and `client_key`."
        )
    server = Server(
        address,
        given("namespace", "NAMESPACE"),
        file("ca_file", "CACERT"),
        (certificate, key) if certificate and key else None,
        float(options.get("timeout_seconds", 30)),
    )
    client = VaultClient(name, server, credentials_of(name, options, project_folder, env))
    return VaultStore(
        name,
        client,
        mount=options.get("mount", "secret").strip("/"),
        prefix=options.get("prefix", "").strip("/"),
        field=options.get("field", "value"),
        kv_version=options.get("kv_version"),
        env=env,
    )


class VaultStore:
    """A :class:`~keyform.ports.Store` over one KV mount."""

    readable = True

    def __init__(
        self,
        name: str,
        client: VaultClient,
        *,
        mount: str,
        prefix: str,
        field: str,
        kv_version: int | None,
        env: Mapping[str, str],
    ) -> None:
        self.name = name
        self._client = client
        self._mount = mount
        self._prefix = f"{prefix}/" if prefix else ""
        self._field = field
        self._number = kv_version
        self._env = env
        self._found: Engine | None = None
        self._finding = threading.Lock()

    @property
    def _engine(self) -> Engine:
        with self._finding:
            if self._found is None:
                self._found = engine_at(self.name, self._client, self._mount, self._number)
            return self._found

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        segments = place.path.split("/")
        if any(segment in ("", ".") or ".." in segment for segment in segments):
            fault = "has an empty segment, or one of dots, or two dots in a row"
        elif any(segment != segment.strip() for segment in segments):
            fault = "has a segment with a space at an end"
        elif not place.path.isprintable() or "\\" in place.path:
            fault = "has a backslash, or a character that cannot be printed"
        else:
            return
        raise StoreError(
            f"Store {self.name!r} cannot hold {place}: its path {fault}",
            "Write a path like prod/payments/checkout; Vault takes no others.",
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        agreed(self.name, self._client, self._mount, self._number)
        place = Place(self.name, f"{CANARY}{_random.token_hex(8)}")
        path = self._path(place)
        if not keeps(self, place, lambda place: self._engine.purge(path, str(place))):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._client.where}",
                "A proxy or a performance standby may answer with what was before; use the active node.",
            )

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`."""
        agreed(self.name, self._client, self._mount, self._number)
        return told_access(self.name, self._client, self._engine, self._mount, self._prefix)

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`."""
        path, name, where = self._path(place), self._name(place), str(place)
        engine = self._engine
        with self._turn(path):
            # Check-and-set tells whether there is something, so that a first write need not look.
            seen = Document() if over is None and engine.versioned else engine.read(path, where)
            for attempt in range(ATTEMPTS):
                present = _secret(seen, name)
                if present == secret and over != secret:
                    version = seen.version
                    break
                allow(self.name, place, over, present)
                try:
                    version = engine.write(path, where, {**seen.fields, name: secret.reveal()}, seen)
                    break
                except Beaten:
                    _give_way(attempt)
                    seen = engine.read(path, where)
            else:
                raise self._crowded(place)
            entries = label_entries(seen.metadata, name, labels, secret)
            if entries:
                engine.describe(path, entries)
        return str(version) if engine.versioned else None

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is that of the whole path. Labels of
        another value than the present one are not told."""
        path, name, where = self._path(place), self._name(place), str(place)
        engine = self._engine
        seen = engine.read(path, where)
        present = _secret(seen, name)
        if present is None:
            return None
        if not engine.versioned:
            return Held()
        return Held(str(seen.version), labels_of(seen.metadata, name, present))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`."""
        path, name, where = self._path(place), self._name(place), str(place)
        if version is None:
            return _secret(self._engine.read(path, where), name)
        return self._at(self._engine, path, where, name, version)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. Older versions stay until Vault drops them."""
        path, name, where = self._path(place), self._name(place), str(place)
        engine = self._engine
        with self._turn(path):
            for attempt in range(ATTEMPTS):
                seen = engine.read(path, where)
                if name not in seen.fields:
                    break
                allow_deletion(self.name, place, over, _secret(seen, name))
                rest = {field: value for field, value in seen.fields.items() if field != name}
                if not rest:
                    engine.remove(path, where, seen)
                    if engine.versioned:
                        continue  # look whether somebody wrote the field anew, in a later version
                    break
                try:
                    engine.write(path, where, rest, seen)
                    break
                except Beaten:
                    _give_way(attempt)
            else:
                raise self._crowded(place)
            entries = label_removals(seen.metadata, name)
            if entries:
                engine.describe(path, entries)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._client.close()

    def _path(self, place: Place) -> str:
        self.check(place)
        return self._prefix + place.path

    def _name(self, place: Place) -> str:
        return place.field or self._field

    def _turn(self, path: str) -> AbstractContextManager[object]:
        """Without check-and-set, keyform's own processes take turns; with it, its threads alone, which spares
        requests that would come too late."""
        what = (self._client.where, self._mount, path)
        if self._engine.versioned:
            return _TURNS[hash(what) % len(_TURNS)]
        return turn(self.name, "vault " + json.dumps(what), self._env)

    def _at(self, engine: Engine, path: str, where: str, name: str, version: str) -> Secret | None:
        if not engine.versioned or not (version.isascii() and version.isdigit()) or version == "0":
            return None
        return _secret(engine.read(path, where, int(version)), name)

    def _crowded(self, place: Place) -> StoreError:
        return StoreError(
            f"Store {self.name!r} could not write {place}: others write there too: {ATTEMPTS} times now",
            "Nothing was written. Find out who writes there all the time, then run keyform again.",
        )


def _secret(seen: Document, name: str) -> Secret | None:
    """The value of a field; one that is no text (keyform writes none) as its JSON."""
    value = seen.fields.get(name)
    if value is None:
        return None
    return Secret(value if isinstance(value, str) else json.dumps(value))


def _give_way(attempt: int) -> None:
    if attempt > 1:  # twice at once, then with growing pauses, so that many writers do not keep in step
        time.sleep(random.uniform(0, min(0.02 * attempt, 0.3)))  # noqa: S311  no secret depends on it
