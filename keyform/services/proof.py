"""Showing by a harmless call that a new secret works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from keyform.errors import Refused, ServiceError
from keyform.model import KeySpec, LiveKey, Secret
from keyform.profile import FORBIDDEN, Profile
from keyform.services.dialect import Operation
from keyform.services.fields import conditions
from keyform.services.http import Http

if TYPE_CHECKING:
    from keyform.services.rest import RestService

_STEPS = {
    401: "The new secret does not work: the service may need a moment, or gave out a wrong one.",
    403: "The secret is known but refused; for a public key check its allowed origins.",
    429: "The key's own rate limit refuses its first use; give it a higher one.",
}


def prove(
    service: RestService,
    operation: Operation,
    http: Http,
    secret: Secret,
    key: LiveKey,
    origins_of: Callable[[str], tuple[str, ...]] | None,
) -> str | None:
    """Make the proving call; the id that the answer names. None, without a call, for a key that the call
    cannot be made with. ``origins_of`` gives the origins of a project. Raises ``ServiceError``."""
    tree, doing = operation.tree, f"proving key {key.id}"
    if not _applies(tree.get("when", {}), key.spec):
        return None
    origin = _origin(service.profile, key, origins_of) if "origin" in operation.uses else None
    values = service.values(operation, key.spec, key.label)
    values |= {**service.parts_of(key.id), "secret": secret.reveal(), "origin": origin}
    shown_by = tree.get("auth", "key")
    if shown_by == "key" and not _fits_header(secret.reveal()):
        raise ServiceError(
            f"service {service.name!r}: {doing} failed: the secret does not fit into an HTTP header",
            "Check `create.secret` of the profile: it may not be where the answer has the secret.",
        )
    # The secret itself is what is tried: no credential, and the key's own rate limit counts.
    call = operation.call(
        service.name,
        doing,
        values,
        headers=_headers(service.profile, secret) if shown_by == "key" else {},
        managed=shown_by == "service",
        secret=secret,
        next_steps=_STEPS,
    )
    try:
        body = http.call(call).body
    except Refused as refused:
        if operation.done_already(refused):
            return None
        raise
    if operation.expects and not operation.expects(body):
        summary = f"service {service.name!r}: {doing} failed: the answer does not say that it works"
        if "refused_if" in tree and conditions(tree["refused_if"])(body):
            raise Refused(summary, _STEPS[401], status=200)
        raise ServiceError(summary, "Check that the service's `endpoint` is a key service.")
    if not service.names_keys(operation):
        return None
    proved = service.told_id(operation, doing, body)
    if proved is None:
        raise ServiceError(
            f"service {service.name!r}: {doing} failed: the answer does not say whose secret it is",
            "Check `prove.id` of the profile: it says where the answer names the key.",
        )
    return proved


def _applies(when: Mapping[str, Any], spec: KeySpec) -> bool:
    """Whether a proof is possible for this key: its kind is one of ``kinds``, it has one of ``scopes``."""
    kinds, scopes = when.get("kinds"), when.get("scopes")
    return (kinds is None or spec.kind in kinds) and (scopes is None or bool(set(scopes) & set(spec.scopes)))


def _fits_header(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _headers(profile: Profile, secret: Secret) -> dict[str, str]:
    """How the new key shows itself: by ``key_auth``, else as a credential does."""
    auth = profile.rest.get("key_auth") or profile.rest.get("auth") or {}
    auth = next(iter(auth["choices"].values())) if "choices" in auth else auth
    value = auth.get("value", "Bearer {credential}")
    return {auth.get("header", "Authorization"): value.replace("{credential}", secret.reveal())}


def _origin(
    profile: Profile, key: LiveKey, origins_of: Callable[[str], tuple[str, ...]] | None
) -> str | None:
    """An origin that a key may be used from, or None for a key that is not bound to any."""
    if key.spec.allowed_origins:
        return key.spec.allowed_origins[0]
    kind = profile.kinds.get(key.spec.kind or "")
    if key.spec.project is None or kind is None or kind.origins == FORBIDDEN or origins_of is None:
        return None
    origins = origins_of(key.spec.project)
    return origins[0] if origins else None
