"""Calls to Azure Key Vault through its SDK: bounded, retried, and their failures in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from keyform.errors import StoreError
from keyform.stores.quoting import quoted

_T = TypeVar("_T")
_CONNECT = 10  # seconds
_LONGEST_PAUSE = 5  # seconds
_QUOTED = 300  # characters: the first ones say what is wrong, the others where to read about it
_METHODS = frozenset(("GET", "PUT", "PATCH", "POST", "DELETE"))
_LOGIN = (
    "Run `az login`, set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or "
    "AZURE_FEDERATED_TOKEN_FILE), or run where there is a managed identity."
)
_ROLE = (
    "Grant the credential Key Vault Secrets Officer, or the smaller role of docs/stores/azure-key-vault.md."
)


class _Retries(RetryPolicy[Any, Any]):
    """The SDK's own retries, of all that keyform calls (each call can be repeated), with pauses that a
    Retry-After cannot stretch; what the last attempt said is told, rather than that time was up."""

    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        settings = super().configure_retries(options)
        return {**settings, "methods": _METHODS, "until": time.monotonic() + settings["timeout"]}

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, _LONGEST_PAUSE)

    def increment(
        self, settings: dict[str, Any], response: Any = None, error: Exception | None = None
    ) -> bool:
        again = super().increment(settings, response, error)
        return again and time.monotonic() + self.get_backoff_time(settings) < settings["until"]


class Calls:
    """The SDK's client, made when the first call needs it, with the default credential chain of Azure.
    ``timeout`` seconds bound each call, its repetitions included (one answer may take as long again)."""

    def __init__(self, store: str, vault_url: str, timeout: float) -> None:
        self._store = store
        self._vault_url = vault_url
        self._timeout = timeout
        self._client: SecretClient | None = None
        self._credential: DefaultAzureCredential | None = None
        self._opening = threading.Lock()

    def __call__(self, verb: str, what: object, call: Callable[[SecretClient], _T]) -> _T:
        """Do ``call`` with the client; ``verb`` and ``what`` are for the message. Lets answers 404 and 409
        through (``HttpResponseError``), and 403 where it is about the secret's own state, which the store
        answers itself; raises ``StoreError`` for everything else."""
        try:
            return call(self._open())
        except HttpResponseError as refused:
            if refused.status_code in (404, 409) or reason(refused) == "SecretDisabled":
                raise
            raise self.told(f"could not {verb} {what}", refused) from None
        except (AzureError, ValueError) as failed:
            raise self.told(f"could not {verb} {what}", failed) from None

    def told(self, what: str, problem: Exception) -> StoreError:
        """A failure of the SDK in words, with what to do."""
        said = _said(problem)
        match problem:
            case ClientAuthenticationError():
                do = f"The credential is missing, expired or revoked. {_LOGIN}"
            case HttpResponseError(status_code=403) if "firewall" in reason(problem).lower():
                do = "Let this machine through the firewall of the vault, or use its private endpoint."
            case HttpResponseError(status_code=403):
                do = _ROLE
            case HttpResponseError(status_code=429):
                do = "The vault is throttled. Wait a minute, or lower --parallelism, then run it again."
            case ServiceResponseError():
                said = f"no answer within {self._timeout:g} seconds"
                do = "Check the network, then run it again; `timeout` of the store allows more."
            case ServiceRequestError():
                do = "Check `vault_url`, the network and a proxy (HTTPS_PROXY), then run it again."
            case ValueError():
                do = "Check that `vault_url` is the address of a Key Vault."
            case _:
                do = "The vault's answer says what is wrong; correct it, then run it again."
        return StoreError(f"Store {self._store!r} {what} in {self._vault_url}: {said}", do)

    def close(self) -> None:
        """Let go of connections."""
        with self._opening:
            for opened in (self._client, self._credential):
                if opened is not None:
                    opened.close()
            self._client = self._credential = None

    def _open(self) -> SecretClient:
        with self._opening:
            if self._client is None:
                connect = min(_CONNECT, self._timeout)
                self._credential = DefaultAzureCredential(
                    connection_timeout=connect, read_timeout=self._timeout, retry_total=2
                )
                self._client = SecretClient(
                    self._vault_url,
                    self._credential,
                    retry_policy=_Retries(
                        retry_total=6,
                        retry_connect=2,
                        retry_read=1,
                        retry_status=6,
                        retry_backoff_max=_LONGEST_PAUSE,
                        timeout=self._timeout,
                    ),
                    connection_timeout=connect,
                    read_timeout=self._timeout,
                    logging_enable=False,  # it would log bodies
                )
            return self._client


def reason(refused: HttpResponseError) -> str:
    """The innermost code of the vault's answer, such as ``ObjectIsDeletedButRecoverable``."""
    inner = refused.error.innererror if refused.error else None
    return str((inner or {}).get("code") or (refused.error.code if refused.error else "") or "")


def _said(problem: Exception) -> str:
    error = problem.error if isinstance(problem, HttpResponseError) else None
    text = (error.message if error else None) or str(problem)
    return quoted(text[:_QUOTED])
