"""1Password through a Connect server: a place is a field of the item whose title is the place's path.

The calls are those of the Connect API's OpenAPI document (github.com/1Password/connect,
docs/openapi/spec.yaml, version 1.8) and no others. It has no conditional writes, and titles need not be
unique, so that of several first writers of one item all but one take theirs back again.
"""

from __future__ import annotations

import contextlib
import functools
import re
import secrets as _random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import httpx

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.http import GIVEN_UP, Answer, Rest, Said
from keyform.stores.http_access import Bearer, checked_address, credential, missing
from keyform.stores.onepassword_items import (
    LABELS,
    TAG,
    age,
    field_of,
    labels_of,
    new_fields,
    pointer,
    value_of,
    version_of,
)
from keyform.stores.over import allow, allow_deletion, taken
from keyform.stores.turns import turn

HOST, TOKEN = "OP_CONNECT_HOST", "OP_CONNECT_TOKEN"
_UUID = re.compile(r"[\da-z]{26}\Z")
_TURNS = 20
_ADVICE = {
    401: f"Give a valid Connect token as `token` or in {TOKEN}: it may have expired or been revoked.",
    403: "Give keyform a Connect token that may read and write this vault (op connect token create).",
    404: "Check `vault` and `endpoint`, and that the Connect server has access to the vault.",
}


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> OnePasswordStore:
    """The store that a configuration declares. Options: ``vault`` (id or name), ``endpoint`` and ``token``
    (default: OP_CONNECT_HOST and OP_CONNECT_TOKEN, which 1Password's own tools read), ``insecure``. Does no
    I/O. Raises ``StoreError``."""
    endpoint = options.get("endpoint") or env.get(HOST)
    if not endpoint:
        raise missing(name, "endpoint", HOST)
    token = credential(name, options, env, "token", TOKEN)
    if token is None:
        raise missing(name, "token", TOKEN)
    address = checked_address(name, endpoint, insecure=options.get("insecure") is True)
    return OnePasswordStore(name, address, token, options["vault"], env)


def _said(answer: Answer) -> Said:
    """Reads the schema ErrorResponse. A vault takes one write at a time, and a conflict is none of ours
    (github.com/1Password/terraform-provider-onepassword, issue 108)."""
    body = answer.body
    if not isinstance(body, dict):
        return Said()
    return Said(str(body.get("message", "")), again=1.0 if body.get("status") == 409 else None)


class OnePasswordStore:
    """A :class:`~keyform.ports.Store` over the items of one vault."""

    readable = True

    def __init__(
        self,
        name: str,
        address: str,
        token: Secret,
        vault: str,
        env: Mapping[str, str],
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._vault = vault
        self._id = vault if _UUID.match(vault) else None
        self._credential = Bearer(token)
        self._sleep = sleep
        self._address = address
        self._env = env
        self._rest = Rest(
            name, f"{address}/v1", _said, _ADVICE, timeout=timeout, transport=transport, sleep=sleep
        )
        # 1Password carries out the writes to one vault one after another, and advises to send them so.
        self._writing = threading.Lock()

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        for what, text in (("path", place.path), ("field", field_of(place))):
            if not text or text != text.strip() or not text.isprintable() or '"' in text or "\\" in text:
                raise StoreError(
                    f"Store {self.name!r} cannot hold {place}: its {what} is no title that can be looked for",
                    "Use letters, digits and signs except quotes and backslashes, and no space at an end.",
                )
        if field_of(place).startswith(LABELS):
            raise StoreError(
                f"Store {self.name!r} cannot hold {place}: keyform keeps labels in fields named {LABELS!r}…",
                "Choose another field.",
            )

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. GET /vaults/{vaultUuid}."""
        seen = self._call("GET", "", "look at its vault")
        return (
            f"the vault {seen.get('name', self._vault)!r} can be read; "
            "Connect does not tell whether the token may write to it"
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = Place(self.name, f"keyform-canary-{_random.token_hex(8)}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to the vault {self._vault!r}",
                "Check that the Connect server is in step with 1Password (its /health), then try again.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is the item's, so that a change of another field
        makes a new one too."""
        self.check(place)
        item = self._item(place)
        if item is None or value_of(item, field_of(place)) is None:
            return None
        return Held(version_of(item), labels_of(item, field_of(place)))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. The API shows no older versions."""
        self.check(place)
        item = self._item(place)
        if item is None or (version is not None and version != version_of(item)):
            return None
        return value_of(item, field_of(place))

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        if not secret.reveal():
            raise StoreError(
                f"Store {self.name!r} cannot hold an empty value at {place}",
                "1Password shows an empty field like one that was never filled in.",
            )
        with self._turn(place):
            for number in range(_TURNS):
                item = self._item(place)
                present = None if item is None else value_of(item, field_of(place))
                if (
                    item is not None
                    and present == secret
                    and labels_of(item, field_of(place)) == dict(labels)
                ):
                    return version_of(item)
                if present != secret:
                    allow(self.name, place, over, present)
                written = (
                    self._create(place, secret, labels)
                    if item is None
                    else self._change(place, item, secret, labels)
                )
                if written is not None:
                    return version_of(written)
                self._sleep(_random.SystemRandom().uniform(0, min(0.1 * 2**number, 5.0)))
        raise self._contested(place)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. An item that keyform made and that holds nothing else goes
        too; it is looked at right before each time that this is asked for, since all that is in it goes.
        PATCH or DELETE /vaults/{vaultUuid}/items/{itemUuid}."""
        self.check(place)
        with self._turn(place):
            for _ in range(_TURNS):
                item = self._item(place)
                if item is None:
                    return
                names = (field_of(place), LABELS + field_of(place))
                gone = [field for field in item.get("fields", ()) if field.get("label") in names]
                if not gone:
                    return
                allow_deletion(self.name, place, over, value_of(item, field_of(place)))
                doing, path = f"delete {place}", f"/items/{item['id']}"
                if TAG not in item.get("tags", ()) or any(
                    f.get("value") for f in item["fields"] if f not in gone
                ):
                    body = [{"op": "remove", "path": pointer(field)} for field in gone]
                    self._call("PATCH", path, doing, body, repeatable=False, absent=True)
                    return
                unchanged = functools.partial(self._holds, place, item)
                if self._call("DELETE", path, doing, shape=NoneType, absent=True, still=unchanged) is None:
                    return
        raise self._contested(place)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._rest.close()

    # Items

    def _create(self, place: Place, secret: Secret, labels: Mapping[str, str]) -> dict[str, Any] | None:
        """A new item, or None where somebody else made one of that title at the same moment.
        POST /vaults/{vaultUuid}/items."""
        fields = new_fields(field_of(place), secret, labels)
        body = {
            "vault": {"id": self._vault_id()},
            "title": place.path,
            "category": "API_CREDENTIAL",
            "tags": [TAG],
            "fields": [{"id": _random.token_hex(13), **field} for field in fields],
        }
        mine: dict[str, Any] = self._call(
            "POST", "/items", f"write {place}", body, secret=secret, repeatable=False
        )
        # The latest of several gives way at once; the first waits until it has, and gives way itself to one
        # that does not, since that one was alone when it looked.
        for number in range(5):
            others = [item for item in self._titled(place) if item["id"] != mine["id"]]
            if not others:
                return mine
            if any(age(item) < age(mine) for item in others):
                break
            self._sleep(0.05 * 2**number)
        doing = f"take back its item for {place}"
        self._call("DELETE", f"/items/{mine['id']}", doing, shape=NoneType, absent=True)
        return None

    def _change(
        self, place: Place, item: Mapping[str, Any], secret: Secret, labels: Mapping[str, str]
    ) -> dict[str, Any]:
        """Set one field and its labels, and leave the others. PATCH /vaults/{vaultUuid}/items/{itemUuid}."""
        body = []
        for new in new_fields(field_of(place), secret, labels):
            had = next((f for f in item.get("fields", ()) if f.get("label") == new["label"]), None)
            path = "/fields" if had is None else pointer(had) + "/value"
            body.append({"op": "add", "path": path, "value": new if had is None else new["value"]})
        doing, path = f"write {place}", f"/items/{item['id']}"
        changed: dict[str, Any] = self._call("PATCH", path, doing, body, secret=secret, repeatable=False)
        same = [field for field in changed.get("fields", ()) if field.get("label") == field_of(place)]
        if len(same) > 1 and same[0].get("value") != secret.reveal():
            # Somebody added the same field between the look and the write, and was first.
            mine = [{"op": "remove", "path": pointer(f)} for f in same[1:] if f["value"] == secret.reveal()]
            self._call("PATCH", path, f"take back its field at {place}", mine, repeatable=False)
            raise taken(self.name, place)
        return changed

    @contextlib.contextmanager
    def _turn(self, place: Place) -> Iterator[None]:
        """Of keyform's own processes, one changes an item at a time."""
        what = f"onepassword {self._address} {self._vault_id()} {place.path}"
        with self._writing, turn(self.name, what, self._env, 300.0):
            yield

    def _holds(self, place: Place, item: Mapping[str, Any]) -> bool:
        return self._item(place) == item

    def _contested(self, place: Place) -> StoreError:
        return StoreError(
            f"Store {self.name!r} could not write {place}: others keep changing or making an item of that "
            "title too",
            "Find out who does, then run the command again.",
        )

    def _item(self, place: Place) -> dict[str, Any] | None:
        """The whole item, or None. GET /vaults/{vaultUuid}/items/{itemUuid}."""
        for number in range(_TURNS):
            found = self._titled(place)
            if not found:
                return None
            if len(found) == 1:
                whole: dict[str, Any] | None = self._call(
                    "GET", f"/items/{found[0]['id']}", f"read {place}", absent=True
                )
                if whole:
                    return whole
            self._sleep(min(0.05 * 2**number, 0.5))  # somebody is about to take one away
        raise StoreError(
            f"Store {self.name!r}: the vault {self._vault!r} has several items titled {place.path!r}",
            "Rename or archive all but one, so that keyform knows which one is meant.",
        )

    def _titled(self, place: Place) -> list[dict[str, Any]]:
        """GET /vaults/{vaultUuid}/items?filter=title eq "…"."""
        wanted = {"filter": f'title eq "{place.path}"'}
        items = self._call("GET", "/items", f"look for {place}", params=wanted, shape=list)
        return [i for i in items if i.get("title") == place.path and not i.get("state")]

    def _vault_id(self) -> str:
        """GET /vaults?filter=name eq "…", unless the vault is declared by its id."""
        if self._id is None:
            wanted = {"filter": f'name eq "{self._vault}"'}
            answer = self._rest.call(
                "GET", "/vaults", "look for its vault", self._credential, params=wanted, shape=list
            )
            ids = [vault["id"] for vault in answer.body if vault.get("name") == self._vault]
            if len(ids) != 1:
                raise StoreError(
                    f"Store {self.name!r}: the token sees {len(ids) or 'no'} vaults named {self._vault!r}",
                    f"Give `vault` as an id, or: {_ADVICE[403]}",
                )
            self._id = ids[0]
        return self._id

    def _call(
        self,
        method: str,
        path: str,
        doing: str,
        body: Any = None,
        *,
        shape: type = dict,
        params: Mapping[str, str] | None = None,
        secret: Secret | None = None,
        repeatable: bool = True,
        absent: bool = False,
        still: Callable[[], bool] | None = None,
    ) -> Any:
        """A call to the vault; with ``absent``, None for an item that is not there (any more). ``GIVEN_UP``
        where ``still`` said no."""
        answer = self._rest.call(
            method,
            f"/vaults/{self._vault_id()}{path}",
            doing,
            self._credential,
            params=params,
            body=body,
            shape=shape,
            accept=(404,) if absent else (),
            repeatable=repeatable,
            secret=secret,
            still=still,
        )
        if answer is GIVEN_UP:
            return GIVEN_UP
        return None if answer.status == 404 else answer.body
