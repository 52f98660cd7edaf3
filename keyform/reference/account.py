"""What a dialect is built from: the data, credential, clock and limits of one account at one service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from .catalogue import Catalogue
from .credentials import LOOKUP_FORMAT, KeyFormat, Mint
from .limiter import RateLimit
from .service import KeyService
from .storage import Storage
from .verification import Verifier


@dataclass(frozen=True, slots=True)
class Options:
    """What the accounts at the vendors' services have bought or chosen.

    millimetric_plan: Pro is needed for /mcp, Business for ak keys.
    revkeen_plan: decides on the rate limit of every key. revkeen_errors: which of its two envelopes it uses.
    devtune_plan: without Plus, the API is closed. devtune_per_minute: the rate limit of every key.
    unkey_root_keys: root keys by their text, besides the root token, each with the permissions it holds,
    such as `api.*.read_key`; the root token holds all.
    """

    millimetric_plan: Literal["free", "pro", "business"] = "business"
    revkeen_plan: Literal["starter", "growth", "enterprise"] = "enterprise"
    revkeen_errors: Literal["nested", "flat"] = "nested"
    devtune_plan: Literal["basic", "plus"] = "plus"
    devtune_per_minute: Literal[100, 500, 1000] = 1000
    unkey_root_keys: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)


def choices() -> dict[str, tuple[Any, ...]]:
    """The options that have a choice of values, and the values."""
    return {
        name: get_args(hint) for name, hint in get_type_hints(Options).items() if name != "unkey_root_keys"
    }


def options_of(texts: Iterable[str]) -> Options:
    """Options from texts like `millimetric_plan=free`. Raises ValueError that says what may be written."""
    known, given = choices(), {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise ValueError(f"there is no option {name!r}; options: {', '.join(known)}")
        values = {str(choice): choice for choice in known[name]}
        if value not in values:
            raise ValueError(f"{name} is none of {', '.join(values)}")
        given[name] = values[value]
    return Options(**given)


@dataclass(frozen=True, slots=True)
class Account:
    """One account. clock: Unix time in seconds. limit: of each management credential, None for the service's
    own rule."""

    storage: Storage
    pepper: bytes = field(repr=False)
    root_token: str = field(repr=False)
    clock: Callable[[], float]
    limit: RateLimit | None
    options: Options

    def core(
        self,
        catalogue: Catalogue,
        key_format: KeyFormat = LOOKUP_FORMAT,
        *,
        key_limit: RateLimit | None = None,
        limit: RateLimit | None = None,
        root: bool = True,
    ) -> tuple[KeyService, Verifier]:
        """Keys and their verification under a dialect's catalogue and key format.

        limit: of each management credential unless the account has one. root: whether the root token is a
        management credential as it stands.
        """
        mint = Mint(self.pepper, key_format)
        verifier = Verifier(
            self.storage,
            mint,
            catalogue,
            self.clock,
            root_token=self.root_token if root else None,
            limit=self.limit or limit,
            key_limit=key_limit,
        )
        return KeyService(self.storage, mint, catalogue, self.clock), verifier

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)
