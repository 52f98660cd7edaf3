"""Answers of a service as keyform's values.

A listing of 10,000 keys passes through here, so each field is one function made beforehand. What does
not have the form that the profile describes raises :class:`Unintelligible`, never a ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keyform.model import KeySpec, LiveKey, LiveProject, Secret
from keyform.profile import Kind
from keyform.services.fields import (
    Reader,
    Unintelligible,
    id_reader,
    metadata_reader,
    moment_reader,
    scopes_reader,
    status_reader,
    tag_reader,
    text_reader,
    texts_reader,
    word_reader,
)
from keyform.services.paths import compile_path
from keyform.services.quotas import credits_reader, rate_limit_reader
from keyform.services.speech import DESCRIPTION, NAME, Speech

KeyReader = Callable[[object], LiveKey]


def key_reader(mapping: Mapping[str, Any], speech: Speech, kinds: Mapping[str, Kind]) -> KeyReader:
    """A function that reads one key. ``mapping``: field to path, or to ``{at: path, …}``."""
    read_id = id_reader(mapping["id"])
    status = status_reader(mapping.get("status"), speech)
    kind = word_reader(
        mapping.get("kind"), "kind", speech, "kinds", {name: kinds[name].prefix for name in kinds}
    )
    environment = word_reader(mapping.get("environment"), "environment", speech, "environments", {})
    project = text_reader(mapping.get("project"), "project")
    name = text_reader(mapping.get("name"), "name")
    description = text_reader(mapping.get("description"), "description")
    scopes = scopes_reader(mapping.get("scopes"), speech)
    origins = texts_reader(mapping.get("allowed_origins"), "allowed_origins", {})
    expires = moment_reader(mapping.get("expires_at"), "expires_at", speech)
    limit = rate_limit_reader(mapping.get("rate_limit"))
    credits = credits_reader(mapping.get("credits"), speech)
    metadata = metadata_reader(mapping.get("metadata"), speech.marker)
    created = moment_reader(mapping.get("created_at"), "created_at", speech)
    used = moment_reader(mapping.get("last_used_at"), "last_used_at", speech)
    hint = text_reader(mapping.get("hint"), "hint")
    tagged = tag_reader(mapping.get("tags"), speech.marker)
    split = speech.marker if speech.marker and speech.marker.place in (NAME, DESCRIPTION) else None

    def read(raw: object) -> LiveKey:
        if type(raw) is not dict:
            raise Unintelligible("a key that is no object")
        key_id, state = read_id(raw), status(raw)
        shown, label = metadata(raw)
        called, described = name(raw) or "", description(raw) or ""
        if split is not None:
            if split.place == NAME:
                called, label = split.split(called)
            else:
                described, label = split.split(described)
        elif tagged is not None:
            label = tagged(raw)
        return LiveKey(
            key_id,
            KeySpec(
                kind(raw),
                environment(raw),
                project(raw),
                called,
                described,
                scopes(raw),
                origins(raw),
                expires(raw),
                limit(raw),
                credits(raw),
                shown,
            ),
            state,
            label,
            created(raw),
            used(raw),
            hint(raw),
        )

    return read


def project_reader(mapping: Mapping[str, Any]) -> Callable[[object], LiveProject]:
    """A function that reads one project: its ``id`` and ``allowed_origins``."""
    read_id = id_reader(mapping["id"], "project")
    origins = texts_reader(mapping.get("allowed_origins"), "allowed_origins", {})

    def read(raw: object) -> LiveProject:
        if type(raw) is not dict:
            raise Unintelligible("a project that is no object")
        return LiveProject(read_id(raw), origins(raw))

    return read


def read_id(path: str) -> Reader:
    """A function that finds an id anywhere in an answer."""
    return id_reader(path, "answer")


LARGEST_SECRET = 64 << 10
"""Bytes. No secrets manager of note keeps more in one value."""


def secret_reader(path: str) -> Reader:
    """The secret in the answer to a create, or None when there is none. (Half a character is not mended here:
    it would be another secret.)"""
    get = compile_path(path)

    def read(raw: Any) -> Secret | None:
        value = get(raw)
        if type(value) is not str or not value:
            return None
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise Unintelligible("a secret that is no text") from None
        if size > LARGEST_SECRET:
            raise Unintelligible(f"a secret of {size:,} bytes, where {LARGEST_SECRET:,} are the most")
        return Secret(value)

    return read
