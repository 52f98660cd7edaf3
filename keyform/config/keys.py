"""``keys`` and ``projects``: every declared entry, its defaults and ``for_each`` applied, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from keyform.config.configuration import ServiceConfig
from keyform.config.defaults import DEPENDS_ON_SERVICE, Defaults, Values
from keyform.config.interpolate import UNRESOLVED, Each, Interpolator, is_plain
from keyform.config.merge import Entry, Merged
from keyform.config.places import Places
from keyform.config.problems import Problems, did_you_mean
from keyform.config.rules import ServiceRules
from keyform.config.values import Bad, each_key, future, has_control
from keyform.model import DesiredKey, DesiredProject, KeySpec, Rotation, SourceRef, key_address
from keyform.profile import ON_PROJECT, Kind

MOST_KEYS = 100_000

_NOTHING: frozenset[str] = frozenset()


class Keys:
    """Builds projects and keys. What is wrong with an entry is recorded, and the entry left out."""

    def __init__(
        self,
        merged: Merged,
        services: Mapping[str, ServiceConfig],
        defaults: Defaults,
        fill: Interpolator,
        values: Values,
        problems: Problems,
        now: datetime,
    ) -> None:
        self._merged = merged
        self._rules = {name: ServiceRules(service, problems) for name, service in services.items()}
        self._defaults = defaults
        self._fill = fill
        self._values = values
        self._problems = problems
        self._now = now
        self._places = Places(merged, defaults.store, problems)
        self._projects: dict[str, DesiredProject | None] = {}
        self._rotations: dict[Any, Rotation] = {}
        self.addresses: dict[str, str | None] = {}
        """Every declared key address, and its service where that is known."""

    def projects(self) -> tuple[DesiredProject, ...]:
        """The declared projects."""
        ids: dict[tuple[str, str], Entry] = {}
        for name, entry in self._merged.projects.items():
            self._projects[name] = project = self._project(name, entry)
            if project is None:
                continue
            first = ids.setdefault((project.service, project.id), entry)
            if first is not entry:
                self._problems.error(
                    "same-project",
                    entry.at("id") if "id" in entry.body else entry.at(),
                    f"two projects of `{project.service}` have the id `{project.id}`",
                    "Declare it once.",
                    address=project.address,
                    also=("The first is at", first.at()),
                )
        return tuple(project for project in self._projects.values() if project is not None)

    def _project(self, name: str, entry: Entry) -> DesiredProject | None:
        address = f"projects.{name}"
        body, unknown = self._fields(entry, None)
        rules = self._rules_of(body.get("service"), entry, address)
        if rules is None:
            return None
        if not rules.knows("project") and ON_PROJECT not in rules.profile.origins_on:
            self._problems.error(
                "unsupported-field",
                entry.at(),
                f"{rules.profile.type} has no projects",
                "Remove it.",
                on_name=True,
                address=address,
            )
            return None
        project_id = body.get("id", name)
        if not project_id or has_control(project_id):
            self._problems.error(
                "bad-value",
                entry.at("id"),
                "the id of a project is empty or has control characters",
                "Write the id that the service uses, or leave it out.",
                address=address,
            )
        origins: tuple[str, ...] = ()
        if "allowed_origins" in body and rules.origins_belong_on_project(
            entry.at("allowed_origins"), address
        ):
            origins = rules.origins(body["allowed_origins"], entry.at("allowed_origins"), address)
        return DesiredProject(address, rules.name, project_id, origins, SourceRef(entry.file, entry.path))

    def keys(self) -> tuple[DesiredKey, ...]:
        """The declared keys."""
        built: list[DesiredKey] = []
        for name, entry in self._merged.keys.items():
            instances: Iterator[Each | None] | tuple[None] = (
                self._each(entry) if "for_each" in entry.body else (None,)
            )
            source = SourceRef(entry.file, entry.path)
            for each in instances:
                if len(built) >= MOST_KEYS:
                    self._problems.error(
                        "too-many",
                        source,
                        f"more than {MOST_KEYS:,} keys are declared",
                        "Split the configuration into several folders.",
                        on_name=True,
                    )
                    return tuple(built)
                key = self._key(name, entry, each, source)
                if key is not None:
                    built.append(key)
        return tuple(built)

    def _each(self, entry: Entry) -> Iterator[Each]:
        given = entry.body["for_each"]
        filled = self._fill.fill(given, entry.at("for_each"))
        if filled is UNRESOLVED:
            return
        seen: set[str] = set()
        items = filled.items() if isinstance(filled, dict) else ((item, item) for item in filled)
        for index, (key, value) in enumerate(items):
            where = entry.at("for_each", key if isinstance(filled, dict) else index)
            try:
                each_key(key)
            except Bad as bad:
                self._problems.error("bad-for-each", where, bad.summary, bad.detail)
                continue
            if key in seen:
                self._problems.error(
                    "bad-for-each", where, f"`{key}` stands twice in `for_each`", "Remove one of them."
                )
                continue
            seen.add(key)
            yield Each(key, value)

    def _fields(self, entry: Entry, each: Each | None) -> tuple[dict[str, Any], frozenset[str]]:
        """The fields of an entry with templates filled in, and the names of those that are unusable."""
        body: dict[str, Any] = entry.body
        if is_plain(body):
            return body, entry.unknown
        fields, unknown = {}, set(entry.unknown)
        for name, value in body.items():
            filled = value if name == "for_each" else self._fill.fill(value, entry.at(name), each)
            if filled is UNRESOLVED:
                unknown.add(name)
            else:
                fields[name] = filled
        return fields, frozenset(unknown)

    def _rules_of(self, service: str | None, entry: Entry, address: str) -> ServiceRules | None:
        rules = self._rules.get(service) if service is not None else None
        if rules is None and service is not None:
            declared = self._merged.services.keys() | self._merged.unusable["services"]
            if service not in declared and not self._merged.incomplete:
                self._problems.error(
                    "unknown-service",
                    entry.at("service"),
                    f"there is no service `{service}`",
                    did_you_mean(service, declared) or "Declare it under `services`.",
                    address=address,
                )
        return rules

    def _key(self, name: str, entry: Entry, each: Each | None, source: SourceRef) -> DesiredKey | None:
        address = key_address(name, each.key if each else None)
        body, unknown = self._fields(entry, each)
        get, at = body.get, entry.at
        service = get("service")
        rules = self._rules.get(service) if service is not None else None
        self.addresses[address] = rules.name if rules else None
        place = self._places.place(body["secret"], entry, address) if "secret" in body else None
        if rules is None:
            self._rules_of(service, entry, address)
            return None
        defaults, profile = self._defaults, rules.profile
        for field in rules.unknown_fields(tuple(body)):
            rules.refuse_field(field, at(field), address)
        if len(defaults.taken) < len(DEPENDS_ON_SERVICE):
            defaults.taken.update(profile.fields.intersection(DEPENDS_ON_SERVICE))

        kind_known = "kind" not in unknown
        kind = rules.kind(get("kind"), at("kind"), source, address) if kind_known else None
        environment = (
            rules.environment(
                get("environment"), defaults.fields.get("environment"), at("environment"), source, address
            )
            if "environment" not in unknown
            else None
        )
        scopes: tuple[str, ...] = ()
        if "scopes" not in unknown and (kind is not None or not profile.kinds):
            scopes = rules.scopes(get("scopes"), kind, at("scopes"), source, address)
        project_id, origins = self._project_and_origins(body, unknown, kind, rules, entry, source, address)
        expires_in, expires_at = self._expiry(body, unknown, rules, entry, address)
        metadata = self._metadata(get("metadata"), rules, entry, address)
        if body.get("name") == "" or has_control(body.get("name", "")):
            self._problems.error(
                "bad-value",
                at("name"),
                "the name is empty or contains a line break or a tab",
                "Write one line of text, or leave it out.",
                address=address,
            )
        shown_name = get("name") or (name if each is None else f"{name}-{each.key}")
        rules.check_size("name", shown_name, at("name"), address)
        if "description" in body:
            rules.check_size("description", body["description"], at("description"), address)
        rate_limit = defaults.rate_limit if rules.knows("rate_limit") else None
        if "rate_limit" in body:
            rate_limit = self._values.rate_limit(body["rate_limit"], at("rate_limit"))
        rotation = self._rotation(get("rotation"), expires_in, expires_at, entry, address)
        if place is None:
            return None
        spec = KeySpec(
            kind=kind.name if kind else None,
            environment=environment,
            project=project_id,
            name=shown_name if rules.knows("name") else "",
            description=get("description", ""),
            scopes=scopes,
            allowed_origins=origins,
            expires_at=expires_at,
            rate_limit=rate_limit,
            metadata=metadata,
        )
        inherited = defaults.fields.get
        return DesiredKey(
            address=address,
            service=rules.name,
            spec=spec,
            places=(place,),
            expires_in=expires_in,
            rotation=rotation,
            owner=get("owner", inherited("owner")),
            tags=tuple(sorted(set(get("tags", inherited("tags", ()))))),
            protect=get("protect", inherited("protect", False)),
            source=source,
        )

    def _project_and_origins(
        self,
        body: Mapping[str, Any],
        unknown: frozenset[str],
        kind: Kind | None,
        rules: ServiceRules,
        entry: Entry,
        source: SourceRef,
        address: str,
    ) -> tuple[str | None, tuple[str, ...]]:
        name, at = body.get("project"), entry.at
        project_usable = "project" not in unknown
        project: DesiredProject | None = None
        if name is not None and rules.knows("project"):
            project, project_usable = self._project_of(name, rules, entry, address)
        if project_usable:
            rules.project(kind, name is not None, at("project"), source, address)
        origins: tuple[str, ...] = ()
        if body.get("allowed_origins") and rules.origins_belong_on_key(
            kind, at("allowed_origins"), address, name
        ):
            origins = rules.origins(body["allowed_origins"], at("allowed_origins"), address)
        have = bool(body.get("allowed_origins") or (project and project.allowed_origins))
        if project_usable and "allowed_origins" not in unknown:
            rules.require_origins(kind, have, source, address)
        return project.id if project else None, origins

    def _project_of(
        self, name: str, rules: ServiceRules, entry: Entry, address: str
    ) -> tuple[DesiredProject | None, bool]:
        """The project a key names, and whether the naming is sound."""
        where = entry.at("project")
        project = self._projects.get(name)
        if project is not None and project.service != rules.name:
            self._problems.error(
                "foreign-project",
                where,
                f"the project `{name}` is at `{project.service}`, and this key at `{rules.name}`",
                "A key and its project are at one service.",
                address=address,
                also=("The project is at", project.source or entry.at()),
            )
            return None, False
        if project is None:
            declared = name in self._projects or name in self._merged.unusable["projects"]
            if not declared and not self._merged.incomplete:
                near = [n for n, p in self._projects.items() if p is not None and p.service == rules.name]
                self._problems.error(
                    "unknown-project",
                    where,
                    f"there is no project `{name}`",
                    did_you_mean(name, near) or "Declare it under `projects`.",
                    address=address,
                )
            return None, False
        return project, True

    def _expiry(
        self,
        body: Mapping[str, Any],
        unknown: frozenset[str],
        rules: ServiceRules,
        entry: Entry,
        address: str,
    ) -> tuple[timedelta | None, datetime | None]:
        if "expires_in" in body and "expires_at" in body:
            self._problems.error(
                "two-expiries",
                entry.at("expires_at"),
                "`expires_in` and `expires_at` exclude each other",
                "Keep one of them.",
                on_name=True,
                address=address,
            )
            return None, None
        if "expires_at" in body:
            where = entry.at("expires_at")
            if not rules.knows("expires_at") or not rules.moment(where, address):
                return None, None
            try:
                return None, future(body["expires_at"], self._now)
            except Bad as bad:
                self._problems.error("bad-time", where, bad.summary, bad.detail, address=address)
                return None, None
        if "expires_in" in body:
            where = entry.at("expires_in")
            span = self._values.duration(body["expires_in"], where)
            if span is UNRESOLVED or not rules.knows("expires_in"):
                return None, None
            rules.expiry(span, where, address)
            return span, None
        settable = rules.profile.expiry.settable and rules.knows("expires_in")
        if self._defaults.expires_in is None or not settable or unknown & {"expires_in", "expires_at"}:
            return None, None
        rules.expiry(self._defaults.expires_in, self._defaults.entry.at("expires_in"), address)
        return self._defaults.expires_in, None

    def _metadata(
        self, given: Mapping[str, str] | None, rules: ServiceRules, entry: Entry, address: str
    ) -> tuple[tuple[str, str], ...]:
        if given is not None:
            where = entry.at("metadata")
            self._values.metadata(given, where)
            rules.check_size("metadata", given, where, address)
            for name, value in given.items():
                rules.check_size("metadata_key", name, entry.at("metadata", name), address)
                rules.check_size("metadata_value", value, entry.at("metadata", name), address)
        inherited = self._defaults.fields.get("metadata") if rules.knows("metadata") else None
        if not given and not inherited:
            return ()
        return tuple(sorted({**(inherited or {}), **(given or {})}.items()))

    def _rotation(
        self,
        given: Mapping[str, str] | None,
        expires_in: timedelta | None,
        expires_at: datetime | None,
        entry: Entry,
        address: str,
    ) -> Rotation | None:
        inherited = self._defaults.rotation
        if given is None and not inherited:
            return None
        remembered = (tuple(given.items()) if given else None, expires_in, expires_at is None)
        known = self._rotations.get(remembered)
        if known is not None:
            return known
        own = self._values.rotation(given, entry.at("rotation")) if given else {}
        spans = {**inherited, **own}
        if expires_in is None and "before_expiry" not in own:
            spans.pop("before_expiry", None)
        before = len(self._problems.found)
        self._check_rotation(spans, own, expires_in, expires_at, entry, address)
        rotation = Rotation(
            every=spans.get("every"),
            before_expiry=spans.get("before_expiry"),
            overlap=spans.get("overlap") or timedelta(0),
            revoke_when_unused_for=spans.get("revoke_when_unused_for"),
        )
        if len(self._problems.found) == before:
            self._rotations[remembered] = rotation
        return rotation

    def _check_rotation(
        self,
        spans: Mapping[str, timedelta | None],
        own: Mapping[str, timedelta | None],
        expires_in: timedelta | None,
        expires_at: datetime | None,
        entry: Entry,
        address: str,
    ) -> None:
        def at(name: str) -> SourceRef:
            return entry.at("rotation", name) if name in own else self._defaults.entry.at("rotation", name)

        every, ahead, overlap = spans.get("every"), spans.get("before_expiry"), spans.get("overlap")
        if ahead is not None and expires_in is None:
            detail = "Give the key an `expires_in`, or rotate it with `every`."
            if expires_at is not None:
                detail = (
                    "With `expires_at` a new generation would expire at the same moment; use `expires_in`."
                )
            self._problems.error(
                "bad-rotation",
                at("before_expiry"),
                "`before_expiry` needs a key that expires",
                detail,
                address=address,
            )
        elif ahead is not None and expires_in is not None and ahead >= expires_in:
            self._problems.error(
                "bad-rotation",
                at("before_expiry"),
                "`before_expiry` is not shorter than `expires_in`",
                "The key would be due for rotation as soon as it is made.",
                address=address,
            )
        if overlap is not None and every is not None and overlap >= every:
            self._problems.error(
                "bad-rotation",
                at("overlap"),
                "`overlap` is not shorter than `every`",
                "Old generations would pile up.",
                address=address,
            )
        if every is not None and ahead is None and expires_in is not None and every >= expires_in:
            self._problems.warning(
                "late-rotation",
                at("every"),
                "the key expires before it is rotated",
                "Make `every` shorter than `expires_in`.",
                address=address,
            )
