"""What a profile knows of a service's dashboard, as a value: the ground of a checklist.

A line is text with placeholders in braces: the words of :data:`PLACEHOLDERS`. A line with a placeholder that
has no value for the key at hand is left out, so that one list serves every kind of key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PLACEHOLDERS = (
    "name", "description", "kind", "environment", "project", "scopes", "added", "removed", "expiry",
    "origins", "rate_limit", "credits", "metadata", "key", "old_name",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction. ``only``: the fields that must have one of these values for it to be given;
    ``without``: a field that must be empty."""

    text: str
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without: str | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Where a person works, and what they do there.

    ``where`` names the page in the vendor's own words and ``source`` is where they were read. ``words``:
    by field, what the dashboard calls a value. ``hint`` is a regular expression whose first group is what
    may be shown of a secret, to find its key again.
    """

    where: str = "its dashboard"
    source: str = ""
    create: tuple[Line, ...] = ()
    revoke: tuple[Line, ...] = ()
    update: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    origins: tuple[Line, ...] = ()
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hint: str = "(.{4})$"


GENERAL = Dashboard(
    create=(
        Line("Start a new key."),
        Line("Kind: {kind}."),
        Line("Environment: {environment}."),
        Line("Project: {project}."),
        Line("Name or label: {name}."),
        Line("Description: {description}."),
        Line("Choose these scopes and no other: {scopes}."),
        Line("Expiry: {expiry}."),
        Line("Allowed origins, exactly: {origins}."),
        Line("Rate limit: {rate_limit}."),
        Line("Credits: {credits}."),
        Line("Metadata: {metadata}."),
    ),
    revoke=(Line("Find the key {key}."), Line("Revoke or delete that key, and no other.")),
    update={
        "name": (Line("Change its name from {old_name} to {name}."),),
        "description": (Line("Change its description to {description}."),),
        "scopes": (
            Line("Add these scopes: {added}."),
            Line("Take these scopes away: {removed}."),
            Line("It then has exactly: {scopes}."),
        ),
        "allowed_origins": (
            Line("Add these allowed origins: {added}."),
            Line("Remove these allowed origins, which lose access: {removed}."),
        ),
        "expires_at": (Line("Change its expiry to {expiry}."),),
        "rate_limit": (Line("Change its rate limit to {rate_limit}."),),
        "credits": (
            Line("Change its credits to {credits}."),
            Line("Remove its credits, so that it may be used without end.", without="credits"),
        ),
        "metadata": (Line("Change its metadata to {metadata}."),),
    },
    origins=(
        Line("Find the allowed origins of the project {project}."),
        Line("Add: {added}."),
        Line("Remove: {removed}. Browsers there lose access."),
        Line("The list then is exactly: {origins}."),
        Line("The list then is empty.", without="allowed_origins"),
    ),
)
"""What can be said of any dashboard. A profile's own lines stand in for those that it has."""
