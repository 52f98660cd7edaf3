"""``keys``: every declared key, its defaults and ``for_each`` applied, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from keyform.config.declared import Declared, declared
from keyform.config.defaults import DEPENDS_ON_SERVICE, Defaults, Values
from keyform.config.interpolate import UNRESOLVED, Each, Interpolator
from keyform.config.merge import Entry, Merged
from keyform.config.places import CheckPlace, Places
from keyform.config.projects import Projects, rules_for
from keyform.config.rotation import Lifetimes
from keyform.config.rules import ServiceRules
from keyform.config.values import Bad, each_key, has_control
from keyform.documents.problems import Problems
from keyform.model import DesiredKey, KeySpec, RateLimit, SourceRef, key_address

MOST_KEYS = 100_000


class Keys:
    """Builds the keys. What is wrong with one is recorded, and the key left out."""

    def __init__(
        self,
        merged: Merged,
        rules: Mapping[str, ServiceRules],
        projects: Projects,
        defaults: Defaults,
        fill: Interpolator,
        values: Values,
        problems: Problems,
        now: datetime,
        check_place: CheckPlace,
    ) -> None:
        self._merged = merged
        self._rules = rules
        self._projects = projects
        self._defaults = defaults
        self._fill = fill
        self._values = values
        self._problems = problems
        self.places = Places(merged, defaults.store, check_place)
        self._lifetimes = Lifetimes(defaults, values, problems, now)
        self.addresses: dict[str, str | None] = {}
        """Every declared key address, and its service where that is known."""

    def desired(self) -> tuple[DesiredKey, ...]:
        """The keys, in the order they are written."""
        built: list[DesiredKey] = []
        for name, entry in self._merged.keys.items():
            source = SourceRef(entry.file, entry.path)
            instances = self._instances(entry)
            if "for_each" in entry.body:
                body = {field: value for field, value in entry.body.items() if field != "for_each"}
                entry = Entry(entry.file, entry.path, body, entry.unknown)
            for each in instances:
                if len(self.addresses) >= MOST_KEYS:
                    self._problems.error(
                        "too-many",
                        source,
                        f"more than {MOST_KEYS:,} keys are declared",
                        "Split the configuration into several folders.",
                        on_name=True,
                    )
                    return tuple(built)
                address = key_address(name, each.key if each else None)
                default_name = f"{name}-{each.key}" if each else name
                item = declared(address, entry, self._fill, self._problems, each)
                key = self._key(item, default_name, source)
                if key is not None:
                    built.append(key)
        return tuple(built)

    def _instances(self, entry: Entry) -> Iterator[Each | None]:
        """The entries of ``for_each``; one None for a key without."""
        if "for_each" not in entry.body:
            if "for_each" not in entry.unknown:
                yield None
            return
        filled = self._fill.fill(entry.body["for_each"], entry.at("for_each"))
        if filled is UNRESOLVED:
            return
        mapping = isinstance(filled, dict)
        seen: set[str] = set()
        for index, (key, value) in enumerate(
            filled.items() if mapping else ((item, item) for item in filled)
        ):
            where = entry.at("for_each", key if mapping else index)
            try:
                each_key(key)
            except Bad as bad:
                self._problems.error("bad-for-each", where, bad.summary, bad.detail)
                continue
            if key in seen:
                summary = f"`{key}` stands twice in `for_each`"
                self._problems.error("bad-for-each", where, summary, "Remove one of the two.")
                continue
            seen.add(key)
            yield Each(key, value)

    def _key(self, key: Declared, default_name: str, source: SourceRef) -> DesiredKey | None:
        fields, get = key.fields, key.fields.get
        service = get("service")
        rules = self._rules.get(service) if service is not None else None
        self.addresses[key.address] = rules.name if rules else None
        places = self.places.of(key)
        if rules is None:
            rules_for(key, self._rules, self._merged)
            return None
        defaults = self._defaults
        inherited = defaults.fields.get
        if len(defaults.taken) < len(DEPENDS_ON_SERVICE):
            defaults.taken.update(rules.profile.fields.intersection(DEPENDS_ON_SERVICE))
        rules.fields(key)
        kind = rules.kind(key)
        environment = rules.environment(key, inherited("environment"))
        scopes = rules.scopes.of(key, kind)
        project, project_sound = self._projects.of_key(key, rules)
        rules.project(key, kind)
        origins = rules.origins.of_key(key, kind, project, project_sound)
        expiry = self._lifetimes.expiry(key, rules)
        rotation = self._lifetimes.rotation(key, expiry, rules)
        name = self._name(key, default_name, rules)
        rules.gate(key, kind)
        if kind is None or not (kind.unbound_is_all and self._projects.several(rules.name)):
            rules.hint(key, kind, key.address, name, get("description", ""), *get("tags", ()))
        if "description" in fields:
            rules.size(key, "description", fields["description"], "description")
        metadata = self._metadata(key, rules)
        rate_limit = self._rate_limit(key, rules)
        credits = rules.credits(key)
        if places is None:
            return None
        return DesiredKey(
            address=key.address,
            service=rules.name,
            spec=KeySpec(
                kind=kind.name if kind else None,
                environment=environment,
                project=project.id if project else None,
                name=name,
                description=get("description", ""),
                scopes=scopes,
                allowed_origins=origins,
                expires_at=expiry.moment,
                rate_limit=rate_limit,
                credits=credits,
                metadata=metadata,
            ),
            places=places,
            expires_in=expiry.span,
            rotation=rotation,
            owner=get("owner", inherited("owner")),
            tags=tuple(sorted(set(get("tags", inherited("tags", ()))))),
            protect=get("protect", inherited("protect", False)),
            source=source,
        )

    def _name(self, key: Declared, default: str, rules: ServiceRules) -> str:
        name: str = key.fields.get("name", default)
        if not name or has_control(name):
            key.error(
                "bad-value",
                ("name",),
                "the name is empty or contains a line break or a tab",
                "Write one line of text, or leave it out.",
            )
        if not rules.knows("name"):
            return ""
        rules.size(key, "name", name, "name")
        return name

    def _metadata(self, key: Declared, rules: ServiceRules) -> tuple[tuple[str, str], ...]:
        given: dict[str, str] = key.fields.get("metadata") or {}
        inherited = self._defaults.fields.get("metadata") or {}
        if not rules.knows("metadata"):
            return ()
        self._values.metadata(given, key.at("metadata"))
        merged = {**inherited, **given} if inherited else given
        rules.size(key, "metadata", merged, "metadata")
        for name, value in given.items():
            rules.size(key, "metadata_key", name, "metadata", name)
            rules.size(key, "metadata_value", value, "metadata", name)
        return tuple(sorted(merged.items()))

    def _rate_limit(self, key: Declared, rules: ServiceRules) -> RateLimit | None:
        if not rules.knows("rate_limit"):
            return None
        if "rate_limit" not in key.fields:
            return self._defaults.rate_limit
        limit: Any = self._values.rate_limit(key.fields["rate_limit"], key.at("rate_limit"), key.address)
        return limit if isinstance(limit, RateLimit) else None
