"""What Infisical's API says and takes, as its reference and its source have it (see
:mod:`keyform.stores.infisical`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from keyform.model import Place, Secret
from keyform.stores.http import Answer, Said

LABEL = "keyform_"
"""Begins the keys of the metadata that keyform writes."""


def said(answer: Answer) -> Said:
    """Reads ``message``, which is a list where a request has the wrong form, and knows a token that ended
    (backend/src/server/plugins/error-handler.ts)."""
    body = answer.body
    if not isinstance(body, dict):
        return Said()
    message = body.get("message", "")
    told = message if isinstance(message, str) else json.dumps(message)
    return Said(told, expired=body.get("error") == "TokenError")


def fault_of(secret: Secret) -> str | None:
    """Why a value would not come out as it went in."""
    text = secret.reveal()
    if text != text.strip() + ("\n" if text.endswith("\n") else "") or "\ufeff" in (text[:1], text[-1:]):
        return "it begins or ends with blanks, which Infisical cuts off"
    if "${" in text:
        return "it holds ${, which begins a reference there"
    return None


def split(place: Place) -> tuple[str, str]:
    """The folder, and the name as it stands in an address."""
    folder, _, name = place.path.rpartition("/")
    return f"/{folder}", quote(name, safe="")


def value_of(held: Mapping[str, Any] | None) -> Secret | None:
    """The value, where there is a secret."""
    return None if held is None else Secret(str(held.get("secretValue", "")))


def metadata_of(held: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is noted about a secret, by whomever."""
    return [m for m in held.get("secretMetadata") or () if isinstance(m, dict) and "key" in m]


def labels_of(held: Mapping[str, Any]) -> dict[str, str]:
    """What keyform noted."""
    ours = {str(m["key"]): str(m.get("value", "")) for m in metadata_of(held)}
    return {key.removeprefix(LABEL): value for key, value in ours.items() if key.startswith(LABEL)}


def version_of(held: Mapping[str, Any]) -> str:
    """Versions count from 1 again when a secret is made anew, and it has another id then."""
    return f"{held['id']}/{held['version']}"
