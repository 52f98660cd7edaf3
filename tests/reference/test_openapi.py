"""The server is held against its published OpenAPI document, with data that fits and data that does not."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import httpx
import jsonschema
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from keyform.reference.app import create_app
from keyform.reference.limiter import RateLimit

DOCUMENT = Path(__file__).parents[2] / "schemas" / "key-service.openapi.yaml"
DATA = tempfile.TemporaryDirectory(prefix="keyform-openapi-")  # for as long as this module lives
ROOT = "root_for_the_openapi_tests"
CONFIG = {
    "checks": {
        # Data of the right shape may still break a rule; fits_a_rule looks at those refusals.
        "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "403", "404", "409", "422"]},
        # A revoked key stays listed and can be shown: that is the contract.
        "use_after_free": {"enabled": False},
    },
    "auth": {"openapi": {"credential": {"bearer": ROOT}}},
}


def load() -> schemathesis.BaseSchema:
    """The document, bound to a fresh service that has a limit nobody reaches, so that every header shows."""
    schema = schemathesis.openapi.from_dict(
        yaml.safe_load(DOCUMENT.read_text(encoding="utf-8")), config=SchemathesisConfig.from_dict(CONFIG)
    )
    schema.app = create_app(Path(DATA.name), root_token=ROOT, limit=RateLimit(per_minute=10**9, burst=10**9))
    return schema


SCHEMA = load()


def existing_keys() -> itertools.cycle[str]:
    """Ids of keys of every kind, made on the service under test."""
    client = httpx.Client(
        transport=httpx.WSGITransport(SCHEMA.app),
        base_url="http://service",
        headers={"Authorization": f"Bearer {ROOT}"},
    )
    client.put("/v1/projects/web", json={"allowed_origins": ["https://shop.example"]})
    bodies = [
        {"kind": "public", "project": "web", "scopes": ["events:write"]},
        {"kind": "secret", "scopes": ["events:read"]},
        {"kind": "account", "scopes": ["keys:manage"]},
    ]
    made = [client.post("/v1/keys", json={"environment": "test", "name": "seed", **body}) for body in bodies]
    return itertools.cycle([answer.json()["key"]["id"] for answer in made])


KEYS = existing_keys()
TURN = itertools.count()


def fits_a_rule(ctx: object, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Data of the documented shape is refused for a documented rule only, never for its shape."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 422:
        return
    error = response.json()["error"]
    known_gaps = {"cursor", "project"}  # opaque cursors, and a project on a kind that has none
    assert error["code"] != "invalid_request" or error["details"]["field"] in known_gaps, error


def aim(case: schemathesis.Case) -> None:
    """Aim half of the fitting requests at keys that exist, and keep their creates from colliding."""
    if case.meta is None or not case.meta.generation.mode.is_positive or next(TURN) % 2:
        return
    if "key_id" in case.path_parameters:
        case.path_parameters["key_id"] = next(KEYS)
    case.headers.pop("Idempotency-Key", None)


@SCHEMA.parametrize()
@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_server_does_what_the_document_says(case: schemathesis.Case) -> None:
    aim(case)
    case.call_and_validate(additional_checks=[fits_a_rule])


def test_the_document_is_valid_and_its_examples_fit() -> None:
    document = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    SCHEMA.validate()
    for path in document["paths"].values():
        for operation in path.values():
            body = operation.get("requestBody", {}) if isinstance(operation, dict) else {}
            for media in body.get("content", {}).values():
                if "example" in media:
                    schema = {**media["schema"], "components": document["components"]}
                    jsonschema.Draft202012Validator(schema).validate(media["example"])
