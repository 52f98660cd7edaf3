"""Calls to Google Secret Manager through its SDK: bounded, retried, and their failures in words."""

from __future__ import annotations

import logging
import threading
from typing import Any

import grpc
from google.api_core import exceptions as failures
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import secretmanager_v1
from google.cloud.secretmanager_v1.services.secret_manager_service import transports

from keyform.errors import StoreError
from keyform.stores.quoting import quoted

LOGIN = (
    "Set GOOGLE_APPLICATION_CREDENTIALS to a key file or a workload identity configuration, or run "
    "`gcloud auth application-default login`."
)
_NO_CREDENTIAL = "Getting metadata from plugin failed"
"""How grpc words that the credential could not be refreshed; it reports that as "unavailable"."""


_TELLTALES = (
    *(f"{transports.__name__}.{kind}" for kind in ("grpc", "grpc_asyncio", "rest", "rest_base")),
    *(f"google.auth.transport.{kind}" for kind in ("requests", "urllib3", "_http_client")),
)
"""Loggers to which the SDK tells whole requests at DEBUG: payloads, tokens."""


class _Silence(logging.Filter):
    """Lets nothing through. Unlike a level, GOOGLE_SDK_PYTHON_LOGGING_SCOPE does not set it anew."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


_SILENCE = _Silence()
for _name in _TELLTALES:
    logging.getLogger(_name).addFilter(_SILENCE)


def _worth_repeating(problem: BaseException) -> bool:
    throttled = isinstance(problem, failures.ResourceExhausted)
    away = isinstance(problem, failures.ServiceUnavailable) and _NO_CREDENTIAL not in str(problem)
    return throttled or away


class Calls:
    """The SDK's client, made when the first call needs it, with Application Default Credentials; of an
    ``endpoint`` that begins with ``http://`` (an emulator) without any. ``timeout`` seconds bound each call,
    its repetitions included."""

    def __init__(self, store: str, endpoint: str | None, timeout: float) -> None:
        self._store = store
        self._endpoint = endpoint
        self._timeout = timeout
        self._retry = Retry(
            predicate=_worth_repeating, initial=0.25, maximum=5.0, multiplier=2.0, timeout=timeout
        )
        self._client: Any = None
        self._opening = threading.Lock()

    def __call__(self, verb: str, what: object, method: str, request: dict[str, Any]) -> Any:
        """Call ``method``; ``verb`` and ``what`` are for the message. Lets ``NotFound``, ``AlreadyExists``,
        ``FailedPrecondition`` and ``Aborted`` through, which the store answers itself; raises ``StoreError``
        for everything else."""
        try:
            return self._open(method)(request=request, retry=self._retry, timeout=self._timeout)
        except failures.RetryError as given_up:
            problem: Exception = given_up.cause if isinstance(given_up.cause, Exception) else given_up
        except (failures.GoogleAPICallError, GoogleAuthError) as failed:
            problem = failed
        if isinstance(
            problem,
            failures.NotFound | failures.AlreadyExists | failures.FailedPrecondition | failures.Aborted,
        ):
            raise problem
        raise self.told(f"could not {verb} {what}", problem) from None

    def told(self, what: str, problem: Exception) -> StoreError:
        """A failure of the SDK in words, with what to do."""
        said = problem.message if isinstance(problem, failures.GoogleAPICallError) else str(problem)
        match problem:
            case failures.PermissionDenied():
                do = (
                    "Grant the credential roles/secretmanager.admin on the project, or the smaller role of "
                    "docs/stores/gcp-secret-manager.md."
                )
            case TransportError():
                do = "The credential is to be had from a server that does not answer: check the network."
            case failures.Unauthenticated() | GoogleAuthError():
                do = f"The credential is missing, expired or revoked. {LOGIN}"
            case failures.ServiceUnavailable() if _NO_CREDENTIAL in said:
                do = f"The credential is expired or revoked. {LOGIN}"
            case failures.ServiceUnavailable():
                do = "Check the network, a proxy (HTTPS_PROXY) and `endpoint`, then run it again."
            case failures.DeadlineExceeded():
                said = f"no answer within {self._timeout:g} seconds"
                do = "Check the network, then run it again; `timeout` of the store allows more."
            case failures.ResourceExhausted():
                do = "The project's quota is used up. Wait a minute, lower --parallelism, or raise the quota."
            case _:
                do = "Google's answer says what is wrong; correct it, then run it again."
        return StoreError(f"Store {self._store!r} {what}: {quoted(said)}", do)

    def close(self) -> None:
        """Let go of the connection."""
        with self._opening:
            client, self._client = self._client, None
        if client is not None:
            client.transport.close()

    def _open(self, method: str) -> Any:
        with self._opening:
            if self._client is None:
                self._client = _client(self._endpoint)
            return getattr(self._client, method)


def _client(endpoint: str | None) -> secretmanager_v1.SecretManagerServiceClient:
    if endpoint is not None and endpoint.startswith("http://"):
        channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
        return secretmanager_v1.SecretManagerServiceClient(
            transport=transports.SecretManagerServiceGrpcTransport(channel=channel)
        )
    return secretmanager_v1.SecretManagerServiceClient(
        client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None
    )
