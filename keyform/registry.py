"""Which types of services, stores and state backends there are, and how each is opened.

Built-in stores and backends are imported only when one is opened, so that their libraries cost nothing
until used. Plug-ins come in through the entry-point groups ``keyform.stores`` and ``keyform.states``,
each naming a function of the same signature as :func:`open_store` and :func:`open_backend` take them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from keyform.config import Config, StoreConfig, load
from keyform.errors import StoreError
from keyform.model import Place
from keyform.ports import Clock, StateBackend, Store
from keyform.services.profiles import known_types, load_profile


@dataclass(frozen=True, slots=True)
class StoreType:
    """A built-in store: its module; the options that say where it is, with what they are unless declared;
    and the extra that brings its libraries. With ``on_disk`` the module's ``folder_of`` tells the folder or
    file that the store has for itself. Where a place names no field, its options (``field``) or the store
    itself (``usual_field``) do; with ``namespaced`` a path without a namespace is in the one of its options.
    The schema of its options is in ``schemas/``."""

    module: str
    located_by: Mapping[str, Any]
    extra: str | None = None
    on_disk: bool = False
    usual_field: str | None = None
    namespaced: bool = False


_AWS = {"region": None, "profile": None, "endpoint_url": None, "role_arn": None, "prefix": None}
_STORES = {
    "age": StoreType("keyform.stores.age", {"path": ".keyform/secrets"}, on_disk=True),
    "aws-secrets-manager": StoreType("keyform.stores.aws_secrets_manager", _AWS, "aws"),
    "aws-ssm": StoreType("keyform.stores.aws_ssm", _AWS, "aws"),
    "dotenv": StoreType("keyform.stores.dotenv", {"file": ".env"}, "dotenv", on_disk=True),
    # What its commands work with, keyform cannot know.
    "exec": StoreType("keyform.stores.exec", {}),
    "github-actions": StoreType(
        "keyform.stores.github_actions",
        {
            "endpoint": "https://api.github.com",
            "repository": None,
            "environment": None,
            "organization": None,
            "app": "actions",
        },
        "github",
    ),
    "keyring": StoreType("keyform.stores.keyring_store", {"service": "keyform", "backend": None}, "keyring"),
    "pass": StoreType("keyform.stores.pass_store", {"path": None}, on_disk=True),
    "kubernetes": StoreType(
        "keyform.stores.kubernetes",
        {"kubeconfig": None, "context": None, "namespace": None},
        "kubernetes",
        namespaced=True,
    ),
    "onepassword": StoreType(
        "keyform.stores.onepassword", {"endpoint": None, "vault": None}, usual_field="credential"
    ),
    "vault": StoreType(
        "keyform.stores.vault",
        {"address": None, "namespace": None, "mount": "secret", "prefix": None},
        "vault",
        usual_field="value",
    ),
    "doppler": StoreType(
        "keyform.stores.doppler", {"endpoint": "https://api.doppler.com", "project": None, "config": None}
    ),
    "infisical": StoreType(
        "keyform.stores.infisical",
        {"endpoint": "https://app.infisical.com", "project_id": None, "environment": None},
    ),
    "azure-key-vault": StoreType("keyform.stores.azure_key_vault", {"vault_url": None}, "azure"),
    "gcp-secret-manager": StoreType(
        "keyform.stores.gcp_secret_manager",
        {"project": None, "location": None, "prefix": None, "endpoint": None},
        "gcp",
    ),
}
_STATES = {"local": "keyform.states.local"}


def load_config(
    folder: Path,
    clock: Clock,
    *,
    variables: Mapping[str, str] | None = None,
    var_files: Sequence[Path] = (),
    offline: bool = False,
) -> Config:
    """Read a configuration folder with every known type. Raises ``ConfigError``."""
    return load(
        folder,
        now=clock.now(),
        env=os.environ,
        variables=variables or {},
        var_files=var_files,
        profile_of=load_profile,
        store_types=_Types(_STORES, "keyform.stores"),
        state_types=_Types(_STATES, "keyform.states"),
        service_types=known_types(),
        check_place=_place_check(folder),
        folder_of=_folder_of,
        offline=offline,
    )


def _place_check(folder: Path) -> Callable[[StoreConfig, Place], Place]:
    """Name the place in full and ask the store itself, opened when the first place of it comes. One that
    cannot be opened (its credential may be missing here) is passed over; an apply opens it before it changes
    anything."""
    opened: dict[str, Store | None] = {}

    def check(declared: StoreConfig, place: Place) -> Place:
        if declared.name not in opened:
            opened[declared.name] = None
            with suppress(StoreError) if declared.known else suppress(StoreError, KeyError):
                opened[declared.name] = open_store(declared.name, declared.type, declared.options, folder)
        store = opened[declared.name]
        if store is not None:
            store.check(place)
        return _in_full(declared, place)

    return check


def _in_full(declared: StoreConfig, place: Place) -> Place:
    """The place with the field and the namespace that it leaves to its store. It goes by the options alone,
    so that it is the same on machines that cannot open the store."""
    built_in = _STORES.get(declared.type)
    if built_in is None:
        return place
    options = declared.options
    field = place.field or options.get("field", built_in.usual_field)
    namespace = options.get("namespace") if built_in.namespaced else None
    path = place.path if "/" in place.path or not namespace else f"{namespace}/{place.path}"
    return replace(place, path=path, field=field)


def _folder_of(declared: StoreConfig, folder: Path) -> Path | None:
    built_in = _STORES.get(declared.type)
    if built_in is None or not built_in.on_disk:
        return None
    try:
        module = _module_of(built_in, declared.type)
    except StoreError:  # told when the store is opened
        return None
    found: Path = module.folder_of(declared.options, folder, os.environ)
    return found


def open_store(name: str, type_name: str, options: Mapping[str, Any], folder: Path) -> Store:
    """Open the declared store ``name``. Does no I/O."""
    built_in = _STORES.get(type_name)
    if built_in is None:
        opener = _plugged("keyform.stores", type_name)
    else:
        opener = _module_of(built_in, type_name).open_store
    store: Store = opener(name, options, folder, os.environ)
    return store


def _module_of(built_in: StoreType, type_name: str) -> Any:
    try:
        return import_module(built_in.module)
    except ModuleNotFoundError as missing:
        if built_in.extra is None or (missing.name or "").partition(".")[0] == "keyform":
            raise
        raise StoreError(
            f"a store of type {type_name!r} needs the package {missing.name}, which is not installed",
            f"pip install 'keyform[{built_in.extra}]'",
        ) from None


def open_backend(type_name: str, options: Mapping[str, Any], folder: Path) -> StateBackend:
    """Open the declared state backend. Does no I/O."""
    built_in = _STATES.get(type_name)
    opener = import_module(built_in).open_backend if built_in else _plugged("keyform.states", type_name)
    backend: StateBackend = opener(options, folder)
    return backend


def store_whereabouts(type_name: str, options: Mapping[str, Any]) -> str:
    """Which store it is, in words without secrets: its type and the options that say where it is. Of a
    plug-in, those are all that hold plain text or a number."""
    built_in = _STORES.get(type_name)
    if built_in is None:
        known = {name: value for name, value in options.items() if isinstance(value, str | int)}
    else:
        known = {name: options.get(name, usual) for name, usual in built_in.located_by.items()}
    said = (f"{name}={value}" for name, value in sorted(known.items()) if value is not None)
    return " ".join([type_name, *said])


class _Types(Collection[str]):
    """The built-in types and those of plug-ins. To know the plug-ins, every installed package is read, so
    that is done only where a built-in name does not answer."""

    def __init__(self, built_in: Collection[str], group: str) -> None:
        self._built_in = built_in
        self._group = group

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in tuple(self)

    def __iter__(self) -> Iterator[str]:
        from importlib.metadata import entry_points

        return iter((*self._built_in, *(entry.name for entry in entry_points(group=self._group))))

    def __len__(self) -> int:
        return len(tuple(self))


def _plugged(group: str, type_name: str) -> Callable[..., Any]:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group=group, name=type_name)
    plugged: Callable[..., Any] = entry.load()
    return plugged
