"""What a service declaration says beside where the service is: options of its type, and ``stale_after``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from keyform.config.merge import Entry
from keyform.config.values import Bad, duration
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.options import endpoint_fault, option_faults
from keyform.profile import FIELDS_OF_A_SERVICE, Profile


def check_options(
    name: str, entry: Entry, profile: Profile, options: Mapping[str, Any], problems: Problems
) -> None:
    """Record what is wrong with the options of a service, each where it stands. ``options`` are those whose
    values are known."""
    unread = tuple(
        option for option in entry.body if option not in FIELDS_OF_A_SERVICE and option not in options
    )
    faults = option_faults(name, profile, options, unread=unread, other_fields=FIELDS_OF_A_SERVICE)
    for fault in faults:
        if fault.code == "missing-field" and fault.option not in entry.body:
            problems.error(fault.code, entry.at(), fault.summary, fault.detail, on_name=True)
        else:
            on_name = fault.code == "unknown-field"
            problems.error(fault.code, entry.at(fault.option), fault.summary, fault.detail, on_name=on_name)


def check_endpoint(name: str, entry: Entry, profile: Profile, problems: Problems) -> None:
    """Record that a service lacks its ``endpoint``. ``profile`` is as the service's mode makes it."""
    misspelt = entry.body.keys() - FIELDS_OF_A_SERVICE - profile.service_options.keys()
    written = "endpoint" in entry.body or "endpoint" in entry.unknown or misspelt
    fault = endpoint_fault(name, profile) if profile.operations and not written else None
    if fault is not None:
        problems.error(fault.code, entry.at(), fault.summary, fault.detail, on_name=True)


def check_field_names(name: str, entry: Entry, problems: Problems) -> None:
    """Record misspelt fields of a service whose type, and so whose options, are not known."""
    for field in entry.body:
        if field not in FIELDS_OF_A_SERVICE:
            hint = did_you_mean(field, FIELDS_OF_A_SERVICE)
            if hint.startswith("Did"):
                summary = f"unknown field `{field}` in service `{name}`"
                problems.error("unknown-field", entry.at(field), summary, hint, on_name=True)


FOREVER = timedelta(days=36_500)
"""What `never` is as a span: longer than any key is kept."""


def stale_after(entry: Entry, profile: Profile, text: Any, problems: Problems) -> timedelta | None:
    """How long a key of the service may go unused before plans and audits say so; None where nothing is said.
    ``profile`` is as the service's mode makes it."""
    if not isinstance(text, str):
        return None
    where = entry.at("stale_after")
    try:
        span = duration(text)
    except Bad as bad:
        problems.error("bad-duration", where, bad.summary, bad.detail)
        return None
    if span is not None and not profile.shows_last_used:
        problems.error(
            "unsupported-field",
            where,
            f"`stale_after` needs to know when a key was last used, and keyform is not shown that by "
            f"{profile.title} here",
            "Remove it.",
            on_name=True,
        )
        return None
    return span or FOREVER
