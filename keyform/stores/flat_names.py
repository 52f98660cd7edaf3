"""Paths as names in stores without folders: `prod/checkout` becomes one name, and no two paths the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keyform.errors import StoreError
from keyform.model import Place


@dataclass(frozen=True, slots=True)
class FlatNames:
    """The names that one type of store takes. ``part`` is what may stand between two ``/``; ``joint`` stands
    for the ``/`` itself and can't be had of parts, so that the way back is certain. ``rule`` says both in
    words; ``longest`` is the length that a whole name may have."""

    part: re.Pattern[str]
    joint: str
    longest: int
    rule: str

    def name(self, store: str, place: Place, prefix: str = "") -> str:
        """The name for a place. Raises ``StoreError`` for a place that has none."""
        if place.field is not None:
            raise StoreError(
                f"Store {store!r} cannot keep {place}: one of its secrets is one value and has no fields",
                f"Give each value a path of its own, such as {place.path}/{place.field}.",
            )
        parts = place.path.split("/")
        if not all(self.part.fullmatch(part) for part in parts):
            raise StoreError(f"Store {store!r} cannot keep {place}: it has no name for that path", self.rule)
        name = prefix + self.joint.join(parts)
        if len(name) > self.longest:
            raise StoreError(
                f"Store {store!r} cannot keep {place}: its name there has {len(name)} characters",
                f"Choose a path that makes a name of at most {self.longest}; each / counts as {self.joint}.",
            )
        return name
