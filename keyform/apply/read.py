"""Reading the world: every service that matters is listed once, all of them at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from keyform.apply.workspace import Workspace
from keyform.engine.sight import ServiceView, Sight
from keyform.state import State


def touched_services(ws: Workspace, state: State) -> frozenset[str]:
    """Services that the configuration or the state has keys or projects at, and that are declared."""
    names = {key.service for key in ws.desired.keys} | {p.service for p in ws.desired.projects}
    for record in state.keys.values():
        names.update(generation.service for generation in record.generations())
    names.update(project.service for project in state.projects.values())
    return frozenset(names & set(ws.config.services))


def view_services(ws: Workspace, names: Iterable[str]) -> dict[str, ServiceView]:
    """List the named services. Raises ``ServiceError`` for one that cannot be used at all."""
    ordered = sorted(names)

    def view(name: str) -> ServiceView:
        service = ws.service(name)
        return ServiceView.of(name, service.profile, service.list(), service.own_key())

    if len(ordered) < 2:
        return {name: view(name) for name in ordered}
    with ThreadPoolExecutor(len(ordered), thread_name_prefix="list") as pool:
        return dict(zip(ordered, pool.map(view, ordered), strict=True))


def look(ws: Workspace, state: State) -> Sight:
    """Everything that a plan is made from, as it is now."""
    views = view_services(ws, touched_services(ws, state))
    return Sight(ws.desired, state, views, ws.clock.now(), ws.config.digest)
