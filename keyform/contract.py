"""What keyform's own key-service contract takes of a key, whichever service it is spoken with."""

from __future__ import annotations

from collections.abc import Mapping

from keyform.profile import CONTRACT, Profile

SOURCE = "keyform's key-service contract, by which its keys are made (schemas/key-service.openapi.yaml)"

_LARGEST = {
    "name": 200,
    "description": 1000,
    "scopes": 100,
    "allowed_origins": 100,
    "metadata": 49,  # the contract takes 50; one of them is keyform's ownership label
    "metadata_key": 40,
    "metadata_value": 500,
}
"""Characters or entries, by field."""
_FIELD = {"metadata_key": "metadata", "metadata_value": "metadata"}


def limits_of(profile: Profile) -> Mapping[str, int]:
    """The largest lengths and counts of a type, by field: its own and, where keys are made through the
    contract, those of the contract."""
    own = profile.limits
    if profile.operations.get("create") != CONTRACT:
        return own
    known = {field: most for field, most in _LARGEST.items() if _FIELD.get(field, field) in profile.fields}
    return {**own, **{field: min(most, own.get(field, most)) for field, most in known.items()}}


def cite_limit(profile: Profile, field: str) -> str:
    """The rule that a limit of a field goes by, with its source, as a sentence; or nothing."""
    if limits_of(profile).get(field) == profile.limits.get(field):
        return profile.cite(field)
    return f"The rule is that of {SOURCE}."
