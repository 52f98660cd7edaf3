"""Key services: what keyform knows of each type, and clients that speak to them.

``type: embedded`` is the reference service in this process. With an ``endpoint`` the same type means
the same contract over HTTP: `keyform serve`, or a broker of one's own. It is one type and not two
because the rules are the same; moving from the one to the other must not change a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from keyform.errors import ConfigError
from keyform.model import Secret
from keyform.options import endpoint_fault
from keyform.ports import Clock, Desk, Service
from keyform.profile import ASSISTED, CONTRACT, Profile
from keyform.services.endpoint import (
    check_credential,
    check_endpoint,
    check_options,
    is_host_of,
    is_loopback,
    refuse_vendor_host,
)
from keyform.services.plugged import plugged

if TYPE_CHECKING:
    import httpx

    from keyform.services.authority import Authority

DATA = ".keyform/service"
"""Where the embedded service keeps its data, relative to the configuration, without a ``path``."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a service is opened with; given to an ``implementation`` beside the client that the profile
    describes. ``options`` hold the defaults too."""

    name: str
    profile: Profile
    base_url: str
    credential: Secret | None
    options: Mapping[str, Any]
    folder: Path
    clock: Clock


def service_whereabouts(
    type_text: str,
    profile: Profile,
    *,
    mode: str | None,
    endpoint: str | None,
    options: Mapping[str, Any],
) -> str:
    """Which service it is, in words without secrets: its type and where that is (its endpoint, its data
    folder, or a person's dashboard), with the options that choose among what lies there."""
    if mode == ASSISTED:
        return f"{type_text} by hand"
    at = endpoint or profile.base_url or str(options.get("path", DATA))
    chosen = "".join(f", {name} {options[name]}" for name in profile.locating if name in options)
    return f"{type_text} at {at.rstrip('/')}{chosen}"


def open_service(
    name: str,
    type_text: str,
    *,
    profile: Profile,
    endpoint: str | None,
    credential: Secret | None,
    options: Mapping[str, Any],
    folder: Path,
    clock: Clock,
    mode: str | None = None,
    desk: Desk | None = None,
    wrap_transport: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
) -> Service:
    """A client of the service that the configuration calls ``name``.

    ``options``: as ``Profile.service_options`` says. ``mode``: as the configuration says, see
    ``Profile.under``; under ``assisted`` the person at ``desk`` does everything but a documented proof and,
    with a credential, documented calls for origins. ``wrap_transport`` puts something between the client and
    the network. Nothing is sent yet. Raises ``ConfigError`` for a service that cannot be opened as declared,
    and ``ServiceError`` where the embedded service cannot use its folder.
    """
    if mode is not None and profile.one_per_kind:
        raise ConfigError(
            f"service {name!r}: {profile.title} are managed by their own calls alone, and take no `mode`",
            profile.cite("mode") or "Remove `mode`.",
        )
    if mode == ASSISTED:
        if desk is None:
            raise ConfigError(
                f"service {name!r}: assisted mode needs a person, and this command has no way to ask one",
                "Give the service an `endpoint`, or run it where assisted services are supported.",
            )
        from keyform.services.assisted import open_assisted

        options = check_options(name, profile, options)
        authority = _authority(name, profile, credential, options, clock) if credential is not None else None
        return open_assisted(name, profile, desk, authority, options, clock, wrap_transport)
    profile = profile.under(mode)
    embedded = type_text == "embedded" and endpoint is None
    options = check_options(name, profile, options)
    if embedded:
        if credential is not None:
            raise ConfigError(
                f"service {name!r} has a credential but no endpoint",
                "Add the `endpoint` it is for, or remove it: the embedded service needs none.",
            )
        address = ""
    else:
        address = _address(name, profile, endpoint, mode, insecure=options.get("insecure") is True)

    from keyform.services.dialect import error_reader, operations_of
    from keyform.services.http import Http
    from keyform.services.limits import LimitHeaders
    from keyform.services.rest import RestService
    from keyform.services.transport import network_transport

    transport: httpx.BaseTransport
    if embedded:
        from keyform.services.embedded import ADDRESS, open_embedded

        address = ADDRESS
        transport, credential = open_embedded(name, folder / str(options.get("path", DATA)), clock)
        authority = _authority(name, profile, credential, options, clock)
    else:
        authority = _authority(name, profile, credential, options, clock)
        transport = network_transport(address)
    if wrap_transport is not None:
        transport = wrap_transport(transport)
    limits = LimitHeaders.of(profile.rest.get("rate_limit_headers", {}))
    http = Http(
        name,
        address,
        authority,
        clock,
        transport,
        error_reader(profile),
        limits=limits,
        prefixes=profile.prefixes,
    )
    service = RestService(name, profile, operations_of(profile), http, clock, options)
    if profile.implementation is None:
        return service
    opening = Opening(name, profile, address, credential, options, folder, clock)
    return plugged(profile.implementation, service, opening)


def _address(name: str, profile: Profile, endpoint: str | None, mode: str | None, *, insecure: bool) -> str:
    """Where the calls go. What a vendor does not document never goes to that vendor."""
    undocumented = sorted(op for op, how in profile.operations.items() if how == CONTRACT)
    if "create" not in profile.operations or not {"revoke", "reroll"} & profile.operations.keys():
        raise ConfigError(
            f"service {name!r}: the keys of {profile.title} are made by hand, in its dashboard",
            "Add `mode: assisted`, or an `endpoint` with `mode: contract`.",
        )
    if endpoint is None and (fault := endpoint_fault(name, profile)) is not None:
        raise ConfigError(fault.summary, fault.detail)
    address = check_endpoint(name, endpoint or profile.base_url or "", insecure=insecure)
    if undocumented:
        refuse_vendor_host(name, profile, address, undocumented)
    if endpoint is not None and not is_loopback(urlsplit(address).hostname or ""):
        _refuse_other_vendors(name, profile, address)
    return address


def _refuse_other_vendors(name: str, profile: Profile, address: str) -> None:
    """A service's calls go to no other vendor that keyform knows: that one documents none of them."""
    from keyform.services.profiles import known_types, load_profile

    if is_host_of(profile, address):
        return
    for vendor in (load_profile(known, Path()) for known in known_types()):
        if vendor is not None and is_host_of(vendor, address):
            host = urlsplit(address).hostname
            raise ConfigError(
                f"service {name!r}: {host} is {vendor.title}'s, which documents none of the calls of "
                f"{profile.short_name}",
                "Check `type` and `endpoint`. A profile of your own says with `base_url` where its calls go.",
            )


def _authority(
    name: str, profile: Profile, credential: Secret | None, options: Mapping[str, Any], clock: Clock
) -> Authority:
    from keyform.services.authority import Login, Static
    from keyform.services.dialect import contract_tree
    from keyform.services.templates import placeholders

    auth: Mapping[str, Any] = profile.rest.get("auth") or contract_tree()["auth"]
    login = auth.get("login")
    if "choices" in auth:
        auth = auth["choices"][options.get("auth", next(iter(auth["choices"])))]
    header, value = auth.get("header", "Authorization"), auth.get("value", "Bearer {credential}")
    if credential is not None:
        check_credential(name, credential)
    if login is not None:
        needed = [field.partition(".")[2] for field in placeholders(login) if field.startswith("options.")]
        missing = [option for option in needed if option not in options]
        if not missing:
            return Login(name, header, value, credential, login, options, clock)
        if credential is None:
            raise ConfigError(
                f"service {name!r} has neither a credential nor all that a login needs",
                'Add credential: "${env:NAME}", or ' + ", ".join(f"`{option}`" for option in missing) + ".",
            )
    if credential is None:
        raise ConfigError(
            f"service {name!r} has an endpoint but no credential",
            'Add credential: "${env:NAME}" with the name of the variable that holds it.',
        )
    renewing = "Put a new one where the service's `credential` comes from."
    if login is not None:
        fields = " and ".join(f"`{option}`" for option in needed)
        renewing += f" With {fields} keyform fetches one itself, and again when it ends."
    return Static(name, header, value, credential, clock, renewing)
