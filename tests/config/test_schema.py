"""The published schema: valid itself, complete for editors, and of one mind with ``load``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from keyform.config import Config
from keyform.profile import Kind, Profile
from keyform.schemas_location import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text("config.schema.json"))

# The example of the design page, and what each of its parts may leave to templates.
EXAMPLE = """
version: 1
state: {backend: local, path: .keyform/state.json}
services:
  payments:  {type: revkeen, endpoint: "${env:REVKEEN_ENDPOINT}", credential: "${env:REVKEEN_TOKEN}"}
  analytics: {type: millimetric, mode: assisted}
  sandbox:   {type: embedded}
stores:
  local: {type: age, path: .keyform/secrets}
  vault: {type: vault, address: "https://vault.example:8200", mount: kv}
defaults:
  store: vault
  expires_in: 90d
  rotation: {every: 60d, overlap: 72h}
projects:
  web: {service: analytics, allowed_origins: ["https://yoursite.com", "https://www.yoursite.com"]}
keys:
  checkout:
    service: payments
    environment: live
    name: Checkout backend
    scopes: [checkout:write, payments:read]
    secret: prod/revkeen/checkout
    owner: payments-team
    protect: true
  snippet:
    service: analytics
    project: web
    kind: pk
    secret: {store: vault, path: web/millimetric, field: publishable}
  reader:
    for_each: [us-east, eu-west]
    service: sandbox
    kind: read
    name: "Dashboard ${each.key}"
    secret: "dash/${each.key}"
imports: [{key: checkout, id: key_123}]
moved:   [{from: old-name, to: checkout}]
removed: [{key: legacy, revoke: false}]
"""


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that a user can write, with its schema."""
    for name, field in schema.get("properties", {}).items():
        if not field:  # described where it is declared first
            continue
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    for name, definition in schema.get("$defs", {}).items():
        yield f"{path}#{name}", definition
        yield from fields(definition, f"{path}#{name}")
    if isinstance(schema.get("items"), dict):
        yield from fields(schema["items"], f"{path}[]")


def test_it_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("path", "field"), list(fields(SCHEMA)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_field_tells_an_editor_what_it_is(path: str, field: dict[str, Any]) -> None:
    assert field["title"]
    assert field["description"].endswith(".")
    assert field["examples"]
    for example in field["examples"]:
        Draft202012Validator({**field, "$defs": SCHEMA["$defs"]}).validate(example)
    # What holds other fields for each type is closed by the definition of the type.
    by_type = path == "#service" or "allOf" in field
    if field.get("type") == "object" and "properties" in field and not by_type:
        assert field["additionalProperties"] is False


def test_it_takes_the_example_of_the_design() -> None:
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(EXAMPLE))


def test_the_example_loads(config: Callable[..., Config]) -> None:
    text = EXAMPLE.replace("type: revkeen", "type: example").replace("type: millimetric", "type: example")
    example = Profile(
        type="example",
        title="",
        kinds={"pk": Kind("pk", origins="required"), "sk": Kind("sk"), "read": Kind("read")},
        default_kind="sk",
        environments=("live",),
        default_environment="live",
        fields=frozenset({"kind", "environment", "project", "name", "scopes", "expires_in"}),
        origins_on=frozenset({"project"}),
    )
    loaded = config(
        text,
        env={"REVKEEN_ENDPOINT": "https://r.example", "REVKEEN_TOKEN": "rk-123456"},
        profile_of=lambda kind, folder: example,
    )
    assert [key.address for key in loaded.desired.keys] == [
        "keys.checkout",
        "keys.snippet",
        'keys.reader["us-east"]',
        'keys.reader["eu-west"]',
    ]


def test_a_schema_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        schema_text("none.schema.json")
