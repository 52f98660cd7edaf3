"""New declarations that look like a key which is no longer declared: most often it was renamed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from keyform.diagnostics import Diagnostic, note
from keyform.engine.sight import Sight
from keyform.engine.written import key_in_yaml
from keyform.model import DesiredKey, KeySpec
from keyform.state import KeyRecord


class Lookalikes:
    """The keys of a plan that are declared and new, found by what they have in common with an old one: the
    service, kind, environment and project, and the name or the place."""

    def __init__(self, sight: Sight) -> None:
        imported = {entry.address for entry in sight.desired.imports}
        self._new: dict[Hashable, DesiredKey] = {}
        for want in sight.desired.keys:
            if want.address not in sight.state.keys and want.address not in imported:
                for trait in _traits(want.service, want.spec, want.places):
                    self._new.setdefault(trait, want)

    def of(self, record: KeyRecord) -> str | None:
        """The address of a new key that looks like this one."""
        current = record.current
        for trait in _traits(current.service, current.spec, current.places):
            if trait in self._new:
                return self._new[trait].address
        return None

    def hint(self, record: KeyRecord, renamed: str) -> Diagnostic:
        """The note that tells of ``moved``."""
        return note(
            "looks-renamed",
            f"{renamed} is new and looks like {record.address}, which is no longer declared",
            f"If it is the same key under another name, say so: {moved_entry(record.address, renamed)}. Then "
            "no key is minted and none is revoked.",
            address=record.address,
        )


def moved_entry(before: str, after: str) -> str:
    """The `moved` entry for a rename, as a user writes it."""
    return f"`moved: [{{from: {key_in_yaml(before)}, to: {key_in_yaml(after)}}}]`"


def _traits(service: str, spec: KeySpec, places: tuple[Hashable, ...]) -> Iterator[Hashable]:
    alike = (service, spec.kind, spec.environment, spec.project)
    if spec.name:
        yield (*alike, "name", spec.name)
    for place in places:
        yield (*alike, "place", place)
