"""From a folder to a :class:`Config`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, replace
from datetime import datetime, timedelta
from pathlib import Path
from posixpath import normpath
from types import MappingProxyType
from typing import Any

from keyform.acceptance import Acceptance
from keyform.config.acceptances import Acceptances
from keyform.config.addresses import Addresses
from keyform.config.changes import Changes
from keyform.config.configuration import Config, ServiceConfig, StateConfig, StoreConfig
from keyform.config.defaults import Values, read_defaults, report_unused
from keyform.config.interpolate import Interpolator
from keyform.config.keys import Keys
from keyform.config.merge import Merged, merge
from keyform.config.merge import Path as NodePath
from keyform.config.overlap import FolderOf, report_overlaps
from keyform.config.places import CheckPlace
from keyform.config.projects import Projects
from keyform.config.read import config_files
from keyform.config.rules import ServiceRules
from keyform.config.schedule import read_schedule, report_short_lives
from keyform.config.schema import check
from keyform.config.sections import ProfileOf, Sections, digestible
from keyform.config.variables import Variables, read_var_files
from keyform.diagnostics import Diagnostic, error
from keyform.documents.locate import Sources, diagnostics_of
from keyform.documents.parse import collector_paused, parse
from keyform.documents.problems import MOST_PROBLEMS, Problems, Spot, TooManyProblems
from keyform.documents.read import read_text
from keyform.documents.sensitive import is_sensitive
from keyform.errors import ConfigError
from keyform.model import Desired, DesiredKey, Place, digest
from keyform.profile import looks_like_profile

_WITH_CREDENTIALS = frozenset({"services", "stores", "state", "variables"})


def load(
    folder: Path,
    *,
    now: datetime,
    env: Mapping[str, str],
    variables: Mapping[str, str] = MappingProxyType({}),
    var_files: Sequence[Path] = (),
    profile_of: ProfileOf,
    store_types: Collection[str],
    state_types: Collection[str],
    service_types: Collection[str],
    check_place: Callable[[StoreConfig, Place], Place],
    folder_of: FolderOf,
    offline: bool = False,
) -> Config:
    """Read, merge and check every ``*.yaml`` and ``*.yml`` file of ``folder``.

    ``variables`` win over ``var_files``, a later var file over an earlier one, both over defaults.
    ``profile_of`` gives the profile of a service type, None if there is none. ``check_place`` gives a place
    its full name and raises ``StoreError`` for one that its store cannot hold; ``folder_of`` gives the
    folder of a store that keeps files, else None. With ``offline`` an unset environment variable, or a
    variable without a value, is a warning, and the fields that need it are left out. Locations name files
    relative to ``folder``. Raises :class:`ConfigError` with every diagnostic of all files, sorted by place.
    """
    problems = Problems()
    texts: dict[str, str] = {}
    config: Config | None = None
    limit: tuple[Diagnostic, ...] = ()
    try:
        with collector_paused():
            trees = _read(folder, var_files, texts, problems)
            refused: dict[str, set[NodePath]] = {
                file: check(tree, file, problems) for file, tree in trees.items()
            }
            merged = merge(trees, refused, problems)
            given = dict(read_var_files(var_files, texts, problems))
            given.update({name: (text, None) for name, text in variables.items()})
            worked_out = Variables(
                merged.variables, given, env, problems, offline=offline, incomplete=merged.incomplete
            )
            fill = Interpolator(env, worked_out.values(), problems, offline=offline)
            sections = Sections(fill, problems)
            state = sections.state(merged, state_types)
            stores = sections.stores(merged, store_types)
            services = sections.services(merged, folder, profile_of, service_types)
            usable = {name: store for name, store in stores.items() if store.type in store_types}

            def held(place: Place) -> Place:
                return check_place(usable[place.store], place) if place.store in usable else place

            desired, used, accepted = _desired(merged, services, fill, problems, now, held)
            schedule = read_schedule(merged, Values(problems))
            report_short_lives(desired.keys, schedule, problems)
            report_overlaps(merged, usable, used, folder, folder_of, problems)
            sources = Sources(texts, problems.broken_files, _holds_credential)
            config = Config(
                folder=folder,
                state=state,
                services=MappingProxyType(services),
                stores=MappingProxyType(stores),
                desired=desired,
                digest="" if problems.any_error else _digest(state, services, stores, desired, schedule),
                diagnostics=(),
                sources=sources,
                schedule=schedule,
                accepted=accepted,
            )
    except TooManyProblems:
        sources = Sources(texts, problems.broken_files, _holds_credential)
        summary = f"there are more than {MOST_PROBLEMS:,} errors; these are the first"
        limit = (error("too-many-errors", summary, "Mend these, and run keyform again."),)
    diagnostics = diagnostics_of(problems, sources) + limit
    if config is None or problems.any_error:
        raise ConfigError(diagnostics)
    return replace(config, diagnostics=diagnostics)


def _desired(
    merged: Merged,
    services: Mapping[str, ServiceConfig],
    fill: Interpolator,
    problems: Problems,
    now: datetime,
    check_place: CheckPlace,
) -> tuple[Desired, set[str], tuple[Acceptance, ...]]:
    """What the configuration declares, which stores its keys use, and what the audit is to accept."""
    values = Values(problems)
    defaults = read_defaults(merged, fill, values, problems)
    rules = {
        name: ServiceRules(service, problems, merged.services[name].at())
        for name, service in services.items()
    }
    projects = Projects(merged, rules, fill, problems)
    builder = Keys(merged, rules, projects, defaults, fill, values, problems, now, check_place)
    keys = builder.desired()
    if keys and not problems.any_error:
        report_unused(defaults, problems)
    addresses = Addresses(merged, builder.addresses, fill, problems)
    changes = Changes(merged, addresses, problems)
    desired = Desired(keys, projects.desired(), changes.imports(), changes.moves(), changes.removals())
    accepted = Acceptances(merged, addresses, problems).read()
    return desired, builder.places.stores, accepted


def _read(
    folder: Path, var_files: Sequence[Path], texts: dict[str, str], problems: Problems
) -> dict[str, Any]:
    """The documents of the folder's files by name, without empty files and profiles that services use."""
    trees: dict[str, Any] = {}
    found: dict[str, Problems] = {}
    elsewhere = {path.resolve() for path in var_files}
    for path in config_files(folder, problems):
        if path.resolve() in elsewhere:
            continue
        text = read_text(path, path.name, problems)
        if text is None:
            continue
        texts[path.name] = text
        found[path.name] = Problems()
        tree = parse(text, path.name, found[path.name])
        if tree is not None:
            trees[path.name] = tree
    named = _local_profiles(trees)
    for name, its in found.items():
        if name in named and not _declares_services(trees.get(name)):  # its service reads it, as a profile
            trees.pop(name, None)
        elif looks_like_profile(trees.get(name)):
            trees.pop(name)
            problems.error(
                "unused-profile",
                Spot(name, 1, 1),
                f"{name} looks like the profile of a service, and no service has it as its type",
                f"Write `type: ./{name}` in a service, or move the file to another folder.",
            )
        else:
            problems.absorb(its)
    if texts and not trees and not problems.any_error:
        problems.error(
            "no-config",
            Spot(next(iter(texts)), 1, 1),
            "the configuration is empty",
            "Run `keyform init` in an empty folder to see a first one.",
        )
    return trees


def _holds_credential(path: tuple[str, ...]) -> bool:
    return path[0] in _WITH_CREDENTIALS and len(path) > 1 and is_sensitive(path[-1])


def _declares_services(tree: object) -> bool:
    return isinstance(tree, dict) and "services" in tree


def _local_profiles(trees: Mapping[str, Any]) -> set[str]:
    names: set[str] = set()
    for tree in trees.values():
        services = tree.get("services") if isinstance(tree, dict) else None
        for body in services.values() if isinstance(services, dict) else ():
            kind = body.get("type") if isinstance(body, dict) else None
            if isinstance(kind, str):
                names.add(normpath(kind))
    return names


def _digest(
    state: StateConfig,
    services: Mapping[str, ServiceConfig],
    stores: Mapping[str, StoreConfig],
    desired: Desired,
    schedule: timedelta | None,
) -> str:
    return digest(
        [
            [state.backend, digestible(state.options)],
            {
                s.name: [s.type, s.mode, s.endpoint, _seconds(s.stale_after), digestible(s.options)]
                for s in services.values()
            },
            {s.name: [s.type, digestible(s.options)] for s in stores.values()},
            sorted(_key_digest(key) for key in desired.keys),
            sorted([p.address, p.service, p.id, list(p.allowed_origins)] for p in desired.projects),
            sorted([i.address, i.id] for i in desired.imports),
            sorted([m.before, m.after] for m in desired.moves),
            sorted([r.address, r.revoke] for r in desired.removals),
            _seconds(schedule),
        ]
    )


def _key_digest(key: DesiredKey) -> tuple[Any, ...]:
    spec, rotation, rate = key.spec, key.rotation, key.spec.rate_limit
    credits = spec.credits
    return (
        key.address,
        key.service,
        spec.kind,
        spec.environment,
        spec.project,
        spec.name,
        spec.description,
        spec.scopes,
        spec.allowed_origins,
        spec.expires_at and spec.expires_at.isoformat(),
        rate and (rate.limit, rate.per_seconds),
        credits and (credits.remaining, credits.refill and astuple(credits.refill)),
        spec.metadata,
        [(place.store, place.path, place.field, place.on_revoke) for place in key.places],
        _seconds(key.expires_in),
        rotation
        and [
            _seconds(span)
            for span in (
                rotation.every,
                rotation.before_expiry,
                rotation.overlap,
                rotation.revoke_when_unused_for,
                rotation.revoke_within,
            )
        ],
        key.owner,
        key.tags,
        key.protect,
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
