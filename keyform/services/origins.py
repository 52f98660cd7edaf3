"""The allowed origins of a service's projects: read page by page, set whole or one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyform.diagnostics import Diagnostic
from keyform.errors import Refused, ServiceError
from keyform.model import LiveProject
from keyform.services.calls import WRITE
from keyform.services.dialect import Operation
from keyform.services.fields import Unintelligible
from keyform.services.paths import compile_path
from keyform.services.readers import read_id

if TYPE_CHECKING:
    from keyform.services.rest import RestService


@dataclass(frozen=True, slots=True)
class _Origin:
    """One origin, where a service lists origins and not projects."""

    id: str
    url: str


class Origins:
    """Origins by project. A service that has one allowlist for the whole account (``only``) shows it as
    the one project of that name."""

    def __init__(self, service: RestService, operations: Mapping[str, Operation]) -> None:
        self._service = service
        self._get = operations["get_origins"]
        self._set = operations.get("set_origins")
        self._only: str | None = self._get.tree.get("only")
        self._known: dict[str, tuple[str, ...]] = {}  # as last seen, for proofs
        self._lock = threading.Lock()

    def list(self) -> tuple[tuple[LiveProject, ...], Diagnostic | None]:
        """Every project, and why some may be missing."""
        if self._only is not None:
            found, problem = self._service.walk(self._get, "listing the origins", self._entry_reader())
            projects: tuple[LiveProject, ...] = (
                LiveProject(self._only, tuple(sorted(entry.url for entry in found))),
            )
        else:
            read = self._get.read_project
            if read is None:
                raise ServiceError(f"service {self._service.name!r}: the profile says of no project")
            projects, problem = self._service.walk(self._get, "listing the projects", read)
        self._remember(*projects)
        return projects, problem

    def of(self, project: str) -> tuple[str, ...]:
        """The origins of a project, as far as they are known or can be had."""
        with self._lock:
            known = self._known.get(project)
        if known is None:
            shown = {found.id: found.allowed_origins for found in self.list()[0]}
            known = shown.get(project, ())
        return known

    def set(self, project: str, origins: tuple[str, ...]) -> None:
        """Make the allowlist exactly ``origins``: new ones first, so that none is missing meanwhile."""
        if self._only is not None and project != self._only:
            raise Refused(
                f"service {self._service.name!r} has one list of origins for the whole account, and no "
                f"project {project!r}",
                f"Give the project `id: {self._only}`.",
                status=404,
                reason="not_found",
            )
        doing = f"setting the origins of project {project}"
        operation = self._set
        if operation is None:
            raise ServiceError(f"service {self._service.name!r} has no call that sets origins")
        if "add" in operation.tree:
            self._add_and_remove(operation, doing, set(origins))
        else:
            values: dict[str, Any] = {"project": project, "origins": list(origins)}
            body = self._service.send(operation, doing, values, WRITE)
            if operation.read_project is not None:
                shown = self._service.understood(doing, operation.read_project, body)
                self._remember(shown)
                if set(shown.allowed_origins) != set(origins):
                    raise ServiceError(
                        f"service {self._service.name!r}: project {project} does not have the origins that "
                        "were set",
                        "Ask whoever runs the service; plan again to see what it has.",
                    )
                return
        self._remember(LiveProject(project, tuple(sorted(origins))))

    def _add_and_remove(self, operation: Operation, doing: str, wanted: Set[str]) -> None:
        present, problem = self._service.walk(self._get, "listing the origins", self._entry_reader())
        if problem is not None:
            raise ServiceError(
                f"service {self._service.name!r}: {doing} failed: the present ones cannot all be read",
                f"Nothing was changed. {problem.summary}",
            )
        have = {entry.url: entry.id for entry in present}
        new = [{"origin": url} for url in sorted(wanted - have.keys())]
        self._each(operation.part("add"), doing, new)
        gone = [{"origin": url, "origin_id": have[url]} for url in sorted(have.keys() - wanted)]
        self._each(operation.part("remove"), doing, gone)

    def _each(self, call: Operation, doing: str, entries: Sequence[Mapping[str, str]]) -> None:
        for values in entries:
            try:
                self._service.send(call, doing, values, WRITE)
            except Refused as refused:
                if not call.done_already(refused):
                    raise

    def _entry_reader(self) -> Callable[[object], _Origin]:
        place = self._get.tree["origin"]
        read_the_id, url_of = read_id(place.get("id", "id")), compile_path(place["at"])

        def read(raw: object) -> _Origin:
            url = url_of(raw)
            if type(url) is not str or not url.isprintable():
                raise Unintelligible("an origin that is no text")
            return _Origin(read_the_id(raw), url)

        return read

    def _remember(self, *projects: LiveProject) -> None:
        with self._lock:
            self._known.update((project.id, project.allowed_origins) for project in projects)
