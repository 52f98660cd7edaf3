"""Reading the world: every service that matters is listed once, all of them at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from keyform.apply.holdings import look_at_stores
from keyform.apply.workspace import Workspace
from keyform.engine.holding import Holdings
from keyform.engine.options import Options
from keyform.engine.sight import ServiceView, Sight
from keyform.engine.whereabouts import Whereabouts
from keyform.errors import ServiceError
from keyform.model import Place
from keyform.ports import Listing
from keyform.registry import store_whereabouts
from keyform.services import service_whereabouts
from keyform.state import State

SHORT_WHILE = 5.0
"""Seconds after which what was read of a service is read again before something hangs on it."""


def touched_services(ws: Workspace, state: State) -> frozenset[str]:
    """Services that the configuration or the state has keys or projects at, and that are declared."""
    names = {key.service for key in ws.desired.keys} | {p.service for p in ws.desired.projects}
    for record in state.keys.values():
        names.update(generation.service for generation in record.generations())
    names.update(project.service for project in state.projects.values())
    return frozenset(names & set(ws.config.services))


def _once_touched(ws: Workspace, state: State) -> frozenset[str]:
    """Services that have still to show that keys are gone which were revoked there."""
    where = whereabouts(ws).services if state.ended else {}
    return frozenset(one.service for one in state.ended if one.where == where.get(one.service))


def view_services(
    ws: Workspace, names: Iterable[str], *, unusable: frozenset[str] = frozenset()
) -> dict[str, ServiceView]:
    """List the named services. Raises ``ServiceError`` for one that cannot be used at all; where it is among
    the ``unusable``, which need not be, its listing is incomplete, with the reason."""
    ordered = sorted(names)

    def view(name: str) -> ServiceView:
        service = ws.service(name)
        stale_after = ws.config.services[name].stale_after
        own_key = None
        try:
            listing, own_key = service.list(), service.own_key()
        except ServiceError as problem:
            if name not in unusable:
                raise
            listing = Listing((), complete=False, problem=problem.diagnostics[0])
        shown = ServiceView.of(name, service.profile, listing, own_key, stale_after)
        return replace(shown, skew=service.clock_skew())

    if len(ordered) < 2:
        return {name: view(name) for name in ordered}
    with ThreadPoolExecutor(len(ordered), thread_name_prefix="list") as pool:
        return dict(zip(ordered, pool.map(view, ordered), strict=True))


def look(
    ws: Workspace,
    state: State,
    options: Options,
    pending: frozenset[str] = frozenset(),
    unsettled: frozenset[Place] = frozenset(),
    *,
    ahead: bool = False,
    stores: bool = True,
    whole: bool = False,
) -> Sight:
    """Everything that a plan is made from, as it is now. ``pending``: see :class:`Sight`; ``unsettled``:
    places that an interrupted apply may have written to; ``ahead``: look also where a secret is to come,
    which an apply does by itself; ``stores`` False: leave the stores alone. ``whole``: every declared
    service, whether a key of it is declared or not, and whether it can be used or not."""
    with ThreadPoolExecutor(1, thread_name_prefix="look") as pool:
        looking = pool.submit(look_at_stores, ws, state, options, unsettled, ahead=ahead) if stores else None
        needed = frozenset[str]() if whole else touched_services(ws, state)
        others = (frozenset(ws.config.services) if whole else _once_touched(ws, state)) - needed
        views = view_services(ws, needed | others, unusable=others)
        held = looking.result() if looking else Holdings()
    now, where = ws.clock.now(), whereabouts(ws)
    return Sight(ws.desired, state, views, now, ws.config.digest, where, pending, held, ws.config.schedule)


def whereabouts(ws: Workspace) -> Whereabouts:
    """Which services and stores the configuration declares."""
    return Whereabouts(
        {
            name: service_whereabouts(
                service.type,
                service.profile,
                mode=service.mode,
                endpoint=service.endpoint,
                options=service.options,
            )
            for name, service in ws.config.services.items()
        },
        {name: store_whereabouts(store.type, store.options) for name, store in ws.config.stores.items()},
    )
