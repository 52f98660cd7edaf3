"""The state file: what is dumped, what is loaded, and the published schema of both."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from keyform.errors import StateError
from keyform.model import Credits, KeySpec, Place, RateLimit, Refill, Rotation, Secret, fingerprint
from keyform.schemas_location import schema_text
from keyform.state import Generation, KeyRecord, ProjectRecord, State, dump_state, load_state

CREATED = datetime(2026, 11, 20, 4, 19, 48, 123000, tzinfo=UTC)
TEXT = "sk_live_never_in_a_state"

SPARSE = Generation(number=1, service="sandbox", id="key_1", spec=KeySpec(), created_at=CREATED)
FULL = Generation(
    number=2,
    service="sandbox",
    id="key_2",
    spec=KeySpec(
        kind="secret",
        environment="live",
        project="web",
        name='Zahlung \u2603 "quoted" <b>',
        description="first line\nsecond",
        scopes=("events:read", "events:write"),
        allowed_origins=("https://a.example", "https://b.example"),
        expires_at=datetime(2027, 1, 31, tzinfo=UTC),
        rate_limit=RateLimit(100, 60),
        credits=Credits(10, Refill(5, "monthly", 1)),
        metadata=(("a", "1"), ("b", "")),
    ),
    created_at=CREATED,
    places=(Place("local", "prod/x"), Place("vault", "web", "field", "keep")),
    fingerprint=fingerprint(Secret(TEXT)),
    marker="lineage/marker",
    revoke_at=CREATED + timedelta(hours=72),
    replaced_at=CREATED + timedelta(hours=24),
    revoke_now=True,
)
STATE = State(
    lineage="0b9f7a8e-4d1b-4f7b-8a63-2f8d7c1f3e11",
    serial=42,
    run="run-7",
    keys={
        "keys.sparse": KeyRecord("keys.sparse", SPARSE),
        'keys.reader["us-east"]': KeyRecord(
            'keys.reader["us-east"]',
            SPARSE,
            deposed=(FULL,),
            expires_in=timedelta(days=90),
            owner="payments-team",
            tags=("pci", "eu"),
            protect=True,
            rotation=Rotation(
                timedelta(days=60),
                overlap=timedelta(hours=72),
                revoke_when_unused_for=timedelta(days=1),
                revoke_within=timedelta(days=14),
            ),
            rolled_back_at=CREATED + timedelta(hours=25),
        ),
    },
    projects={"projects.web": ProjectRecord("projects.web", "sandbox", "web", ("https://a.example",))},
    services={"sandbox": "embedded at .keyform/service"},
    stores={"local": "age path=.keyform/secrets"},
)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(schema_text("state.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("state", [STATE, State.fresh()], ids=["full", "fresh"])
def test_what_is_dumped_is_loaded_and_fits_the_schema(
    state: State, validator: jsonschema.Draft202012Validator
) -> None:
    data = dump_state(state)
    assert load_state(data, "state.json") == state
    validator.validate(json.loads(data))


def test_no_secret_is_in_it_and_each_key_has_a_line() -> None:
    text = dump_state(STATE).decode()
    assert TEXT not in text
    assert [sum(address in line for line in text.splitlines()) for address in ("keys.sparse", "us-east")] == [
        1,
        1,
    ]


def _edited(*path: str, **change: Any) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(dump_state(STATE))
    place = raw
    for name in path:
        place = place[name]
    place.update(change)
    return raw


SPARSE_PATH = ("keys", "keys.sparse", "current")


@pytest.mark.parametrize(
    "raw",
    [
        _edited(version=2),
        _edited(format="terraform"),
        _edited(serial=-1),
        _edited(surprise=1),
        _edited("keys", **{"sparse": {}}),
        _edited(*SPARSE_PATH, secret_text=TEXT),
        _edited(*SPARSE_PATH, fingerprint=TEXT),
        _edited(*SPARSE_PATH, created_at="2026-11-20 04:19:48"),
        _edited(*SPARSE_PATH, spec={"scopes": ["a", "a"]}),
        _edited(*SPARSE_PATH, secret=[{"store": "local"}]),
    ],
)
def test_the_schema_refuses_what_no_keyform_wrote(
    raw: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    assert list(validator.iter_errors(raw))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not valid JSON"),
        (dump_state(STATE)[:-20], "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "not a keyform state"),
        (b'{"format": "keyform-plan"}', "not a keyform state"),
        (json.dumps(_edited(version=2)).encode(), "reads up to 1"),
        (json.dumps(_edited(keys=[])).encode(), "damaged"),
        (json.dumps(_edited(*SPARSE_PATH, created_at="yesterday")).encode(), "damaged"),
    ],
)
def test_bytes_that_are_no_state_are_told_so(data: bytes, part: str) -> None:
    with pytest.raises(StateError) as raised:
        load_state(data, "state.json")
    [diagnostic] = raised.value.diagnostics
    assert part in diagnostic.summary
    assert "state.json" in diagnostic.summary
    assert diagnostic.detail
