"""``projects``: the declared units of a service that own keys and origins."""

from __future__ import annotations

from collections.abc import Mapping

from keyform.config.declared import Declared, declared
from keyform.config.interpolate import Interpolator
from keyform.config.merge import Entry, Merged
from keyform.config.origins import FIELD
from keyform.config.rules import ServiceRules
from keyform.config.values import has_control
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.model import DesiredProject
from keyform.profile import ON_PROJECT


def rules_for(item: Declared, rules: Mapping[str, ServiceRules], merged: Merged) -> ServiceRules | None:
    """The rules of the service that a key or project names; None after recording that there is none."""
    service = item.fields.get("service")
    found = rules.get(service) if service is not None else None
    if found is None and service is not None:
        known = merged.services.keys() | merged.unusable["services"]
        if service not in known and not merged.incomplete:
            item.error(
                "unknown-service",
                ("service",),
                f"there is no service `{service}`",
                did_you_mean(service, known) or "Declare it under `services`.",
            )
    return found


class Projects:
    """The declared projects, by name. One that is wrong is recorded and has no value."""

    def __init__(
        self, merged: Merged, rules: Mapping[str, ServiceRules], fill: Interpolator, problems: Problems
    ) -> None:
        self._merged = merged
        self._rules = rules
        self._ids: dict[tuple[str, str], Entry] = {}
        self._origins_unclear: set[str] = set()  # addresses whose origins are there and cannot be used
        self._found: dict[str, DesiredProject | None] = {
            name: self._project(name, declared(f"projects.{name}", entry, fill, problems))
            for name, entry in merged.projects.items()
        }

    def desired(self) -> tuple[DesiredProject, ...]:
        """The projects, in the order they are written."""
        return tuple(project for project in self._found.values() if project is not None)

    def of_key(self, key: Declared, rules: ServiceRules) -> tuple[DesiredProject | None, bool]:
        """The project that a key names, and whether what it says about its project is sound."""
        name = key.fields.get("project")
        if name is None or not rules.knows("project"):
            return None, "project" not in key.unknown
        project = self._found.get(name)
        if project is None:
            if name not in self._found and not self._may_be_declared(name):
                near = [other.address.removeprefix("projects.") for other in self.desired()]
                key.error(
                    "unknown-project",
                    ("project",),
                    f"there is no project `{name}`",
                    did_you_mean(name, near) or "Declare it under `projects`.",
                )
            return None, False
        if project.service != rules.name:
            key.error(
                "foreign-project",
                ("project",),
                f"the project `{name}` is at `{project.service}`, and this key at `{rules.name}`",
                "A key and its project are at one service.",
                also=("The project is at", self._merged.projects[name].at()),
            )
            return None, False
        return project, project.address not in self._origins_unclear

    def several(self, service: str) -> bool:
        """Whether more than one project of a service is declared."""
        return sum(project.service == service for project in self.desired()) > 1

    def _may_be_declared(self, name: str) -> bool:
        return self._merged.incomplete or name in self._merged.unusable["projects"]

    def _project(self, name: str, item: Declared) -> DesiredProject | None:
        rules = rules_for(item, self._rules, self._merged)
        if rules is None:
            return None
        if not rules.knows("project") and ON_PROJECT not in rules.profile.origins_on:
            item.error("unsupported-field", (), f"{rules.profile.short_name} has no projects", "Remove it.")
            return None
        project_id = item.fields.get("id", name)
        if not project_id or has_control(project_id):
            summary = "the id of a project is empty or has control characters"
            item.error("bad-value", ("id",), summary, "Write the id that the service uses, or leave it out.")
            return None
        only = rules.profile.only_project
        if only is not None and project_id != only:
            item.error(
                "only-project",
                ("id",) if "id" in item.fields else (),
                f"{rules.profile.short_name} has one list of origins for the whole account, and no project "
                f"`{project_id}`",
                f"Give the project `id: {only}`. {rules.profile.cite(FIELD)}".strip(),
            )
            return None
        first = self._ids.setdefault((rules.name, project_id), item.entry)
        if first is not item.entry:
            item.error(
                "same-project",
                ("id",) if "id" in item.fields else (),
                f"two projects of `{rules.name}` have the id `{project_id}`",
                "Declare it once.",
                also=("The first is at", first.at()),
            )
        origins = rules.origins.of_project(item)
        if FIELD in item.unknown or (item.fields.get(FIELD) and not origins):
            self._origins_unclear.add(item.address)
        return DesiredProject(item.address, rules.name, project_id, origins, item.at())
