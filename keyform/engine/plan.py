"""The plan: what would change and why, and the exact steps that an apply takes. Its file is JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keyform.diagnostics import Diagnostic
from keyform.encoding import spec_from_json, spec_to_json
from keyform.engine.access import origins_lost
from keyform.engine.options import NORMALLY, Options
from keyform.engine.passing import NOTHING_PASSES, Passing
from keyform.model import KeySpec, Place, digest, instant
from keyform.state import place_from_json, place_to_json
from keyform.terms import Terms

FORMAT = "keyform-plan"
VERSION = 1

CREATE, UPDATE, REPLACE, ROTATE = "create", "update", "replace", "rotate"
REVOKE, IMPORT, MOVE, FORGET, REFRESH = "revoke", "import", "move", "forget", "refresh"
ROLLBACK = "rollback"
ACTIONS = (CREATE, UPDATE, REPLACE, ROTATE, REVOKE, IMPORT, MOVE, FORGET, REFRESH)

MINT, ALTER, END, ADOPT, DROP, RENAME, RELOCATE, RESTORE, ERASE, RECORD = (
    "mint",
    "update",
    "revoke",
    "adopt",
    "forget",
    "rename",
    "relocate",
    "restore",
    "erase",
    "record",
)
WIDENS, NARROWS, MOVES = "widens", "narrows", "moves"
INCOMPLETE_LISTING = "incomplete-listing"
STORE_UNSEEN = "store-unseen"
EXPIRES_SOON = "expires-before-next-run"
PROMOTE = "promote"
SET_ORIGINS, DROP_PROJECT, READDRESS = "set_origins", "forget_project", "readdress"


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """One field before and after, as JSON values."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an apply does. The steps of one address are taken in order; those of different
    addresses at once, projects before keys.

    ``mint`` makes generation ``generation`` from ``spec`` (its expiry ``terms.expires_in`` after the mint, if
    that is set), by rotating ``key_id`` where that is given, proves it, stores it at ``places``; the
    generation before it is deposed for ``overlap``, or dropped from the state when ``gone`` (it no longer
    exists at the service); with ``now``, no older generation lives on, used or not. ``update`` sets
    ``fields`` of ``key_id`` as in ``spec``. ``revoke`` ends ``key_id`` and erases ``places``; when ``gone``,
    the service has ended it itself, and is not asked; with ``now``, it is not left to the end of its
    overlap. ``adopt`` records the live key ``key_id``. ``forget``
    drops the address from the state and erases ``places``. ``rename`` moves the record from ``before``.
    ``relocate`` moves the secret from ``sources`` to ``places``, ``restore`` brings it back to ``places``
    from ``sources`` (from a place itself: the version that keyform wrote there), and ``erase`` deletes what
    is left of it at ``places``. ``record`` writes ``terms`` (and ``spec``, where given) to the state.
    ``set_origins`` makes ``project``'s allowlist exactly ``origins``. ``forget_project`` drops it.
    ``readdress`` records that a service or store is ``where`` now. ``promote`` makes the older generation
    ``key_id`` current again, with its secret brought to ``places`` from ``sources`` (or from an earlier
    version there); the one that was current is deposed for ``overlap``.
    ``checklist``: what a person does to bring it about, where the service is worked by hand.
    """

    op: str
    address: str
    service: str | None = None
    key_id: str | None = None
    generation: int | None = None
    spec: KeySpec | None = None
    fields: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    sources: tuple[Place, ...] = ()
    terms: Terms | None = None
    overlap: timedelta | None = None
    gone: bool = False
    now: bool = False
    before: str | None = None
    project: str | None = None
    origins: tuple[str, ...] = ()
    where: str | None = None
    checklist: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        out: dict[str, Any] = {"op": self.op, "address": self.address}
        for name in ("service", "key_id", "generation", "before", "project", "where"):
            if (value := getattr(self, name)) is not None:
                out[name] = value
        if self.spec is not None:
            out["spec"] = spec_to_json(self.spec)
        if self.fields:
            out["fields"] = list(self.fields)
        if self.places:
            out["secret"] = [place_to_json(place) for place in self.places]
        if self.sources:
            out["from"] = [place_to_json(place) for place in self.sources]
        if self.terms is not None:
            out["terms"] = self.terms.as_json()
        if self.overlap is not None:
            out["overlap_s"] = int(self.overlap.total_seconds())
        if self.gone:
            out["gone"] = True
        if self.now:
            out["now"] = True
        if self.project is not None:
            out["origins"] = list(self.origins)
        if self.checklist:
            out["checklist"] = list(self.checklist)
        return out

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Step:
        """The inverse of :meth:`as_json`."""
        overlap = data.get("overlap_s")
        return Step(
            op=data["op"],
            address=data["address"],
            service=data.get("service"),
            key_id=data.get("key_id"),
            generation=data.get("generation"),
            spec=spec_from_json(data["spec"]) if "spec" in data else None,
            fields=tuple(data.get("fields", ())),
            places=tuple(place_from_json(place) for place in data.get("secret", ())),
            sources=tuple(place_from_json(place) for place in data.get("from", ())),
            terms=Terms.from_json(data["terms"]) if "terms" in data else None,
            overlap=timedelta(seconds=overlap) if overlap is not None else None,
            gone=data.get("gone", False),
            now=data.get("now", False),
            before=data.get("before"),
            project=data.get("project"),
            origins=tuple(data.get("origins", ())),
            where=data.get("where"),
            checklist=tuple(data.get("checklist", ())),
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A place that does not hold what keyform wrote there: what was ``found`` (``missing``, ``other-value``,
    ``changed``, ``other-generation``, ``revoked-generation``), and the ``remedy`` in words."""

    place: Place
    found: str
    remedy: str
    generation: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON form; absent parts are left out."""
        more = {} if self.generation is None else {"generation": self.generation}
        return {**place_to_json(self.place), "found": self.found, "remedy": self.remedy, **more}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Stored:
        """The inverse of :meth:`as_json`."""
        return Stored(place_from_json(data), data["found"], data["remedy"], data.get("generation"))


@dataclass(frozen=True, slots=True)
class Left:
    """A place that a key leaves and that apply does not empty, and why."""

    place: Place
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """One planned change of one address.

    ``drift`` says that the service or a store was changed outside keyform. ``seen`` is a digest of what the
    service showed of the key or project when the plan was made; apply refuses if it has moved.
    ``backing`` says how the service's operations are backed: ``documented``, ``contract``,
    ``assisted``, or None where no service is called. ``stored`` are the places that do not hold what they
    should, and ``held`` a digest of what the stores held; apply refuses if that has moved. ``left``: what is
    not deleted of the places that its steps are to empty. ``privilege`` says whether it ``widens``,
    ``narrows`` or ``moves`` what a key can do, None where it leaves that, and ``privilege_words`` how.
    ``passing``: what was found of the key, that passes by itself, and that the words of the change go by.
    """

    address: str
    action: str
    reason: str
    service: str | None = None
    key_id: str | None = None
    generation: int | None = None
    diff: tuple[FieldDiff, ...] = ()
    drift: bool = False
    seen: str | None = None
    backing: str | None = None
    steps: tuple[Step, ...] = ()
    stored: tuple[Stored, ...] = ()
    held: str | None = None
    left: tuple[Left, ...] = ()
    privilege: str | None = None
    privilege_words: tuple[str, ...] = ()
    passing: Passing = NOTHING_PASSES

    @property
    def by_hand(self) -> bool:
        """Whether a person has to do some of it in a dashboard."""
        return any(step.checklist for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """JSON form without the steps, which stand in the plan's own list."""
        out: dict[str, Any] = {"address": self.address, "action": self.action, "reason": self.reason}
        for name in ("service", "key_id", "generation", "seen", "held", "backing"):
            if (value := getattr(self, name)) is not None:
                out[name] = value
        out["drift"] = self.drift
        if self.privilege is not None:
            out["privilege"] = self.privilege
            out["privilege_words"] = list(self.privilege_words)
        if passing := self.passing.as_json():
            out["passing"] = passing
        if self.stored:
            out["stored"] = [one.as_json() for one in self.stored]
        if self.left:
            out["left"] = [{**place_to_json(one.place), "why": one.why} for one in self.left]
        out["diff"] = [{"path": d.path, "before": d.before, "after": d.after} for d in self.diff]
        return out


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan. ``unmanaged`` counts live keys that keyform does not own, per service; ``options`` are
    what it was asked for with. Nothing is changed at the addresses that are ``held_back`` by an error of
    their own; the rest can be applied."""

    lineage: str
    serial: int
    config_digest: str
    created_at: datetime
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    unmanaged: tuple[tuple[str, int], ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    options: Options = NORMALLY
    held_back: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """``normal``, ``destroy``, ``refresh-only`` or ``import-only``."""
        return self.options.mode

    @property
    def targets(self) -> tuple[str, ...]:
        """The addresses that it is limited to; empty for all."""
        return self.options.scope

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes

    @property
    def failed(self) -> bool:
        """Whether an error forbids applying it."""
        return any(d.severity == "error" and d.address not in self.held_back for d in self.diagnostics)

    @property
    def half_seen(self) -> bool:
        """Whether a listing could not be read as a whole, so that not all is known of the keys there."""
        return any(diagnostic.code == INCOMPLETE_LISTING for diagnostic in self.diagnostics)

    @property
    def half_compared(self) -> bool:
        """Whether a store could not be looked at, so that nothing is known of the secrets there."""
        return any(diagnostic.code == STORE_UNSEEN for diagnostic in self.diagnostics)

    @property
    def summary(self) -> dict[str, int]:
        """Counts by action, ``drift`` and ``unchanged``; ``by_hand`` where a person is needed,
        ``origins_lost`` where origins lose access, and by what becomes of what the keys can do where
        something does."""
        counts = Counter(change.action for change in self.changes)
        out = {action: counts[action] for action in ACTIONS}
        out["drift"] = sum(change.drift for change in self.changes)
        out["unchanged"] = self.unchanged
        if counts[ROLLBACK]:
            out[ROLLBACK] = counts[ROLLBACK]
        if by_hand := sum(change.by_hand for change in self.changes):
            out["by_hand"] = by_hand
        if lost := sum(len(origins_lost(change)) for change in self.changes):
            out["origins_lost"] = lost
        ways = Counter(change.privilege for change in self.changes)
        return out | {way: ways[way] for way in (WIDENS, NARROWS, MOVES) if ways[way]}

    def as_json(self) -> dict[str, Any]:
        """The plan file as a JSON value, with its digest over everything else in it."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "lineage": self.lineage,
            "serial": self.serial,
            "config_digest": self.config_digest,
            "created_at": instant(self.created_at),
            "mode": self.mode,
            "targets": list(self.targets),
            **({"options": asked} if (asked := self.options.as_json()) else {}),
            **({"held_back": list(self.held_back)} if self.held_back else {}),
            "summary": self.summary,
            "unmanaged": dict(self.unmanaged),
            "changes": [change.as_json() for change in self.changes],
            "steps": [
                {**step.as_json(), "change": index}
                for index, change in enumerate(self.changes)
                for step in change.steps
            ],
            "diagnostics": [diagnostic.as_json() for diagnostic in self.diagnostics],
        }
        return {"format": FORMAT, "version": VERSION, "digest": digest(body), **body}


def digest_of(plan: Plan) -> str:
    """``sha256:…`` over the whole plan: what a reviewer approves."""
    found: str = plan.as_json()["digest"]
    return found
