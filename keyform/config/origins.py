"""What the profile of a service says about allowed origins, and on which side they stand."""

from __future__ import annotations

from keyform.config.declared import Declared
from keyform.config.values import Bad, origin
from keyform.contract import cite_limit, limits_of
from keyform.diagnostics import listed
from keyform.model import DesiredProject
from keyform.profile import FORBIDDEN, ON_KEY, ON_PROJECT, REQUIRED, Kind, Profile

FIELD = "allowed_origins"


class OriginRules:
    """Checks origins against one service's profile. Good ones are remembered."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._label = f"{profile.short_name} keys"
        self._clean: dict[str, str] = {}

    def of_key(
        self, key: Declared, kind: Kind | None, project: DesiredProject | None, project_sound: bool
    ) -> tuple[str, ...]:
        """The origins of a key. A kind that needs origins may get them from its project."""
        given = key.fields.get(FIELD)
        inherited = project is not None and bool(project.allowed_origins)
        if (
            kind is not None
            and kind.origins == REQUIRED
            and not given
            and not inherited
            and project_sound
            and not (kind.project == REQUIRED and "project" not in key.fields)  # an error of its own
            and FIELD not in key.unknown
        ):
            places = [f"`{FIELD}` on the key"] if ON_KEY in self._profile.origins_on else []
            places += [f"`{FIELD}` on its project"] if ON_PROJECT in self._profile.origins_on else []
            summary = f"{self._profile.keys_of(kind)} need allowed origins"
            key.error("missing-origins", (), summary, self._by(f"Write {' or '.join(places)}."))
        if not given or not self._belong_on(key, kind):
            return ()
        return self._origins(key)

    def of_project(self, project: Declared) -> tuple[str, ...]:
        """The origins of a project."""
        if FIELD not in project.fields:
            return ()
        if ON_PROJECT not in self._profile.origins_on:
            on_key = ON_KEY in self._profile.origins_on
            project.error(
                "misplaced-origins",
                (FIELD,),
                f"{self._profile.short_name} projects have no allowed origins",
                self._by(f"Move them to the `{FIELD}` of each key." if on_key else "Remove them."),
                on_name=True,
            )
            return ()
        return self._origins(project)

    def _belong_on(self, key: Declared, kind: Kind | None) -> bool:
        profile = self._profile
        if not profile.origins_on:
            return False  # refused as a field that the service does not know
        if kind is not None and kind.origins == FORBIDDEN:
            others = [other.name for other in profile.kinds.values() if other.origins != FORBIDDEN]
            summary = f"{profile.keys_of(kind)} have no allowed origins"
            detail = f"Kinds that have them: {listed(others)}." if others else "Remove them."
        elif ON_KEY in profile.origins_on:
            return True
        else:
            summary = f"{self._label} take their allowed origins from their project"
            detail = self._on_project(key.fields.get("project"))
        key.error("misplaced-origins", (FIELD,), summary, self._by(detail), on_name=True)
        return False

    def _on_project(self, name: str | None) -> str:
        """Where the origins of a key stand, if not on the key. ``name``: the project that it names."""
        if "project" not in self._profile.fields:  # its keys are in none; the service has one list for all
            only = self._profile.only_project
            id_ = f" with `id: {only}`" if only else ""
            return (
                f"Move them to the `{FIELD}` of a project{id_} under `projects`. They hold for all keys of "
                "the service; a key names no project."
            )
        detail = f"Move them to `projects.{name or 'NAME'}.{FIELD}`."
        return detail if name else f"{detail} Then name the project in the key's `project`."

    def _by(self, detail: str) -> str:
        """What to do, and the rule that asks for it."""
        return f"{detail} {self._profile.cite(FIELD)}".strip()

    def _origins(self, item: Declared) -> tuple[str, ...]:
        given = item.fields[FIELD]
        most = limits_of(self._profile).get(FIELD, len(given))
        if len(given) > most:
            summary = f"`{FIELD}` has {len(given):,} entries; {self._label} take at most {most:,}"
            item.error(
                "too-long", (FIELD,), summary, f"Shorten it. {cite_limit(self._profile, FIELD)}".strip()
            )
        result = set()
        for index, text in enumerate(given):
            clean = self._clean.get(text)
            if clean is None:
                try:
                    clean = origin(
                        text, wildcard=self._profile.wildcard_origins, http=self._profile.http_origins
                    )
                except Bad as bad:
                    item.error("bad-origin", (FIELD, index), bad.summary, self._by(bad.detail))
                    continue
                self._clean[text] = clean
            result.add(clean)
        return tuple(sorted(result))
