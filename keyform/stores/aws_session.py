"""How the AWS stores reach AWS: the SDK's standard credential chain, bounded calls, errors in words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from keyform.stores.aws_errors import AwsError, explain
from keyform.stores.http_access import checked_address

_TALKATIVE = ("botocore.auth", "botocore.endpoint", "botocore.hooks", "botocore.parsers", "botocore.regions")
"""Loggers of the SDK that write whole requests and answers at DEBUG: secrets, and session tokens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take, in seconds, and how often the SDK tries it in its ``standard`` retry mode
    (throttled, 5xx, no connection), with waits of its own in between, 20 seconds at the most."""

    connect: float = 10
    answer: float = 30
    attempts: int = 5


class Aws:
    """One service of AWS (``secretsmanager``, ``ssm``) as the store named ``store`` uses it.

    ``options``: ``region``, ``profile``, ``endpoint_url``, ``insecure`` and ``role_arn``; what is not given
    is as the SDK finds it. Does no I/O before the first call. Raises ``StoreError`` for plain http to
    another machine unless ``insecure``; of an endpoint that the SDK finds (AWS_ENDPOINT_URL) at that call.
    """

    def __init__(self, store: str, service: str, options: Mapping[str, Any], limits: Limits) -> None:
        self._store = store
        self._service = service
        self._options = options
        self._limits = limits
        self._check_encrypted(options.get("endpoint_url"))
        self._once = threading.Lock()  # the SDK's sessions are not for several threads; its clients are
        self._client: Any = None

    def call(
        self, operation: str, resource: str, /, *, needs: str | None = None, **request: Any
    ) -> dict[str, Any]:
        """The answer to an operation such as ``PutSecretValue`` on ``resource``, a name without secrets;
        ``needs`` is what every such answer of AWS has. Raises
        :class:`~keyform.stores.aws_errors.AwsError`."""
        try:
            answer: dict[str, Any] = getattr(self._opened(), xform_name(operation))(**request)
            if needs is None or needs in answer:
                return answer
            problem = self._strange(operation, resource)
        except ResponseParserError:  # its text has the answer in it
            problem = self._strange(operation, resource)
        except (ClientError, BotoCoreError) as caught:
            problem = explain(self._store, self._service, operation, resource, self._region(), caught)
        except ValueError as caught:  # what the SDK says to an endpoint that is no URL
            problem = AwsError(
                f"Store {self._store!r} has an `endpoint_url` that the AWS SDK does not take: {caught}",
                "Write it in full, such as https://vpce-1.secretsmanager.eu-west-1.vpce.amazonaws.com.",
            )
        # Raised out here because an exception of the SDK may hold the request.
        raise problem

    def whereabouts(self) -> str:
        """Where the store is, in words. Once a call has gone through."""
        return f"{self._region()}" + (
            f" at {url}" if (url := self._options.get("endpoint_url")) is not None else ""
        )

    def close(self) -> None:
        """Let go of connections; the next call opens others."""
        with self._once:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _strange(self, operation: str, resource: str) -> AwsError:
        return AwsError(
            f"Store {self._store!r}: what answered {operation} of {resource} is not AWS",
            "Check `endpoint_url` where the store has one, and a proxy in between.",
        )

    def _region(self) -> str | None:
        return self._client.meta.region_name if self._client is not None else self._options.get("region")

    def _opened(self) -> Any:
        with self._once:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> Any:
        given, role_arn = self._options.get, self._options.get("role_arn")
        config = Config(
            connect_timeout=self._limits.connect,
            read_timeout=self._limits.answer,
            retries={"mode": "standard", "total_max_attempts": self._limits.attempts},
            max_pool_connections=32,
            user_agent_extra="keyform",
        )
        core = botocore.session.Session(profile=given("profile"))
        if role_arn:
            core.register_component("credential_provider", CredentialResolver([_Role(core, role_arn)]))
        session = boto3.Session(botocore_session=core, region_name=given("region"))
        client = session.client(self._service, endpoint_url=given("endpoint_url"), config=config)  # type: ignore[call-overload]
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_without_details)
        self._check_encrypted(client.meta.endpoint_url)
        return client

    def _check_encrypted(self, endpoint: str | None) -> None:
        if endpoint is not None and endpoint.lower().startswith("http://"):
            checked_address(self._store, endpoint, insecure=self._options.get("insecure") is True)


class _Role(CredentialProvider):
    """The credential of a role, taken on by what the standard chain finds."""

    METHOD = "assume-role"
    CANONICAL_NAME = "keyform-role"

    def __init__(self, core: botocore.session.Session, role_arn: str) -> None:
        super().__init__(core)
        self._role_arn = role_arn
        self._own = core.get_component("credential_provider")

    def load(self) -> DeferredRefreshableCredentials | None:
        """See the base class. None where there is no credential to take the role on with."""
        own = self._own.load_credentials()
        if own is None:
            return None
        fetcher = AssumeRoleCredentialFetcher(
            self.session.create_client, own, self._role_arn, extra_args={"RoleSessionName": "keyform"}
        )
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)


def _without_details(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
