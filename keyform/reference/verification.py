"""Who presents a key, and may they: the shared core behind management calls and verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .catalogue import Catalogue
from .credentials import Mint, same_text
from .limiter import Allowance, Limiter, RateLimit
from .records import Key, Project
from .refusal import Refusal
from .storage import Row, Storage

# A key that is used many times a second is written once: last_used_at is exact to one second.
_LAST_USED_STEP_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the bearer of a key wants to do; None where it does not matter.

    permit: a service's own rule, which may raise Refusal; it is looked at before all that stands here.
    """

    text: str = field(repr=False)
    scope: str | None = None
    origin: str | None = None
    project: str | None = None
    environment: str | None = None
    permit: Callable[[Key], None] | None = None


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
        root_token: str | None,
        limit: RateLimit | None = None,
        key_limit: RateLimit | None = None,
    ) -> None:
        """root_token: None where only keys are verified. limit: of each management credential.
        key_limit: of each key that has none of its own."""
        self._storage = storage
        self._mint = mint
        self._catalogue = catalogue
        self._clock = clock
        self._root_token = root_token
        self._limit = limit
        self._key_limit = key_limit
        self._limiter = Limiter(clock)
        # When each key was last looked up, for services that believe a key for a while.
        self._looked_up: dict[str, int] = {}
        self._cache_milliseconds = catalogue.cache_seconds * 1000
        self._last_used_step = max(_LAST_USED_STEP_MILLISECONDS, self._cache_milliseconds)

    def caller(self, credential: str) -> Caller:
        """Who holds this management credential; 401 or 403 when nobody does."""
        if self._root_token is not None and same_text(credential, self._root_token):
            return Caller(None)
        key = self._find(credential)
        now = int(self._clock() * 1000)
        if key.status(now) == "expired":
            raise _unknown("The credential has expired; create a new one with the root token.")
        kind, scope = self._catalogue.manage_kind, self._catalogue.manage_scope
        if kind is None:
            message = "A key cannot manage keys; use the management credential."
            raise Refusal(403, "insufficient_scope", message)
        if key.kind != kind or scope not in key.scopes:
            message = f"Management calls need a key of kind {kind} with the scope {scope}."
            raise Refusal(403, "insufficient_scope", message, details={"scope": scope})
        self._touch(key, now)
        limited = self._catalogue.project_scope is not None
        return Caller(key.id, frozenset(key.scopes) if limited else None)

    def take(self, caller: Caller) -> Allowance | None:
        """Count one management call against its credential; None when the service has no limit."""
        if self._limit is None:
            return None
        limit = self._limit
        return self._limiter.take(caller, amount=limit.per_minute, per_seconds=60, burst=limit.burst)

    def verify(self, asked: Asked) -> tuple[Key, Allowance | None]:
        """The key, when it may do what is asked. A refusal carries the rate limit headers of the key."""
        key = self._find(asked.text)
        allowance = self._take_of_key(key)
        refusal = refuse_over_limit(allowance) or self._refusal(key, asked)
        if refusal is not None:
            refusal.headers.update(allowance.headers() if allowance else {})
            raise refusal
        self._touch(key, int(self._clock() * 1000))
        return key, allowance

    def _find(self, text: str) -> Key:
        lookup = self._mint.lookup(text)
        row = None
        if lookup is not None:
            rows = self._storage.fetch("SELECT * FROM keys WHERE lookup = ?", lookup)
            row = rows[0] if rows else None
        salt, digest = (row["salt"], row["digest"]) if row else (None, None)
        now = int(self._clock() * 1000)
        if not self._mint.matches(text, salt, digest) or row is None or not self._believed(row, now):
            message = "This is not a valid key: it is unknown, malformed or revoked."
            raise Refusal(401, "malformed_api_key", message) if lookup is None else _unknown(message)
        return Key.of(row)

    def _believed(self, row: Row, now: int) -> bool:
        """Whether the key is unrevoked, or was so when it was last looked up a short while ago."""
        looked_up = self._looked_up.get(row["id"])
        if looked_up is not None and looked_up <= now < looked_up + self._cache_milliseconds:
            return True
        if row["revoked_at"] is not None:
            return False
        if self._cache_milliseconds:
            self._looked_up[row["id"]] = now
        return True

    def _take_of_key(self, key: Key) -> Allowance | None:
        if key.rate_limit is not None:
            amount, seconds = key.rate_limit
            return self._limiter.take(key.id, amount=amount, per_seconds=seconds, burst=amount)
        if self._key_limit is None:
            return None
        limit = self._key_limit
        return self._limiter.take(key.id, amount=limit.per_minute, per_seconds=60, burst=limit.burst)

    def _refusal(self, key: Key, asked: Asked) -> Refusal | None:
        if key.status(int(self._clock() * 1000)) == "expired":
            return Refusal(401, "expired", "The key has expired.")
        if asked.permit is not None:
            try:
                asked.permit(key)
            except Refusal as refusal:
                return refusal
        for name, wanted, actual in (
            ("environment", asked.environment, key.environment),
            # A key outside every project works for all of them.
            ("project", asked.project, key.project or asked.project),
        ):
            if wanted is not None and wanted != actual:
                message = f"The key does not reach the {name} {wanted!r}."
                return Refusal(403, "insufficient_scope", message, details={name: wanted})
        unlimited = self._catalogue.scopes_optional and not key.scopes
        if asked.scope is not None and asked.scope not in key.scopes and not unlimited:
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
        if key.last_used_at is None or now >= key.last_used_at + self._last_used_step:
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
