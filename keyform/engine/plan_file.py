"""The plan file: a plan as JSON bytes and back.

The digest in it tells that a file is as it was made. It is no signature: whoever can write the file can
write a digest. What a plan may do is held against the state and the configuration when it is applied.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keyform.diagnostics import Diagnostic
from keyform.engine.options import Options
from keyform.engine.passing import Passing
from keyform.engine.plan import FORMAT, VERSION, Change, FieldDiff, Left, Plan, Step, Stored, digest_of
from keyform.errors import PlanError
from keyform.model import Location, digest, parse_instant
from keyform.schemas_location import schema_text
from keyform.state import place_from_json

if TYPE_CHECKING:
    import jsonschema_rs


def dump_plan(plan: Plan) -> bytes:
    """The bytes of a plan file."""
    return json.dumps(plan.as_json(), indent=1, ensure_ascii=False).encode() + b"\n"


def load_plan(data: bytes, where: str) -> Plan:
    """The plan in a file's bytes. Raises :class:`PlanError` when it is none, was altered after it was
    made, or is of a newer version."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise PlanError(f"{where} is not a keyform plan file", "Make one with `keyform plan --out FILE`.")
    version = raw.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise PlanError(
            f"{where} has plan version {version}, and this keyform reads up to {VERSION}",
            "It was written by a newer keyform. Upgrade keyform, or plan again with this one.",
        )
    claimed = raw.pop("digest", None)
    try:
        sound = claimed == digest(raw)
    except UnicodeEncodeError:  # half a surrogate pair, which keyform never writes
        sound = False
    if not sound:
        raise PlanError(
            f"{where} was altered after it was made: its content does not match its digest",
            "Do not apply it. Make a new plan with `keyform plan --out FILE` and review that.",
        )
    wrong = next(iter(_validator().iter_errors({**raw, "digest": claimed})), None)
    if wrong is not None:
        at = "/".join(map(str, wrong.instance_path)) or "the file"
        raise PlanError(f"{where} is damaged: {at}: {wrong.message}", "Make a new plan.")
    try:
        plan = _plan_from_json(raw)
        same = digest_of(plan) == claimed
    except (ValueError, IndexError, OverflowError) as problem:
        raise PlanError(
            f"{where} is damaged: {type(problem).__name__}: {problem}", "Make a new plan."
        ) from None
    if not same:
        raise PlanError(f"{where} is damaged: its parts do not fit together", "Make a new plan.")
    return plan


@functools.cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(json.loads(schema_text("plan.schema.json")))


def _plan_from_json(raw: Mapping[str, Any]) -> Plan:
    changes = [
        Change(
            address=entry["address"],
            action=entry["action"],
            reason=entry["reason"],
            service=entry.get("service"),
            key_id=entry.get("key_id"),
            generation=entry.get("generation"),
            diff=tuple(FieldDiff(d["path"], d["before"], d["after"]) for d in entry["diff"]),
            drift=entry["drift"],
            seen=entry.get("seen"),
            backing=entry.get("backing"),
            stored=tuple(Stored.from_json(one) for one in entry.get("stored", ())),
            held=entry.get("held"),
            privilege=entry.get("privilege"),
            privilege_words=tuple(entry.get("privilege_words", ())),
            passing=Passing.from_json(entry.get("passing", {})),
            left=tuple(Left(place_from_json(one), one["why"]) for one in entry.get("left", ())),
        )
        for entry in raw["changes"]
    ]
    for entry in raw["steps"]:
        change = changes[entry["change"]]
        changes[entry["change"]] = replace(change, steps=(*change.steps, Step.from_json(entry)))
    return Plan(
        raw["lineage"],
        raw["serial"],
        raw["config_digest"],
        parse_instant(raw["created_at"]),
        tuple(changes),
        raw["summary"]["unchanged"],
        tuple(raw["unmanaged"].items()),
        tuple(_diagnostic(entry) for entry in raw["diagnostics"]),
        Options.from_json(raw["mode"], tuple(raw["targets"]), raw.get("options", {})),
        tuple(raw.get("held_back", ())),
    )


def _diagnostic(entry: Mapping[str, Any]) -> Diagnostic:
    place = entry.get("location")
    return Diagnostic(
        entry["severity"],
        entry["code"],
        entry["summary"],
        entry.get("detail", ""),
        entry.get("address"),
        Location(place["file"], place["line"], place["column"]) if place else None,
    )
