"""Calls to Vault or OpenBao: bounded, repeated where that may help, and their failures told in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import hvac
import requests
from hvac.exceptions import Forbidden, RateLimitExceeded, Unauthorized, VaultError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from keyform.errors import StoreError
from keyform.masking import masked
from keyform.stores.vault_login import Credentials, Session

_T = TypeVar("_T")

_CONNECT = 10.0
"""Seconds that a connection may take."""

_RETRIES = Retry(
    total=4,
    connect=2,
    read=1,
    other=0,  # a certificate that is not trusted will not be next time either
    # Not yet caught up with a write (412), a quota (429), a proxy without its server. 503 is a sealed server.
    status_forcelist=(412, 429, 502, 504),
    allowed_methods=None,  # writes are check-and-set, so that repeating one cannot do harm
    backoff_factor=0.2,
    backoff_jitter=0.2,
    respect_retry_after_header=False,  # it may ask for hours
    raise_on_status=False,
)


CANARY = "keyform-canary-"
"""What the names of canaries begin with; the rest is another one each time."""


class Denied(StoreError):
    """The token is good, and may not do this."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a policy must allow: ``capabilities`` on ``path``."""

    path: str
    capabilities: tuple[str, ...]

    def __str__(self) -> str:
        named = ", ".join(f'"{capability}"' for capability in self.capabilities)
        path = re.sub(f"{CANARY}[0-9a-f]+$", f"{CANARY}*", self.path)
        return f'path "{path}" {{ capabilities = [{named}] }}'


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is and how it is known: ``ca_file`` are certificates to trust instead of the usual
    ones, ``client`` a certificate and its key. ``timeout`` is in seconds."""

    address: str
    namespace: str | None = None
    ca_file: str | None = None
    client: tuple[str, str] | None = None
    timeout: float = 30.0


class _NoDetours(requests.Session):
    """Follows only what a standby node answers: the same request, at the active one, no less encrypted."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp) if resp.status_code in (307, 308) else None
        downgraded = resp.url.startswith("https:") and (target or "").startswith("http:")
        return None if downgraded else target


class VaultClient:
    """One store's way to its server. Safe to use from several threads."""

    def __init__(self, store: str, server: Server, credentials: Credentials) -> None:
        self._store = store
        self._server = server
        self._http = _NoDetours()
        self._http.verify = server.ca_file or True
        self._http.cert = server.client
        for scheme in ("https://", "http://"):
            self._http.mount(scheme, HTTPAdapter(pool_maxsize=64, max_retries=_RETRIES))
        self._hvac = hvac.Client(
            url=server.address,
            token="",
            timeout=(min(_CONNECT, server.timeout), server.timeout),  # type: ignore[arg-type]  # goes to requests
            session=self._http,
            namespace=server.namespace,
        )
        self._session = Session(store, self._hvac, credentials)

    @property
    def who(self) -> str:
        """How keyform shows who it is, for messages."""
        return self._session.who

    @property
    def namespace(self) -> str | None:
        """The namespace that every request names."""
        return self._server.namespace

    @property
    def address(self) -> str:
        """The server's address."""
        return self._server.address

    @property
    def where(self) -> str:
        """The server, for messages."""
        space = self._server.namespace
        return self._server.address + (f" (namespace {space})" if space else "")

    def call(self, doing: str, act: Callable[[hvac.Client], _T], grant: Grant | None = None) -> _T:
        """What ``act`` returns. ``doing`` completes "could not"; ``grant`` is what it takes. Raises
        ``StoreError`` for everything that hvac raises."""
        try:
            token = self._session.token()
            try:
                return act(self._hvac)
            except Forbidden:
                if not self._session.refused(token):
                    raise
                return act(self._hvac)
        except (Forbidden, Unauthorized) as denied:
            problem = self._problem(f"permission denied{self._reason(denied)}", doing, self._allow(grant))
            raise Denied(problem.diagnostics) from None
        except VaultError as refusal:
            raise self._told(doing, refusal) from None
        except OSError as silence:  # requests' exceptions are, and files of certificates are read late
            raise self._unheard(doing, silence) from None
        except (KeyError, TypeError, ValueError):
            raise self.odd(doing) from None

    def odd(self, doing: str) -> StoreError:
        """The error for an answer that Vault would not give."""
        return self._problem(
            "what answered does not speak as Vault or OpenBao do",
            doing,
            "Check `address`; a proxy or a login page may stand in front of the server.",
        )

    def close(self) -> None:
        """End what was begun. More than one call is no error."""
        self._session.close()
        self._http.close()

    def _problem(self, what: str, doing: str, detail: str) -> StoreError:
        return StoreError(f"Store {self._store!r} could not {doing} at {self.where}: {what}", detail)

    def _allow(self, grant: Grant | None) -> str:
        if grant is None:
            return f"Check the policies of {self.who}."
        return f"A policy of {self.who} has to say: {grant}"

    def _reason(self, problem: VaultError) -> str:
        said = ", ".join(problem.errors or ()) if isinstance(problem.errors, list) else ""
        said = masked(" ".join(said.split()), self._session.known)[:300]
        return f" ({said})" if said and "permission denied" not in said else ""

    def _told(self, doing: str, problem: VaultError) -> StoreError:
        if isinstance(problem, RateLimitExceeded):
            return self._problem(
                "it takes no more requests now: a rate limit quota is used up",
                doing,
                "Wait and run keyform again, with a smaller --parallelism, or have the quota raised.",
            )
        said = self._reason(problem)
        if "too large" in said or "exceed" in said:
            return self._problem(f"the value is too large for it{said}", doing, "Store less at this path.")
        return self._condition(doing) or self._problem(
            f"it answered with an error{said}", doing, "Look into the server's log, then run keyform again."
        )

    def health(self) -> Mapping[str, Any]:
        """What the server says of itself as a whole; nothing where it says nothing. Raises nothing."""
        asked = "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200&drsecondarycode=200"
        try:
            told = self._http.get(
                f"{self._server.address.rstrip('/')}/v1/sys/health?{asked}", timeout=_CONNECT
            ).json()
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _condition(self, doing: str) -> StoreError | None:
        """What the server says is wrong with itself as a whole."""
        health = self.health()
        try:
            sealed, begun, standby = health["sealed"], health["initialized"], health["standby"]
        except KeyError:
            return None
        if not begun:
            return self._problem(
                "it is not initialized",
                doing,
                "Initialize and unseal it (`vault operator init`), or check `address`.",
            )
        if sealed:
            return self._problem(
                "it is sealed",
                doing,
                "Have it unsealed (`vault operator unseal`), then run keyform again; it goes on from here.",
            )
        if standby:
            return self._problem(
                "this node is on standby and does not reach an active one",
                doing,
                "Wait for the cluster to choose a leader, or give `address` the name of the whole cluster.",
            )
        return None

    def _unheard(self, doing: str, problem: OSError) -> StoreError:
        inner = getattr(problem.args[0], "reason", None) if problem.args else None
        if isinstance(problem, requests.exceptions.SSLError):
            return self._problem(
                "its certificate is not trusted",
                doing,
                "Give `ca_file` (or VAULT_CACERT) the certificate of the authority that issued it.",
            )
        if isinstance(problem, requests.Timeout) or isinstance(inner, ReadTimeoutError):
            return self._problem(
                f"no answer came within {self._server.timeout:g} seconds",
                doing,
                "Check the server's load and the network; `timeout_seconds` may be raised.",
            )
        if isinstance(problem, ValueError):
            return self._problem(
                "the request cannot be sent as it is",
                doing,
                "Check `address` and `namespace` for odd characters.",
            )
        if isinstance(problem, requests.RequestException):
            return self._problem(
                "it cannot be reached", doing, "Check `address`, the network, and that the server runs."
            )
        return self._problem(
            "a file of certificates cannot be read", doing, "Check `ca_file`, `client_cert` and `client_key`."
        )
