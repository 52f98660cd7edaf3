"""The items of 1Password Connect as its API shows and takes them: schemas FullItem, Field and Patch of its
OpenAPI document (see :mod:`keyform.stores.onepassword`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from keyform.model import Place, Secret

TAG = "keyform"
"""Tells that keyform made an item."""
USUAL_FIELD = "credential"
"""The field of a place that names none: that of 1Password's own API Credential items."""
LABELS = "keyform "
"""And the field's name: the field that holds its labels."""


def field_of(place: Place) -> str:
    """The label of a place's field."""
    return USUAL_FIELD if place.field is None else place.field


def new_fields(name: str, secret: Secret, labels: Mapping[str, str]) -> list[dict[str, str]]:
    """A field and the one beside it that holds its labels."""
    told = json.dumps(dict(labels), sort_keys=True)
    return [
        {"label": name, "type": "CONCEALED", "value": secret.reveal()},
        {"label": LABELS + name, "type": "STRING", "value": told},
    ]


def value_of(item: Mapping[str, Any], name: str) -> Secret | None:
    """What a field holds; one that was never filled in holds nothing."""
    text = _text_of(item, name)
    return Secret(text) if text else None


def _text_of(item: Mapping[str, Any], name: str) -> str | None:
    return next((f.get("value") for f in item.get("fields", ()) if f.get("label") == name), None)


def labels_of(item: Mapping[str, Any], name: str) -> dict[str, str]:
    """What keyform noted about a field."""
    try:
        labels = json.loads(_text_of(item, LABELS + name) or "{}")
    except ValueError:
        labels = {}
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def version_of(item: Mapping[str, Any]) -> str:
    """Another text after every change of the item, and for every item."""
    return f"{item['id']}/{item['version']}"


def age(item: Mapping[str, Any]) -> tuple[str, str]:
    """Items by when they were made, and in one order where that is the same second."""
    return str(item.get("createdAt", "")), str(item["id"])


def pointer(field: Mapping[str, Any]) -> str:
    """An RFC 6901 pointer to a field, by its id."""
    return "/fields/" + str(field["id"]).replace("~", "~0").replace("/", "~1")
