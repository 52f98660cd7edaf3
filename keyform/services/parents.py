"""Keys that a service lists project by project, and whose ids count within their project alone.

At keyform the id of such a key is ``PROJECT/ID``, whether or not the service's own ids are unique, so that
every call can be made from an id that stands in the state. A ``/`` or ``%`` in a project is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keyform.diagnostics import Diagnostic, error
from keyform.errors import Refused, ServiceError, Unreachable
from keyform.model import LiveKey
from keyform.services.dialect import Operation
from keyform.services.fields import told_id_reader
from keyform.services.paging import MOST_ENTRIES
from keyform.services.readers import project_reader

if TYPE_CHECKING:
    from keyform.services.rest import RestService

MOST_PARENTS = 10_000
"""Projects whose keys are asked for; each costs a call."""


class Parents:
    """The projects of a service whose ``list`` has ``parents``."""

    def __init__(self, service: RestService, listing: Operation) -> None:
        self._service = service
        self._list = listing
        self._projects = listing.part("parents")
        self._read = project_reader({"id": listing.tree["parents"]["id"]})

    def keys(self) -> tuple[tuple[LiveKey, ...], Diagnostic | None]:
        """The keys of every project, and why some may be missing: a project that cannot be read makes the
        whole listing incomplete. Raises ``ServiceError`` where the service cannot be used at all."""
        patience = self._service.patience("listing the keys")
        projects, problem = self._service.walk(
            self._projects, "listing the projects", self._read, patience=patience
        )
        found: list[LiveKey] = []
        for project in projects[:MOST_PARENTS]:
            doing = f"listing the keys of project {project.id}"
            try:
                given = {"project": project.id}
                keys, why = self._service.walk(self._list, doing, self._list.key, given, patience)
            except (Refused, Unreachable) as refused:
                if isinstance(refused, Unreachable) or refused.status == 401:
                    raise
                keys, why = (), self._incomplete(str(refused))
            found += (inside(project.id, key) for key in keys)
            problem = problem or why
            if len(found) > MOST_ENTRIES:
                return tuple(found), self._incomplete(f"there are more than {MOST_ENTRIES} keys")
        if len(projects) > MOST_PARENTS:
            problem = self._incomplete(f"there are more than {MOST_PARENTS} projects")
        return tuple(found), problem

    def _incomplete(self, why: str) -> Diagnostic:
        return error(
            "incomplete-listing",
            f"service {self._service.name!r}: listing the keys is incomplete: {why}",
            "What is missing from it may well exist, so nothing is concluded from its absence. Try again.",
        )

    def parts(self, key_id: str) -> dict[str, str]:
        """What ``{project}`` and ``{id}`` stand for in calls about a key."""
        project, found, own_id = key_id.partition("/")
        if not found:
            raise ServiceError(
                f"service {self._service.name!r}: {key_id!r} is no id of a key",
                "The ids of its keys are written PROJECT/ID.",
            )
        return {"project": project.replace("%2F", "/").replace("%25", "%"), "id": own_id}

    def id_in(self, tree: Mapping[str, Any], body: Any) -> str | None:
        """The id of the key that an answer speaks of, with its project."""
        own_id, project = told_id_reader(tree["id"])(body), told_id_reader(tree["parent"])(body)
        return None if own_id is None or project is None else joined(project, own_id)


def inside(project: str, key: LiveKey) -> LiveKey:
    """A key as its project's listing shows it, with the id and project that it has at keyform."""
    return replace(key, id=joined(project, key.id), spec=replace(key.spec, project=project))


def joined(project: str, own_id: str) -> str:
    """The id at keyform."""
    return f"{project.replace('%', '%25').replace('/', '%2F')}/{own_id}"
