"""Small random worlds: planning never fails, and applying a plan leaves nothing to plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from keyform.engine.events import Event, fold
from keyform.engine.holding import ANOTHER, CHANGED, HELD, MISSING, OTHER, UNKNOWN, Found, Holdings
from keyform.engine.options import DESTROY, NORMAL, REFRESH_ONLY, Options
from keyform.engine.plan import IMPORT, MOVES, NARROWS, WIDENS, Plan, Step
from keyform.engine.plan_file import dump_plan, load_plan
from keyform.engine.planner import make_plan
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.vetting import vet
from keyform.engine.whereabouts import Whereabouts
from keyform.model import (
    ACTIVE,
    EXPIRED,
    REVOKED,
    Desired,
    DesiredKey,
    DesiredProject,
    Import,
    KeySpec,
    LiveKey,
    LiveProject,
    Move,
    Place,
    Removal,
    Rotation,
)
from keyform.ports import Listing
from keyform.state import Generation, KeyRecord, ProjectRecord, State
from tests.engine.scene import DAY, LINEAGE, NOW, PROFILE

NAMES = ("a", "b", "c")
SERVICES = ("one", "two")

specs = st.builds(
    KeySpec,
    kind=st.sampled_from(("secret", "read")),
    environment=st.sampled_from(("live", "test")),
    project=st.sampled_from((None, "web")),
    name=st.sampled_from(("x", "y")),
    scopes=st.sampled_from(((), ("r",), ("r", "w"))),
    expires_at=st.sampled_from((None, NOW + 20 * DAY)),
)
spans = st.sampled_from((None, 5 * DAY, 90 * DAY))
rotations = st.none() | st.builds(
    Rotation,
    every=st.sampled_from((None, 8 * DAY)),
    before_expiry=st.sampled_from((None, 2 * DAY)),
    overlap=st.sampled_from((timedelta(0), 3 * DAY)),
    revoke_when_unused_for=st.sampled_from((None, DAY)),
)


def seconds(name: str) -> st.SearchStrategy[tuple[Place, ...]]:
    """The second places that a secret may have."""
    return st.sampled_from(((), (), (Place("second", f"{name}/1"),)))


@st.composite
def wants(draw: Any, name: str) -> DesiredKey:
    span = draw(spans)
    spec = draw(specs)
    rotation = draw(rotations)
    # The configuration refuses a `before_expiry` without a span longer than it.
    if rotation and span is None:
        rotation = replace(rotation, before_expiry=None)
    path = draw(st.sampled_from((f"{name}/1", f"{name}/2")))
    return DesiredKey(
        f"keys.{name}",
        draw(st.sampled_from(SERVICES)),
        replace(spec, expires_at=None) if span else spec,
        (
            Place("local", path, on_revoke=draw(st.sampled_from(("delete", "keep")))),
            *draw(seconds(name)),
        ),
        span,
        rotation,
        owner=draw(st.sampled_from((None, "team"))),
        protect=draw(st.sampled_from((False, False, False, True))),
    )


@st.composite
def generations(draw: Any, name: str, number: int, deposed: bool) -> Generation:
    return Generation(
        number,
        draw(st.sampled_from(SERVICES)),
        f"id-{name}-{number}",
        draw(specs),
        NOW - draw(st.sampled_from((0, 4, 10))) * DAY,
        (Place("local", f"{name}/{draw(st.sampled_from((1, 2)))}"), *draw(seconds(name))),
        draw(st.sampled_from((None, "hmac-sha256:00:00"))),
        "m",
        NOW + draw(st.sampled_from((-1, 1))) * DAY if deposed else None,
        draw(st.sampled_from(((), (), (Place("local", f"{name}/3"),)))),
    )


@st.composite
def records(draw: Any, name: str) -> KeyRecord:
    count = draw(st.sampled_from((0, 0, 1, 2)))
    return KeyRecord(
        f"keys.{name}",
        draw(generations(name, count + 1, False)),
        tuple(draw(generations(name, n + 1, True)) for n in range(count)),
        draw(spans),
        draw(st.sampled_from((None, "team"))),
        protect=draw(st.sampled_from((False, False, False, True))),
    )


@st.composite
def lives(draw: Any, generation: Generation) -> LiveKey | None:
    """The generation as its service shows it: as recorded mostly, or changed, revoked, expired, gone."""
    spec = draw(st.just(generation.spec) | specs)
    status = draw(st.sampled_from((ACTIVE, ACTIVE, ACTIVE, REVOKED, EXPIRED)))
    used = draw(st.sampled_from((None, NOW, NOW - 9 * DAY)))
    if draw(st.integers(0, 5)) == 0:
        return None
    return LiveKey(generation.id, spec, status, None, generation.created_at, used)


@st.composite
def holdings(draw: Any, known: tuple[KeyRecord, ...]) -> Holdings:
    """What the stores hold of the recorded secrets: the secrets mostly, or nothing, or something else."""
    kinds = st.sampled_from((HELD, HELD, HELD, UNKNOWN, MISSING, OTHER, CHANGED, ANOTHER))
    places = {place for record in known for place in record.current.places}
    found = {
        place: Found(kind, "v", 1 if kind == ANOTHER else None, kind != HELD and draw(st.booleans()))
        for place in sorted(places)
        if (kind := draw(kinds)) != UNKNOWN
    }
    return Holdings(found, draw(st.sampled_from((frozenset(), frozenset(), frozenset({"local"})))))


@st.composite
def sights(draw: Any) -> Sight:
    keys = tuple(draw(wants(name)) for name in NAMES if draw(st.booleans()))
    known = tuple(draw(records(name)) for name in NAMES if draw(st.booleans()))
    live: dict[str, list[LiveKey]] = {name: [] for name in SERVICES}
    for record in known:
        for generation in record.generations():
            if (key := draw(lives(generation))) is not None:
                live[generation.service].append(key)
    for name in SERVICES:
        live[name] += [LiveKey(f"foreign-{name}-{n}", draw(specs), created_at=NOW - DAY) for n in range(2)]
    recorded = {record.address for record in known}
    imports = tuple(
        Import(want.address, f"foreign-{want.service}-0")
        for want in keys[:1]
        if want.address not in recorded and draw(st.booleans())
    )
    # As in a configuration: what moves or is removed is not declared, and what it moves to is.
    free = sorted(recorded - {want.address for want in keys})
    moves = tuple(Move(free[0], want.address) for want in keys[-1:] if free and draw(st.booleans()))
    removals = tuple(Removal(a, draw(st.booleans())) for a in free[len(moves) :] if draw(st.booleans()))
    origins = st.sampled_from(((), ("https://a.example",)))
    web = draw(st.booleans())
    services = {}
    for name in SERVICES:
        if name == "one" or draw(st.integers(0, 9)):
            projects = (LiveProject("web", draw(origins)),) if draw(st.booleans()) else ()
            complete = draw(st.integers(0, 7)) > 0
            own = draw(st.sampled_from((None, None, None, "id-a-1")))
            services[name] = ServiceView.of(
                name, PROFILE, Listing(tuple(live[name]), projects, complete), own
            )
    return Sight(
        Desired(
            tuple(want for want in keys if want.service in services),
            (DesiredProject("projects.web", "one", "web", draw(origins)),) if web else (),
            imports,
            moves,
            removals,
        ),
        State(
            LINEAGE,
            1,
            None,
            {record.address: record for record in known},
            {"projects.web": ProjectRecord("projects.web", "one", "web", draw(origins))}
            if draw(st.booleans())
            else {},
        ),
        services,
        NOW,
        stores=draw(holdings(known)),
    )


class Model:
    """Services and stores in memory, and the state as the events make it."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self.state = sight.state
        self.live = {name: dict(view.keys) for name, view in sight.services.items()}
        self.projects = {name: dict(view.projects) for name, view in sight.services.items()}
        self.found = dict(sight.stores.found)
        self.minted = 0

    def apply(self, plan: Plan) -> None:
        for change in plan.changes:
            for step in change.steps:
                self.state = fold(self.state, [self._take(step)])
                if step.op in ("mint", "relocate", "restore"):
                    self.found |= {place: Found(HELD) for place in step.places}

    def _take(self, step: Step) -> Event:
        service, address = step.service or "", step.address
        match step.op:
            case "mint":
                assert step.spec is not None
                assert step.terms is not None
                self.minted += 1
                spec = step.spec
                if step.terms.expires_in:
                    spec = replace(spec, expires_at=NOW + step.terms.expires_in)
                key = LiveKey(f"minted-{self.minted}", spec, created_at=NOW)
                self.live[service][key.id] = key
                generation = Generation(
                    step.generation or 1, service, key.id, spec, NOW, step.places, "hmac-sha256:00:00", "m"
                )
                ends = NOW + step.overlap if step.overlap is not None and not step.gone else None
                return Event("minted", address, service, generation, terms=step.terms, revoke_at=ends)
            case "update":
                key = self.live[service][step.key_id or ""]
                spec = replace(key.spec, **{name: getattr(step.spec, name) for name in step.fields})
                self.live[service][key.id] = replace(key, spec=spec)
                return Event("updated", address, spec=spec, terms=step.terms)
            case "revoke":
                key = self.live[service].get(step.key_id or "")
                if key is not None:
                    self.live[service][key.id] = replace(key, status=REVOKED)
                return Event("revoked", address, service, key_id=step.key_id)
            case "adopt":
                key = self.live[service][step.key_id or ""]
                assert key.created_at is not None
                generation = Generation(1, service, key.id, key.spec, key.created_at, step.places)
                return Event("adopted", address, service, generation, terms=step.terms)
            case "forget":
                return Event("forgotten", address)
            case "rename":
                return Event("renamed", address, before=step.before)
            case "relocate":
                return Event("relocated", address, places=step.places)
            case "restore":
                return Event("relocated", address, places=self.state.keys[address].current.places)
            case "erase":
                return Event("erased", address, places=step.places)
            case "record" if step.spec is not None:
                return Event("updated", address, spec=step.spec, terms=step.terms)
            case "record" if step.project is not None:
                return Event("origins", address, service, project=step.project, origins=step.origins)
            case "record":
                return Event("recorded", address, terms=step.terms)
            case "set_origins":
                self.projects[service][step.project or ""] = LiveProject(step.project or "", step.origins)
                return Event("origins", address, service, project=step.project, origins=step.origins)
            case "forget_project":
                return Event("project_forgotten", address)
        raise AssertionError(step.op)

    def look(self) -> Sight:
        services = {
            name: ServiceView.of(
                name,
                view.profile,
                Listing(
                    tuple(self.live[name].values()),
                    tuple(self.projects[name].values()),
                    view.listing.complete,
                ),
                view.own_key,
            )
            for name, view in self.sight.services.items()
        }
        stores = replace(self.sight.stores, found=self.found)
        return replace(self.sight, state=self.state, services=services, stores=stores)


COMMON = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
modes = st.sampled_from((NORMAL, NORMAL, NORMAL, DESTROY, REFRESH_ONLY))


def owned(state: State) -> set[tuple[str, str]]:
    return {(g.service, g.id) for record in state.keys.values() for g in record.generations()}


@given(sights(), modes)
@COMMON
def test_a_plan_can_be_made_and_written_and_its_steps_are_safe(sight: Sight, mode: str) -> None:
    plan = make_plan(sight, Options(mode))
    assert make_plan(sight, Options(mode)) == plan
    assert load_plan(dump_plan(plan), "p") == plan
    if not plan.failed:
        where = Whereabouts({name: name for name in sight.services}, {"local": "l", "second": "s"})
        assert not list(vet(plan, replace(sight, where=where), None))
    for change in plan.changes:
        assert change.reason
        assert bool(change.privilege) == bool(change.privilege_words)
        ended = [n for n, step in enumerate(change.steps) if step.op == "revoke"]
        minted = [n for n, step in enumerate(change.steps) if step.op == "mint"]
        assert not minted or not ended or max(minted) < min(ended)
        for step in change.steps:
            if step.op == "revoke":
                assert (step.service, step.key_id) in owned(sight.state)
                if not plan.failed:
                    assert step.key_id != sight.services[step.service or ""].own_key
                    shown = sight.services[step.service or ""]
                    assert shown.listing.complete or shown.keys[step.key_id or ""].status == REVOKED
    written, erased = (
        [(c.address, p) for c in plan.changes for s in c.steps if s.op in ops for p in s.places]
        for ops in (("mint", "relocate", "restore"), ("revoke", "forget", "erase"))
    )
    assert not set(erased) & set(written)
    assert len(erased) == len(set(erased))


@given(sights(), modes)
@COMMON
def test_no_scope_is_gained_or_lost_unsaid(sight: Sight, mode: str) -> None:
    plan = make_plan(sight, Options(mode))
    assume(not plan.failed and mode != REFRESH_ONLY)
    before, model = scopes_of(sight), Model(sight)
    model.apply(plan)
    after = scopes_of(model.look())
    said: dict[str, set[str | None]] = {}
    for change in plan.changes:
        origin = next((step.before for step in change.steps if step.op == "rename"), None)
        if origin is not None:
            before[change.address] = before.pop(origin, None)
        if change.action == IMPORT:
            live = sight.services[change.service or ""].keys[change.key_id or ""]
            before[change.address] = set(live.spec.scopes)
        said.setdefault(change.address, set()).add(change.privilege)
    for address, scopes in after.items():
        had, ways = before.get(address), said.get(address, set())
        if scopes is not None and not scopes <= (had or set()):
            assert ways & {WIDENS, MOVES}
        if had is not None and not had <= (scopes or set()):
            assert ways & {NARROWS, MOVES}


def scopes_of(sight: Sight) -> dict[str, set[str] | None]:
    """The scopes of the live key of each address; None where it has none that works."""
    out: dict[str, set[str] | None] = {}
    for address, record in sight.state.keys.items():
        view = sight.services.get(record.current.service)
        live = view.keys.get(record.current.id) if view else None
        out[address] = set(live.spec.scopes) if live is not None and live.status != REVOKED else None
    return out


@given(sights(), modes)
@COMMON
def test_applying_a_plan_leaves_nothing_to_plan(sight: Sight, mode: str) -> None:
    plan = make_plan(sight, Options(mode))
    if plan.failed:
        return
    model = Model(sight)
    model.apply(plan)
    # What is imported may be due for rotation, or expired, which is found once it is adopted.
    rounds = 1 if any(change.action == "import" for change in plan.changes) else 0
    for _ in range(rounds):
        again = make_plan(model.look(), Options(mode))
        assert not again.failed
        assert {change.action for change in again.changes} <= {"rotate"}
        model.apply(again)
    again = make_plan(model.look(), Options(mode))
    assert again.changes == ()
    assert not again.failed
    for record in model.state.keys.values():
        assert len({g.id for g in record.generations()}) == len(record.generations())


@given(sights())
@COMMON
def test_keys_of_others_are_never_touched(sight: Sight) -> None:
    plan = make_plan(sight, Options())
    imported = {entry.id for entry in sight.desired.imports}
    touched = {s.key_id for c in plan.changes for s in c.steps if s.key_id}
    assert not {i for i in touched if i.startswith("foreign")} - imported


PLACES = (Place("local", "a/1"), Place("local", "a/2"), Place("second", "a/1"), Place("second", "a/2"))
some_places = st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def spoilt_stores(draw: Any) -> Sight:
    """One key that is as declared at its service, whatever the stores hold of it and wherever it is to be."""
    spec = KeySpec(kind="secret", environment="live", name="x")
    generation = Generation(1, "one", "id-a-1", spec, NOW - DAY, draw(some_places), "hmac-sha256:00:00", "m")
    record = KeyRecord("keys.a", generation)
    live = LiveKey(generation.id, spec, ACTIVE, None, generation.created_at)
    want = DesiredKey("keys.a", "one", spec, generation.places if draw(st.booleans()) else draw(some_places))
    view = ServiceView.of("one", PROFILE, Listing((live,)))
    state = State(LINEAGE, 1, None, {"keys.a": record})
    return Sight(Desired((want,)), state, {"one": view}, NOW, stores=draw(holdings((record,))))


@given(spoilt_stores())
@COMMON
def test_whatever_the_stores_hold_is_made_good_at_once(sight: Sight) -> None:
    plan = make_plan(sight, Options())
    assert not plan.failed
    assert load_plan(dump_plan(plan), "p") == plan
    (want,) = sight.desired.keys
    for change in plan.changes:
        for step in change.steps:
            if step.op in ("restore", "relocate"):
                assert all(sight.stores.gives(place) for place in step.sources)
                assert {place.store for place in step.sources}.isdisjoint(sight.stores.unread)
    model = Model(sight)
    model.apply(plan)
    assert make_plan(model.look(), Options()).empty
    current = model.state.keys["keys.a"].current
    assert current.places == want.places
    assert all(model.found.get(p, Found(UNKNOWN)).kind in (HELD, UNKNOWN) for p in want.places)
