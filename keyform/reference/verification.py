"""Who presents a key, and may they: the shared core behind management calls and verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .catalogue import Catalogue
from .credentials import Mint, lookup_of, same_text
from .limiter import Allowance, Limiter, RateLimit
from .records import Key, Project
from .refusal import Refusal
from .storage import Storage

# A key that is used many times a second is written once: last_used_at is exact to one second.
_LAST_USED_STEP_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the bearer of a key wants to do; None where it does not matter."""

    text: str = field(repr=False)
    scope: str | None = None
    origin: str | None = None
    project: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a management call: a key with its scopes, or the root token, which may do everything and has
    neither."""

    key_id: str | None
    scopes: frozenset[str] | None = field(default=None, compare=False)


class Verifier:
    """Checks credentials. clock: Unix time in seconds. Refusals come as Refusal."""

    def __init__(
        self,
        storage: Storage,
        mint: Mint,
        catalogue: Catalogue,
        clock: Callable[[], float],
        *,
        root_token: str,
        limit: RateLimit | None,
    ) -> None:
        self._storage = storage
        self._mint = mint
        self._catalogue = catalogue
        self._clock = clock
        self._root_token = root_token
        self._limit = limit
        self._limiter = Limiter(clock)

    def caller(self, credential: str) -> Caller:
        """Who holds this management credential; 401 or 403 when nobody does."""
        if same_text(credential, self._root_token):
            return Caller(None)
        key = self._find(credential)
        now = int(self._clock() * 1000)
        if key.status(now) == "expired":
            raise _unknown("The credential has expired; create a new one with the root token.")
        if key.kind != self._catalogue.manage_kind or self._catalogue.manage_scope not in key.scopes:
            kind, scope = self._catalogue.manage_kind, self._catalogue.manage_scope
            message = f"Management calls need a key of kind {kind} with the scope {scope}."
            raise Refusal(403, "insufficient_scope", message, details={"scope": scope})
        self._touch(key, now)
        return Caller(key.id, frozenset(key.scopes))

    def take(self, caller: Caller) -> Allowance | None:
        """Count one management call against its credential; None when the service has no limit."""
        if self._limit is None:
            return None
        limit = self._limit
        return self._limiter.take(caller, amount=limit.per_minute, per_seconds=60, burst=limit.burst)

    def verify(self, asked: Asked) -> tuple[Key, Allowance | None]:
        """The key, when it may do what is asked. A refusal carries the rate limit headers of the key."""
        key = self._find(asked.text)
        allowance = None
        if key.rate_limit is not None:
            amount, seconds = key.rate_limit
            allowance = self._limiter.take(key.id, amount=amount, per_seconds=seconds, burst=amount)
        refusal = refuse_over_limit(allowance) or self._refusal(key, asked)
        if refusal is not None:
            refusal.headers.update(allowance.headers() if allowance else {})
            raise refusal
        self._touch(key, int(self._clock() * 1000))
        return key, allowance

    def _find(self, text: str) -> Key:
        lookup = lookup_of(text)
        row = None
        if lookup is not None:
            rows = self._storage.fetch("SELECT * FROM keys WHERE lookup = ?", lookup)
            row = rows[0] if rows else None
        salt, digest = (row["salt"], row["digest"]) if row else (None, None)
        if not self._mint.matches(text, salt, digest) or row is None or row["revoked_at"] is not None:
            raise _unknown("This is not a valid key: it is unknown, malformed or revoked.")
        return Key.of(row)

    def _refusal(self, key: Key, asked: Asked) -> Refusal | None:
        if key.status(int(self._clock() * 1000)) == "expired":
            return Refusal(401, "expired", "The key has expired.")
        for name, wanted, actual in (
            ("environment", asked.environment, key.environment),
            # A key outside every project works for all of them.
            ("project", asked.project, key.project or asked.project),
        ):
            if wanted is not None and wanted != actual:
                message = f"The key does not reach the {name} {wanted!r}."
                return Refusal(403, "insufficient_scope", message, details={name: wanted})
        if asked.scope is not None and asked.scope not in key.scopes:
            message = f"The key does not hold the scope {asked.scope!r}."
            return Refusal(403, "insufficient_scope", message, details={"scope": asked.scope})
        if self._catalogue.kinds[key.kind].needs_origin and asked.origin not in self._origins(key):
            message = "The key may be used from its allowed origins only, named by the Origin header."
            return Refusal(403, "origin_not_allowed", message, details={"origin": asked.origin})
        return None

    def _origins(self, key: Key) -> tuple[str, ...]:
        if key.allowed_origins or key.project is None:
            return key.allowed_origins
        rows = self._storage.fetch("SELECT * FROM projects WHERE id = ?", key.project)
        return Project.of(rows[0]).allowed_origins

    def _touch(self, key: Key, now: int) -> None:
        if key.last_used_at is None or now >= key.last_used_at + _LAST_USED_STEP_MILLISECONDS:
            with self._storage.write() as connection:
                connection.execute(
                    "UPDATE keys SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?",
                    (now, key.id),
                )


def refuse_over_limit(allowance: Allowance | None) -> Refusal | None:
    """The 429 of an exhausted bucket, headers included."""
    if allowance is None or allowance.allowed:
        return None
    message = f"Too many requests; try again in {allowance.retry_after} s."
    return Refusal(429, "rate_limited", message, headers=allowance.headers())


def _unknown(message: str) -> Refusal:
    return Refusal(401, "invalid_api_key", message)
