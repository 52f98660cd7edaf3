"""``accept``: findings of the audit that somebody has decided to live with for a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from keyform.acceptance import Acceptance
from keyform.config.addresses import Addresses
from keyform.config.merge import Entry, Merged
from keyform.config.values import Bad, deadline, has_control
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems


class Acceptances:
    """Reads the list. Whether an entry has run out, or is about nothing, is for the audit to say."""

    def __init__(self, merged: Merged, addresses: Addresses, problems: Problems) -> None:
        self._merged = merged
        self._addresses = addresses
        self._problems = problems
        self._seen: dict[Any, Entry] = {}

    def read(self) -> tuple[Acceptance, ...]:
        """The sound entries, in the order they are written."""
        return tuple(self._each())

    def _each(self) -> Iterator[Acceptance]:
        for entry in self._merged.accept:
            rule, reason = self._addresses.text(entry, "rule"), self._reason(entry)
            until = self._until(entry)
            subject = self._subject(entry)
            if rule is None or reason is None or until is None or subject is None:
                continue
            field = next(name for name in ("key", "project", "id") if name in entry.body)
            self._addresses.once(self._seen, (rule, subject), entry, field, f"{rule} is accepted twice here")
            yield Acceptance(rule, reason, until, *subject, entry.at())

    def _reason(self, entry: Entry) -> str | None:
        reason = self._addresses.text(entry, "reason")
        if reason is not None and (not reason.strip() or has_control(reason)):
            summary = "the reason is empty or contains a line break or a tab"
            self._problems.error("bad-value", entry.at("reason"), summary, "Write one line of text.")
            return None
        return reason

    def _until(self, entry: Entry) -> datetime | None:
        text = self._addresses.text(entry, "until")
        if text is None:
            return None
        try:
            return deadline(text)
        except Bad as bad:
            self._problems.error("bad-time", entry.at("until"), bad.summary, bad.detail)
            return None

    def _subject(self, entry: Entry) -> tuple[str | None, str | None, str | None] | None:
        """Address, service and id of a key."""
        if "key" in entry.body:
            self._no_service(entry, "key")
            address = self._addresses.key(entry, "key")
            if address is None:
                return None
            self._addresses.must_be_declared(address, entry, "key", "an acceptance", all_instances=True)
            return address, None, None
        if "project" in entry.body:
            self._no_service(entry, "project")
            return self._project(entry)
        if "service" not in entry.body:
            summary = "an acceptance that names a key by its `id` has no `service`"
            self._problems.error("missing-field", entry.at(), summary, "Add the service that has the key.")
            return None
        service, key_id = self._addresses.text(entry, "service"), self._addresses.text(entry, "id")
        if service is None or key_id is None:
            return None
        known = self._merged.services.keys() | self._merged.unusable["services"]
        if service not in known and not self._merged.incomplete:
            summary = f"there is no service `{service}`"
            self._problems.error(
                "unknown-service", entry.at("service"), summary, did_you_mean(service, known)
            )
        return None, service, key_id

    def _project(self, entry: Entry) -> tuple[str, None, None] | None:
        name = self._addresses.text(entry, "project")
        if name is None:
            return None
        known = self._merged.projects.keys() | self._merged.unusable["projects"]
        if name not in known and not self._merged.incomplete:
            hint = did_you_mean(name, known) or "Declare it under `projects`."
            self._problems.error(
                "unknown-project", entry.at("project"), f"there is no project `{name}`", hint
            )
        return f"projects.{name}", None, None

    def _no_service(self, entry: Entry, beside: str) -> None:
        if "service" in entry.body:
            summary = f"an acceptance has `{beside}` and `service`"
            detail = (
                f"Remove `service`; it goes with `id`, for a key that is not declared. `{beside}` is enough."
            )
            self._problems.error("conflicting-fields", entry.at("service"), summary, detail, on_name=True)
