"""Calls to a Kubernetes API server, and what is said where they fail."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration

from keyform.errors import StoreError
from keyform.stores.quoting import quoted

CONNECT, ANSWER = 10.0, 30.0  # seconds
OK, CREATED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 201, 401, 403, 404, 409
_BUSY = (429, 500, 502, 503, 504)
_CONNECTION = re.compile(r"\AHTTPS?Connection(Pool)?\([^)]*\): ")
_HANDLED = (OK, CREATED, NOT_FOUND, CONFLICT)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the credential comes from: a kubeconfig (one path, or several as in ``KUBECONFIG``) and the
    context in it (None: its current one), or the service account of the pod where ``kubeconfig`` is None."""

    kubeconfig: str | None
    context: str | None = None

    def __str__(self) -> str:
        if self.kubeconfig is None:
            return "the pod's service account"
        return (
            f"{f'context {self.context!r}' if self.context else 'the current context'} of {self.kubeconfig}"
        )

    @property
    def advice(self) -> str:
        """What to do where it gives no credential."""
        if self.kubeconfig is None:
            return "See that the pod mounts its service account's token (`automountServiceAccountToken`)."
        return (
            "See that `kubectl auth whoami` works with the same kubeconfig and context, and check "
            "`kubeconfig` and `context` in the store's options."
        )

    def load(self) -> Configuration:
        """Read the credential, running the context's exec plugin where it has one. Raises
        ``ConfigException``, ``OSError`` and what else the client lets through."""
        loaded = Configuration()
        if self.kubeconfig is None:
            config.load_incluster_config(client_configuration=loaded)
        else:
            config.load_kube_config(self.kubeconfig, self.context, client_configuration=loaded)
        # They are read anew when the server refuses them: by one thread, and not by each on its own.
        loaded.refresh_api_key_hook = None
        return loaded


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: the HTTP status and the JSON object, a ``Status`` where it said no."""

    status: int
    body: Mapping[str, Any] = field(repr=False)

    @property
    def message(self) -> str:
        text = self.body.get("message")
        return quoted(text) if isinstance(text, str) and text else f"it answered {self.status}"

    @property
    def contested(self) -> tuple[tuple[str, str], ...]:
        """Of a refused server-side apply: the fields that other managers own, and what is said of each."""
        causes = (self.body.get("details") or {}).get("causes") or ()
        return tuple(
            (quoted(str(cause.get("field"))), quoted(str(cause.get("message"))))
            for cause in causes
            if cause.get("reason") == "FieldManagerConflict"
        )


class Cluster:
    """An API server as the store named ``store`` uses it. Connects with the first call. ``connect`` and
    ``answer`` are the seconds that each attempt of a call may take for that. There are four at most, after
    pauses that begin with ``pause`` seconds and double."""

    def __init__(
        self,
        store: str,
        access: Access,
        *,
        connect: float = CONNECT,
        answer: float = ANSWER,
        pause: float = 1.0,
    ) -> None:
        self._store = store
        self._access = access
        self._timeouts = (connect, answer)
        self._pause = pause
        self._once = threading.Lock()
        self._client: ApiClient | None = None

    def call(
        self,
        doing: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: str = "application/json",
        query: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """One request. ``doing`` says what for, as in "could not …". An absent object (404) and a conflict
        (409) are answers; anything else that is no success raises ``StoreError``."""
        client = self._connected(doing, None)
        answer = self._send(client, doing, method, path, body, content, query)
        if answer.status == UNAUTHORIZED:
            # It may have expired, and a fresh one lie in its file or come from the plugin.
            client = self._connected(doing, client)
            answer = self._send(client, doing, method, path, body, content, query)
        if answer.status in _HANDLED:
            return answer
        raise self._refused(doing, answer)

    def failed(self, doing: str, why: str, do: str) -> StoreError:
        """What is raised where ``doing`` did not work."""
        return StoreError(f"Store {self._store!r} could not {doing}: {why}", do)

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.rest_client.close()

    def _connected(self, doing: str, stale: ApiClient | None) -> ApiClient:
        with self._once:
            if self._client is None or self._client is stale:
                self._client = self._open(doing)
            return self._client

    def _open(self, doing: str) -> ApiClient:
        problem = ""
        with _complaints() as said:
            try:
                loaded = self._access.load()
            except Exception as failure:  # the client lets through whatever a file or a plugin leads it to
                problem = str(failure)
        # The client only logs that an exec plugin failed, and would go on as nobody.
        problem = problem or "; ".join(said)
        if problem:
            raise self.failed(
                doing,
                f"no credential could be had from {self._access}: {quoted(problem)}",
                self._access.advice,
            )
        loaded.retries = urllib3.Retry(
            total=3,
            read=1,
            connect=1,
            redirect=0,
            status_forcelist=_BUSY,
            allowed_methods=None,  # every write here says which version it replaces, so it can be repeated
            backoff_factor=self._pause / 2,  # the first repetition of all comes at once
            raise_on_status=False,
            respect_retry_after_header=False,  # it may ask for hours
        )
        return ApiClient(loaded)

    def _send(
        self,
        client: ApiClient,
        doing: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        content: str,
        query: tuple[tuple[str, str], ...],
    ) -> Answer:
        headers = {"Accept": "application/json", "Content-Type": content}
        request = client.param_serialize(
            method, path, None, list(query), headers, body, auth_settings=["BearerToken"]
        )
        problem: Exception
        try:
            response = client.call_api(*request, _request_timeout=self._timeouts)
            data, status = response.read(), response.status
        except urllib3.exceptions.HTTPError as failure:
            problem = getattr(failure, "reason", None) or failure
        except ApiException as failure:
            problem = failure.reason or failure
        except OSError as failure:
            problem = failure
        else:
            try:
                told = json.loads(data)
            except ValueError:
                told = None
            return Answer(status, told if isinstance(told, dict) else {})
        raise self.failed(
            doing,
            f"no answer from {client.configuration.host}: {quoted(_CONNECTION.sub('', str(problem)))}",
            f"Check the network, the proxy and the server's certificate. It is the server of {self._access}.",
        )

    def _refused(self, doing: str, answer: Answer) -> StoreError:
        if answer.status == UNAUTHORIZED or "system:anonymous" in answer.message:
            why = f"the cluster does not accept the credential of {self._access}: {answer.message}"
            do = f"It has expired or was withdrawn. Sign in again. {self._access.advice}"
        elif answer.status == FORBIDDEN:
            why = answer.message
            do = "If a right is missing, bind the role that docs/stores/kubernetes.md shows."
        elif answer.status in _BUSY:
            why = f"the cluster is busy or failing: {answer.message}"
            do = "Run it again in a while."
        else:
            why = answer.message
            do = "Nothing was written. Check the place, and `type`, `labels` and `annotations` of the store."
        return self.failed(doing, why, do)


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What this thread logs to the root logger itself, as the client does about exec plugins. (With no
    handler there, it would install one for the whole process.)"""
    said: list[str] = []
    thread = threading.get_ident()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "root" and record.thread == thread:
                said.append(record.getMessage())

    collect = Collect(logging.ERROR)
    logging.getLogger().addHandler(collect)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(collect)


def find_access(
    kubeconfig: str | None, context: str | None, folder: Path, env: Mapping[str, str], home: Path
) -> Access:
    """What kubectl would use: the named kubeconfig (from ``folder`` or ``~/``), else ``$KUBECONFIG``, else
    the pod's service account where there is one and no context is named, else ``~/.kube/config``."""
    if kubeconfig:
        path = home / kubeconfig[2:] if kubeconfig.startswith("~/") else folder / kubeconfig
        return Access(str(path), context)
    if env.get("KUBECONFIG"):
        return Access(env["KUBECONFIG"], context)
    if env.get("KUBERNETES_SERVICE_HOST") and not context:
        return Access(None)
    return Access(str(home / ".kube" / "config"), context)
