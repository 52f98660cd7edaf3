"""1Password Connect, by the OpenAPI document of github.com/1Password/connect (docs/openapi/spec.yaml)."""

from __future__ import annotations

import copy
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.stores.standins import Refusal, Request, StandIn

VAULT = "ftz4pm2xxwmwrsd7rjqn7grzfz"
_ITEM = ("id", "title", "vault", "category", "urls", "favorite", "tags", "version", "state", "createdAt")
_FULL = (*_ITEM, "updatedAt", "lastEditedBy", "sections", "fields", "files")
_OLD = ("trashed",)  # not in the document; 1Password's own Python client sends it
_FIELD = {"id", "section", "type", "purpose", "label", "value", "generate", "recipe", "entropy"}
_TYPES = ("STRING", "EMAIL", "CONCEALED", "URL", "TOTP", "DATE", "MONTH_YEAR", "MENU")
_FILTER = re.compile(r'(title|name) eq "([^"\\]*)"\Z')


class Connect(StandIn):
    """One vault named Keys. ``tokens`` maps a token to what it may do: ``rw``, ``r``, or "" for other vaults
    alone; a token that is not there is not valid (any more). ``busy``: how many deletions are put off."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {"good-token": "rw", "reader-token": "r", "foreign-token": ""}
        self.busy = 0
        self.items: dict[str, dict[str, Any]] = {}
        self.route("GET", "/v1/vaults", self._vaults)
        self.route("GET", "/v1/vaults/{vault}", self._vault)
        self.route("GET", "/v1/vaults/{vault}/items", self._list)
        self.route("POST", "/v1/vaults/{vault}/items", self._create)
        self.route("GET", "/v1/vaults/{vault}/items/{item}", self._get)
        self.route("PATCH", "/v1/vaults/{vault}/items/{item}", self._patch)
        self.route("DELETE", "/v1/vaults/{vault}/items/{item}", self._delete)

    def error(self, status: int, message: str) -> Any:
        return {"status": status, "message": message}

    def add(self, title: str, **fields: str) -> dict[str, Any]:
        """An item that somebody made by hand."""
        made = [
            {"id": name, "type": "STRING", "label": name, "value": value} for name, value in fields.items()
        ]
        return self._made({"title": title, "category": "LOGIN", "tags": ["ours"], "fields": made})

    def fields(self, title: str) -> dict[str, str]:
        (item,) = (item for item in self.items.values() if item["title"] == title)
        return {field["label"]: field.get("value", "") for field in item["fields"]}

    def _made(self, item: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item |= {"id": secrets.token_hex(13), "vault": {"id": VAULT}, "version": 1, "createdAt": now}
        item["fields"].append(
            {"id": "notesPlain", "type": "STRING", "purpose": "NOTES", "label": "notesPlain"}
        )
        self.items[item["id"]] = item
        return item

    def _refuse(self, status: int, message: str) -> Refusal:
        return Refusal(status, self.error(status, message))

    def _may(self, request: Request, vault: str | None = None, need: str = "r") -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise self._refuse(401, "Invalid token signature")
        may = self.tokens[token]
        if vault is not None:
            assert re.match(r"[\da-z]{26}\Z", vault), f"{vault} is no vaultUuid"
            if need not in may:
                raise self._refuse(403, f"vault {vault} is not in scope")
            if vault != VAULT:
                raise self._refuse(404, f"vault {vault} not found")
        return may

    def _filtered(self, request: Request, attribute: str) -> str | None:
        request.only(query=("filter",))
        if "filter" not in request.query:
            return None
        match = _FILTER.match(request.query["filter"])
        assert match, f"{request.query['filter']} is no filter"
        assert match[1] == attribute, f"there is no filter by {match[1]}"
        return match[2]

    def _vaults(self, request: Request) -> Any:
        name = self._filtered(request, "name")
        if not self._may(request) or name not in (None, "Keys"):
            return []
        return [{"id": VAULT, "name": "Keys", "items": len(self.items)}]

    def _vault(self, request: Request, vault: str) -> Any:
        request.only()
        self._may(request, vault)
        return {"id": VAULT, "name": "Keys", "items": len(self.items)}

    def _list(self, request: Request, vault: str) -> Any:
        title = self._filtered(request, "title")
        self._may(request, vault)
        found = [item for item in self.items.values() if title in (None, item["title"])]
        return [{name: item[name] for name in _ITEM if name in item} for item in found]

    def _item(self, request: Request, vault: str, item: str, need: str = "r") -> dict[str, Any]:
        self._may(request, vault, need)
        if item not in self.items:
            raise self._refuse(404, f"item {item} not found")
        return self.items[item]

    def _get(self, request: Request, vault: str, item: str) -> Any:
        request.only()
        return self._item(request, vault, item)

    def _create(self, request: Request, vault: str) -> Any:
        request.only(body=(*_FULL, *_OLD))
        self._may(request, vault, "w")
        body = copy.deepcopy(request.body)
        assert body.get("vault") == {"id": VAULT}, "an item needs its vault"
        assert body.get("category") in ("API_CREDENTIAL", "LOGIN", "PASSWORD"), "an item needs a category"
        for field in body.setdefault("fields", []):
            assert {"id", "type"} <= field.keys(), "a field needs id and type"
            self._check(field)
        return self._made(body)

    def _check(self, field: dict[str, Any]) -> None:
        assert field.keys() <= _FIELD, f"a field has no {sorted(field.keys() - _FIELD)}"
        assert field.get("type") in _TYPES, "a field needs a type of the document"
        if field.get("value") == "":
            del field["value"]

    def _patch(self, request: Request, vault: str, item: str) -> Any:
        operations = request.body
        assert not request.query, "PATCH has no parameters"
        assert isinstance(operations, list), "a patch is a list"
        stored = self._item(request, vault, item, "w")
        new = copy.deepcopy(stored)
        for operation in operations:
            assert operation.keys() <= {"op", "path", "value"}, f"no such operation: {operation.keys()}"
            self._apply(new, operation["op"], operation["path"], operation.get("value"))
        if operations:
            new["version"] += 1
            self.items[item] = new
        return new

    def _apply(self, item: dict[str, Any], op: str, path: str, value: Any) -> None:
        assert op in ("add", "remove", "replace"), f"the operation {op} is not supported"
        _, root, *rest = path.split("/")
        assert root == "fields", f"this stand-in patches fields alone, not {path}"
        if not rest:
            assert op == "add", "fields are added"
            self._check(value)
            item["fields"].append({"id": secrets.token_hex(13), **value})
            return
        field = next((field for field in item["fields"] if field["id"] == rest[0]), None)
        assert field is not None, f"there is no field {rest[0]}"
        if len(rest) == 1:
            assert op == "remove", "this stand-in removes whole fields alone"
            item["fields"].remove(field)
            return
        assert rest[1] in _FIELD, f"a field has no {rest[1]}"
        assert op == "add" or rest[1] in field, f"{op} needs something at {path}"
        field[rest[1]] = value
        self._check(field)

    def _delete(self, request: Request, vault: str, item: str) -> Any:
        request.only()
        self._item(request, vault, item, "w")
        if self.busy:
            self.busy -= 1
            raise self._refuse(429, "slow down")
        del self.items[item]
        raise Refusal(204)
