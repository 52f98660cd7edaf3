"""Small hand-built worlds for planning: a profile, a declared key, its record and its live key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from keyform.diagnostics import ERROR
from keyform.engine.options import Options
from keyform.engine.plan import Change, Plan, Step
from keyform.engine.planner import make_plan
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.whereabouts import Whereabouts
from keyform.model import (
    SPEC_FIELDS,
    Desired,
    DesiredKey,
    DesiredProject,
    KeySpec,
    LiveKey,
    LiveProject,
    Place,
)
from keyform.ports import Listing
from keyform.profile import Profile
from keyform.state import Generation, KeyRecord, ProjectRecord, State

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BORN = NOW - timedelta(days=10)
DAY = timedelta(days=1)
LINEAGE = "lineage-1"

IMMUTABLE = frozenset({"kind", "environment", "project"})
MUTABLE = frozenset(SPEC_FIELDS) - IMMUTABLE

PROFILE = Profile(
    type="toy",
    title="Toy",
    fields=frozenset(SPEC_FIELDS) | {"expires_in"},
    mutable=MUTABLE,
    shown=frozenset(SPEC_FIELDS),
    operations=dict.fromkeys(("create", "update", "revoke", "set_origins"), "contract"),
)

SPEC = KeySpec(kind="secret", environment="live", name="a", scopes=("read",))


def place(path: str, store: str = "local", on_revoke: str = "delete") -> Place:
    return Place(store, path, on_revoke=on_revoke)


def wanted(name: str = "a", service: str = "toy", **parts: Any) -> DesiredKey:
    parts = {"spec": replace(SPEC, name=name), "places": (place(name),), **parts}
    return DesiredKey(address=f"keys.{name}", service=service, **parts)


def generation(name: str = "a", number: int = 1, service: str = "toy", **parts: Any) -> Generation:
    known = {
        "spec": replace(SPEC, name=name),
        "created_at": BORN,
        "places": (place(name),),
        "fingerprint": "hmac-sha256:00:00",
        "marker": f"m-{name}-{number}",
    }
    return Generation(number=number, service=service, id=f"id-{name}-{number}", **{**known, **parts})


def record(
    name: str = "a", *, deposed: tuple[Generation, ...] = (), current: Any = None, **parts: Any
) -> KeyRecord:
    return KeyRecord(f"keys.{name}", current or generation(name), deposed, **parts)


def live_of(generation: Generation, **parts: Any) -> LiveKey:
    known = {"spec": generation.spec, "created_at": generation.created_at}
    return LiveKey(generation.id, **{**known, **parts})


@dataclass
class Scene:
    """Puts a Sight together. Every generation of the state is live unless ``live`` says what is."""

    keys: tuple[DesiredKey, ...] = ()
    records: tuple[KeyRecord, ...] = ()
    live: dict[str, tuple[LiveKey, ...]] | None = None
    extra: tuple[LiveKey, ...] = ()
    projects: tuple[DesiredProject, ...] = ()
    project_records: tuple[ProjectRecord, ...] = ()
    live_projects: tuple[LiveProject, ...] = ()
    profile: Profile = PROFILE
    services: tuple[str, ...] = ("toy",)
    incomplete: tuple[str, ...] = ()
    own_key: str | None = None
    now: datetime = NOW
    desired: dict[str, Any] = field(default_factory=dict)
    where: Whereabouts | None = None
    state: dict[str, Any] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    rotation_recorded: bool = True

    def sight(self) -> Sight:
        live = self.live
        if live is None:
            live = {}
            for each in self.records:
                for one in each.generations():
                    live[one.service] = (*live.get(one.service, ()), live_of(one))
        views = {
            name: ServiceView.of(
                name,
                self.profile,
                Listing(
                    (*live.get(name, ()), *(self.extra if name == "toy" else ())),
                    self.live_projects,
                    complete=name not in self.incomplete,
                ),
                self.own_key,
            )
            for name in self.services
        }
        rotations = {want.address: want.rotation for want in self.keys if self.rotation_recorded}
        return Sight(
            Desired(keys=self.keys, projects=self.projects, **self.desired),
            State(
                LINEAGE,
                3,
                None,
                {
                    each.address: replace(each, rotation=each.rotation or rotations.get(each.address))
                    for each in self.records
                },
                {each.address: each for each in self.project_records},
                **self.state,
            ),
            views,
            self.now,
            "sha256:config",
            self.where or Whereabouts(dict.fromkeys(self.services, "here"), {"local": "here"}),
            self.pending,
        )

    def plan(self, **options: Any) -> Plan:
        return make_plan(self.sight(), Options(**options))

    def only(self, **options: Any) -> Change:
        plan = self.plan(**options)
        assert errors(plan) == []
        (change,) = plan.changes
        return change


def errors(plan: Plan) -> list[str]:
    return [d.code for d in plan.diagnostics if d.severity == ERROR]


def codes(plan: Plan) -> list[str]:
    return [d.code for d in plan.diagnostics]


def ops(change: Change) -> list[str]:
    return [step.op for step in change.steps]


def diff(change: Change) -> dict[str, tuple[Any, Any]]:
    return {d.path: (d.before, d.after) for d in change.diff}


def step(change: Change, op: str) -> Step:
    (found,) = [s for s in change.steps if s.op == op]
    return found
