"""The sections ``state``, ``services`` and ``stores`` as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from keyform.config.configuration import ServiceConfig, StateConfig, StoreConfig
from keyform.config.interpolate import UNRESOLVED, Interpolator, Unresolved
from keyform.config.merge import Entry, Merged
from keyform.config.service_fields import check_endpoint, check_field_names, check_options, stale_after
from keyform.config.values import has_control
from keyform.diagnostics import did_you_mean
from keyform.documents.problems import Problems
from keyform.documents.sensitive import ONE_ENVIRONMENT_NAME, has_password, is_sensitive
from keyform.errors import ConfigError
from keyform.model import Secret, SourceRef
from keyform.profile import ASSISTED, CONTRACT, DOCUMENTED, FIELDS_OF_A_SERVICE, Profile

ProfileOf = Callable[[str, Path], Profile | None]

_MODES = (DOCUMENTED, CONTRACT, ASSISTED)


class Sections:
    """Builds the sections that say where to work; what is wrong is recorded and left out."""

    def __init__(self, fill: Interpolator, problems: Problems) -> None:
        self._interpolator = fill
        self._problems = problems

    def state(self, merged: Merged, types: Collection[str]) -> StateConfig:
        """Where the state lives; ``.keyform/state.json`` unless declared."""
        entry = merged.state
        if entry is None:
            return StateConfig("local", MappingProxyType({"path": ".keyform/state.json"}))
        backend = self._fill(entry.body.get("backend", "local"), entry.at("backend"))
        if isinstance(backend, str) and backend not in types:
            self._problems.error(
                "unknown-backend",
                entry.at("backend"),
                f"there is no state backend `{backend}`",
                did_you_mean(backend, types),
            )
        options = self._options(entry, ("backend",))
        known = isinstance(backend, str) and is_known(entry.body.keys() - {"backend"}, options)
        if backend == "local":
            options.setdefault("path", ".keyform/state.json")
        return StateConfig(str(backend), MappingProxyType(options), known)

    def stores(self, merged: Merged, types: Collection[str]) -> dict[str, StoreConfig]:
        """The declared stores, and ``local`` if it is not declared."""
        stores: dict[str, StoreConfig] = {}
        for name, entry in merged.stores.items():
            kind = self._fill(entry.body.get("type", UNRESOLVED), entry.at("type"))
            if isinstance(kind, str) and kind not in types:
                self._problems.error(
                    "unknown-type",
                    entry.at("type"),
                    f"there is no store type `{kind}`",
                    did_you_mean(kind, types),
                )
            options = self._options(entry, ("type",))
            known = is_known(entry.body.keys() - {"type"}, options)
            stores[name] = StoreConfig(name, str(kind), MappingProxyType(options), known)
        if "local" not in stores and "local" not in merged.unusable["stores"]:
            stores["local"] = StoreConfig("local", "age", MappingProxyType({"path": ".keyform/secrets"}))
        return stores

    def services(
        self, merged: Merged, folder: Path, profile_of: ProfileOf, types: Collection[str]
    ) -> dict[str, ServiceConfig]:
        """The declared services whose type is known."""
        profiles: dict[str, Profile | None] = {}
        services: dict[str, ServiceConfig] = {}
        for name, entry in merged.services.items():
            kind = self._fill(entry.body.get("type", UNRESOLVED), entry.at("type"))
            mode = self._fill(entry.body.get("mode"), entry.at("mode"))
            if isinstance(mode, str) and mode not in _MODES:
                self._problems.error(
                    "bad-value",
                    entry.at("mode"),
                    f"`{mode}` is not a mode of a service",
                    did_you_mean(mode, _MODES),
                )
            endpoint = self._endpoint(entry)
            credential = self._credential(entry.body.get("credential"), "credential", entry.at("credential"))
            options = self._options(entry, FIELDS_OF_A_SERVICE)
            stale = self._fill(entry.body.get("stale_after"), entry.at("stale_after"))
            if isinstance(kind, str) and kind not in profiles:
                profiles[kind] = self._profile(kind, folder, profile_of, entry, types)
            profile = profiles[kind] if isinstance(kind, str) else None
            if profile is None:
                check_field_names(name, entry, self._problems)
                continue
            check_options(name, entry, profile, options, self._problems)
            if mode in _MODES and profile.one_per_kind:
                self._problems.error(
                    "bad-value",
                    entry.at("mode"),
                    f"{profile.title} are managed by their own calls alone, and take no `mode`",
                    profile.cite("mode") or "Remove `mode`.",
                )
            chosen = mode if isinstance(mode, str) and mode in _MODES else None
            if kind != "embedded" and chosen != ASSISTED and mode is not UNRESOLVED:
                check_endpoint(name, entry, profile.under(chosen), self._problems)
            services[name] = ServiceConfig(
                name,
                kind,
                chosen,
                endpoint,
                credential if isinstance(credential, Secret) else None,
                MappingProxyType(options),
                profile,
                stale_after(entry, profile.under(chosen), stale, self._problems),
                entry.at(),
            )
        return services

    def _profile(
        self, kind: str, folder: Path, profile_of: ProfileOf, entry: Entry, types: Collection[str]
    ) -> Profile | None:
        try:
            profile = profile_of(kind, folder)
        except ConfigError as failure:
            self._problems.told_elsewhere(failure.diagnostics)
            return None
        if profile is None:
            where = entry.at("type")
            hint = did_you_mean(kind, types)
            if kind.startswith((".", "/")):
                hint = "Paths of profiles are relative to the folder of the configuration."
            self._problems.error("unknown-type", where, f"there is no service type `{kind}`", hint)
        return profile

    def _fill(self, value: Any, where: SourceRef) -> Any:
        if isinstance(value, str) and has_password(value):
            self._password(where)
            return UNRESOLVED
        filled = self._interpolator.fill(value, where)
        if isinstance(filled, str) and has_password(filled):
            self._password(where)
            return UNRESOLVED
        return filled

    def _endpoint(self, entry: Entry) -> str | None:
        where = entry.at("endpoint")
        endpoint = self._fill(entry.body.get("endpoint"), where)
        if not isinstance(endpoint, str):
            return None
        scheme, separator, rest = endpoint.partition("://")
        if (
            scheme.lower() not in ("http", "https")
            or not separator
            or not rest.strip("/")
            or has_control(endpoint)
        ):
            self._problems.error(
                "bad-endpoint",
                where,
                f"`{endpoint}` is not the URL of a service",
                "Write it in full, like https://keys.example.com.",
            )
            return None
        host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]
        if scheme.lower() == "http" and host not in ("localhost", "127.0.0.1", "[::1]"):
            self._problems.warning(
                "plain-http",
                where,
                "this endpoint is not encrypted: the credential and every "
                "new secret cross the network in clear text",
                "Use https.",
            )
        return endpoint

    def _options(self, entry: Entry, own: Collection[str]) -> dict[str, Any]:
        given = {name: value for name, value in entry.body.items() if name not in own}
        filled = self._option_fields(given, entry.at())
        return {name: value for name, value in filled.items() if value is not UNRESOLVED}

    def _option_fields(self, given: Mapping[str, Any], where: SourceRef) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, value in given.items():
            place = SourceRef(where.file, (*where.path, name))
            if is_sensitive(name) and value is not None:
                fields[name] = self._credential(value, name, place)
            elif isinstance(value, dict):
                fields[name] = self._option_fields(value, place)
            elif isinstance(value, list):
                fields[name] = tuple(
                    self._option_fields(item, at) if isinstance(item, dict) else self._fill(item, at)
                    for item, at in (
                        (i, SourceRef(where.file, (*place.path, n))) for n, i in enumerate(value)
                    )
                )
            else:
                fields[name] = self._fill(value, place)
        return fields

    def _credential(self, value: Any, name: str, where: SourceRef) -> Secret | Unresolved | None:
        if value is None:
            return None
        if not isinstance(value, str) or not ONE_ENVIRONMENT_NAME.match(value):
            self._clear_text(where, f"`{name}` is a credential and must come from the environment")
            return UNRESOLVED
        variable = value[len("${env:") : -1]
        text = self._interpolator.environment(variable, where)
        if isinstance(text, Unresolved):
            return text
        if not text or has_control(text) or text != text.strip():
            what = (
                "is empty" if not text else "contains a line break, a space at an end or a control character"
            )
            self._problems.error(
                "bad-credential",
                where,
                f"the environment variable {variable} {what}",
                "Set it to the credential alone.",
            )
            return UNRESOLVED
        return Secret(text)

    def _password(self, where: SourceRef) -> None:
        self._problems.error(
            "clear-text-credential",
            where,
            "this URL contains a password",
            "Take the user name and the password out of it; credentials have fields of their own.",
        )

    def _clear_text(self, where: SourceRef, summary: str) -> None:
        self._problems.error(
            "clear-text-credential",
            where,
            summary,
            'Write exactly one "${env:NAME}", and set NAME outside the repository.',
        )


def is_known(given: Collection[str], options: Mapping[str, Any]) -> bool:
    """Whether every one of the ``given`` options has a value; one that needs an unset variable has none."""
    return options.keys() >= set(given) and _filled(options)


def _filled(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_filled, value.values()))
    if isinstance(value, tuple):
        return all(map(_filled, value))
    return value is not UNRESOLVED


def digestible(value: Any) -> Any:
    """Options as JSON for a digest, without their credentials."""
    if isinstance(value, Mapping):
        return {name: digestible(item) for name, item in value.items() if not isinstance(item, Secret)}
    if isinstance(value, tuple | list):
        return [digestible(item) for item in value]
    return value
