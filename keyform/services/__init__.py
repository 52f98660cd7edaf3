"""Key services: what keyform knows of each type, and clients that speak to them.

``type: embedded`` is the reference service in this process. With an ``endpoint`` the same type means
the same contract over HTTP: `keyform serve`, or a broker of one's own. It is one type and not two
because the rules are the same; moving from the one to the other must not change a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyform.errors import ConfigError
from keyform.model import Secret
from keyform.ports import Clock, Service
from keyform.profile import CONTRACT, Profile
from keyform.services.endpoint import check_credential, check_endpoint

if TYPE_CHECKING:
    import httpx

DATA = ".keyform/service"
"""Where the embedded service keeps its data, relative to the configuration, without a ``path``."""


def service_whereabouts(type_text: str, endpoint: str | None, options: Mapping[str, Any]) -> str:
    """Which service it is, in words without secrets: its type, and its endpoint or its data folder."""
    at = endpoint.rstrip("/") if endpoint is not None else str(options.get("path", DATA))
    return f"{type_text} at {at}"


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
    wrap_transport: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
) -> Service:
    """A client of the service that the configuration calls ``name``.

    ``options``: ``insecure`` (allow plain http to another machine) and, for the embedded service,
    ``path`` (its data folder, relative to ``folder``). ``wrap_transport`` puts something between the
    client and the network. Nothing is sent yet. Raises ``ConfigError`` for a service that cannot be
    opened as declared, and ``ServiceError`` where the embedded service cannot use its folder.
    """
    foreign = sorted(operation for operation, backing in profile.operations.items() if backing != CONTRACT)
    if foreign:
        raise ConfigError(
            f"service {name!r}: type {type_text!r} is not backed by the key-service contract for: "
            + ", ".join(foreign),
            "This version of keyform speaks the contract only.",
        )
    if endpoint is not None:
        endpoint = check_endpoint(name, endpoint, insecure=options.get("insecure") is True)
        if credential is None:
            raise ConfigError(
                f"service {name!r} has an endpoint but no credential",
                'Add credential: "${env:NAME}" with the name of the variable that holds it.',
            )
        check_credential(name, credential)
    elif type_text != "embedded":
        raise ConfigError(
            f"service {name!r} has no endpoint", "Add the address of the service as `endpoint: https://…`."
        )
    elif credential is not None:
        raise ConfigError(
            f"service {name!r} has a credential but no endpoint",
            "Add the `endpoint` it is for, or remove it: the embedded service needs none.",
        )

    from keyform.services import wire
    from keyform.services.contract import ContractService
    from keyform.services.http import Http, network_transport

    transport: httpx.BaseTransport
    if endpoint is not None:
        transport = network_transport(endpoint)
    else:
        from keyform.services.embedded import ADDRESS, open_embedded

        endpoint = ADDRESS
        transport, credential = open_embedded(name, folder / str(options.get("path", DATA)), clock)
    if wrap_transport is not None:
        transport = wrap_transport(transport)
    prefixes = tuple(sorted({kind.prefix for kind in profile.kinds.values()}))
    http = Http(name, endpoint, credential, clock, transport, wire.error_envelope, prefixes=prefixes)
    return ContractService(name, profile, http)
