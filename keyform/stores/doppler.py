"""Doppler: a place is a secret of one config, by its name.

The calls are those of Doppler's API reference, https://docs.doppler.com/reference: secrets-get,
secrets-list_names and secrets-update (with ``change_requests``); its page ``api`` tells of tokens and rate
limits. What a refusal's body looks like is in Doppler's own clients (github.com/DopplerHQ/cli,
pkg/http/http.go, and github.com/DopplerHQ/terraform-provider-doppler, doppler/api.go). Limits are those of
https://docs.doppler.com/docs/platform-limits, names those of https://docs.doppler.com/docs/secrets.
"""

from __future__ import annotations

import re
import secrets as _random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.http import Answer, Rest, Said
from keyform.stores.http_access import Bearer, checked_address, credential, missing
from keyform.stores.http_failures import Refused
from keyform.stores.over import allow, allow_deletion

ENDPOINT, TOKEN = "https://api.doppler.com", "DOPPLER_TOKEN"
LARGEST = 50 * 1024
"""Bytes of a value."""

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,199}\Z")
_TURNS, _REFUSALS = 10, 3
_MANAGED = ("DOPPLER_PROJECT", "DOPPLER_ENVIRONMENT", "DOPPLER_CONFIG")
_ADVICE = {
    401: f"Give a valid token as `token` or in {TOKEN}: it may have expired or been revoked.",
    403: "Grant the token read and write of this config: docs/stores/doppler.md says how.",
    404: "Check `project` and `config`, and that the token may see them.",
}


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> DopplerStore:
    """The store that a configuration declares. Options: ``project``, ``config``, ``endpoint``, ``token``
    (default: DOPPLER_TOKEN, which Doppler's own tools read), ``insecure``. Does no I/O. Raises
    ``StoreError``."""
    token = credential(name, options, env, "token", TOKEN)
    if token is None:
        raise missing(name, "token", TOKEN)
    insecure = options.get("insecure") is True
    endpoint = checked_address(name, options.get("endpoint", ENDPOINT), insecure=insecure)
    return DopplerStore(name, endpoint, token, options["project"], options["config"])


def _said(answer: Answer) -> Said:
    """Reads ``messages``, and when a request may be sent again (``data``)."""
    body = answer.body
    if not isinstance(body, dict):
        return Said()
    messages, data = body.get("messages"), body.get("data")
    again = data.get("isRetryableAfterSec") if isinstance(data, dict) else None
    if isinstance(data, dict) and data.get("isRetryable") is True:
        again = 0.5
    return Said(
        "; ".join(map(str, messages)) if isinstance(messages, list) else "",
        again=float(again) if isinstance(again, int | float) else None,
    )


class DopplerStore:
    """A :class:`~keyform.ports.Store` over the secrets of one config."""

    readable = True

    def __init__(
        self,
        name: str,
        endpoint: str,
        token: Secret,
        project: str,
        config: str,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._where = f"the config {config} of the project {project}"
        self._params = {"project": project, "config": config}
        self._seen = False
        self._credential = Bearer(token)
        self._rest = Rest(name, endpoint, _said, _ADVICE, timeout=timeout, transport=transport, sleep=sleep)

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        path = place.path
        if place.field is not None:
            why = "its secrets have no fields"
            do = f"Give it a name of its own, such as {_usual(f'{path}_{place.field}')}."
        elif path in _MANAGED:
            why, do = "Doppler fills this one in itself", "Choose another name."
        elif not _NAME.match(path):
            why = "a name has A to Z, digits and _ alone, no digit at its start, and at most 200 signs"
            do = f"Write it like {_usual(path)}." if _NAME.match(_usual(path)) else "Choose another name."
        else:
            return
        raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. The API does not tell what else a token may do."""
        count = self._names()
        return (
            f"the {count} secrets of {self._where} can be seen; "
            "whether they can be written shows with the first write"
        )

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = Place(self.name, f"KEYFORM_CANARY_{_random.token_hex(8).upper()}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._where}",
                "Check that nothing rewrites secrets there, then try again.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. Doppler numbers no secrets, and its notes belong to all
        environments of a project, so that they are no place for labels."""
        return None if self.get(place) is None else Held()

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. GET /v3/configs/config/secret."""
        self.check(place)
        params = {**self._params, "name": place.path}
        answer = self._rest.call(
            "GET",
            "/v3/configs/config/secret",
            f"read {place}",
            self._credential,
            params=params,
            accept=(404,),
        )
        if answer.status == 404:
            if not self._seen:  # the same answer as for a project or a config that is not there
                self._names()
            return None
        value = answer.body.get("value")
        told = value if isinstance(value, dict) else {}
        raw = told.get("raw")
        if raw is None and told.get("rawVisibility") == "restricted":
            raise StoreError(
                f"Store {self.name!r} may not read {place}: its visibility is restricted",
                "Use a service account's token or a service token, or make the secret `masked`.",
            )
        return Secret(raw) if isinstance(raw, str) and version is None else None

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A value that is to be replaced goes along as ``originalValue``,
        so that Doppler itself refuses where it has changed. ``labels`` are left out."""
        self.check(place)
        self._check_value(place, secret)

        def write(present: Secret | None) -> None:
            if present == secret:
                return
            allow(self.name, place, over, present)
            change: dict[str, Any] = {
                "name": place.path,
                "originalName": None if present is None else place.path,
                "value": secret.reveal(),
            }
            if present is not None and over != ANYTHING:
                change["originalValue"] = present.reveal()
            self._change(change, f"write {place}", secret)

        self._attempt(place, write)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        change = {"name": place.path, "originalName": place.path, "value": None, "shouldDelete": True}

        def erase(present: Secret | None) -> None:
            if present is not None:
                allow_deletion(self.name, place, over, present)
                known = {} if over == ANYTHING else {"originalValue": present.reveal()}
                self._change({**change, **known}, f"delete {place}")

        self._attempt(place, erase)

    def _attempt(self, place: Place, act: Callable[[Secret | None], None]) -> None:
        """Run ``act`` on the present value; again after a refusal, since the value may have changed meanwhile
        (even away and back), or the answer to this very request was lost. A refusal that comes again and
        again over the same value is one of what was asked."""
        present, refused = self.get(place), 0
        for _ in range(_TURNS):
            try:
                return act(present)
            except Refused:
                now = self.get(place)
                refused = refused + 1 if now == present else 0
                if refused == _REFUSALS:
                    raise
                present = now
        return act(present)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._rest.close()

    def _change(self, change: Mapping[str, Any], doing: str, secret: Secret | None = None) -> None:
        """POST /v3/configs/config/secrets."""
        body = {**self._params, "change_requests": [change]}
        self._rest.call(
            "POST", "/v3/configs/config/secrets", doing, self._credential, body=body, secret=secret
        )

    def _names(self) -> int:
        """How many secrets there are. GET /v3/configs/config/secrets/names."""
        doing = f"see {self._where}"
        answer = self._rest.call(
            "GET", "/v3/configs/config/secrets/names", doing, self._credential, params=self._params
        )
        self._seen = True
        return len(answer.body.get("names") or ())

    def _check_value(self, place: Place, secret: Secret) -> None:
        text = secret.reveal()
        size = len(text.encode(errors="surrogatepass"))
        if size > LARGEST:
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: a value has at most {LARGEST:,} bytes",
                "Keep it in another store.",
            )
        if "${" in text:
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: it holds ${{, which begins a reference there",
                "Keep it in another store: whoever reads it from Doppler would get something else.",
            )


def _usual(text: str) -> str:
    return re.sub("[^A-Z0-9_]", "_", text.upper())
