"""Google Secret Manager: each place is a secret, each write a version of it.

What keyform knows of a secret is in its annotations: the labels of the last write, and the numbers of the
versions that keyform wrote. The service has no conditional write of a value, but a conditional change of
annotations (by ``etag``). So a writer first claims the next version number there, and only then adds the
version: of several keyforms one goes first. A version that somebody else added in between shows by its
number; then theirs is made the latest again.
"""

from __future__ import annotations

import re
import secrets as _random
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.api_core.exceptions import NotFound

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.canary import keeps
from keyform.stores.flat_names import FlatNames
from keyform.stores.gcp_calls import Calls
from keyform.stores.gcp_secrets import Secrets
from keyform.stores.over import allow, allow_deletion, taken

LARGEST = 65_536  # bytes, by https://cloud.google.com/secret-manager/quotas
NAMES = FlatNames(
    re.compile(r"[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*"),
    "__",
    255,
    "Use letters, digits, - and single _ inside; / becomes __ there. An example: prod/revkeen/checkout.",
)
_LOOPBACK = re.compile(r"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?/?\Z")


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> GoogleSecretManagerStore:
    """The store that a configuration declares.

    Options: ``project``, ``location`` (of regional secrets), ``prefix`` (of every secret's name),
    ``replicas`` (``location`` and perhaps ``kms_key`` of each; automatic replication unless given),
    ``kms_key``, ``endpoint``, ``timeout`` (seconds, default 30). Does no I/O. Raises ``StoreError``.
    """
    endpoint = options.get("endpoint")
    location = options.get("location")
    replicas = options.get("replicas", ())
    if endpoint and endpoint.startswith("http://") and not _LOOPBACK.match(endpoint):
        raise StoreError(
            f"Store {name!r} would send secrets in clear text to {endpoint}",
            "Only an emulator on this machine may be spoken to by http. Leave `http://` out.",
        )
    if replicas and (location or options.get("kms_key")):
        raise StoreError(
            f"Store {name!r} has `replicas` beside `location` or `kms_key`",
            "A regional secret has no replicas, and each of `replicas` has a `kms_key` of its own.",
        )
    if env.get("GRPC_TRACE"):
        raise StoreError(
            f"Store {name!r} is not opened while GRPC_TRACE is set: grpc would print every secret",
            "Unset GRPC_TRACE.",
        )
    if endpoint is None and location is not None:
        endpoint = f"secretmanager.{location}.rep.googleapis.com"
    parent = f"projects/{options['project']}" + (f"/locations/{location}" if location else "")
    return GoogleSecretManagerStore(
        name,
        parent,
        Calls(name, endpoint.rstrip("/") if endpoint else None, options.get("timeout", 30)),
        prefix=options.get("prefix", ""),
        made_as=_made_as(location, replicas, options.get("kms_key")),
    )


def _made_as(location: str | None, replicas: Any, kms_key: str | None) -> dict[str, Any]:
    """How new secrets are kept: the fields of a Secret that say so."""

    def under(key: str | None) -> dict[str, Any]:
        return {"customer_managed_encryption": {"kms_key_name": key}} if key else {}

    if location:
        return under(kms_key)
    if replicas:
        each = [{"location": replica["location"], **under(replica.get("kms_key"))} for replica in replicas]
        return {"replication": {"user_managed": {"replicas": each}}}
    return {"replication": {"automatic": under(kms_key)}}


class GoogleSecretManagerStore:
    """A :class:`~keyform.ports.Store` over the secrets of a Google Cloud project. ``patience``: seconds for
    which another keyform's claim is waited for; then it is taken to have died."""

    readable = True

    def __init__(
        self,
        name: str,
        parent: str,
        calls: Calls,
        *,
        prefix: str = "",
        made_as: Mapping[str, Any],
        patience: float = 5,
    ) -> None:
        self.name = name
        self._parent = parent
        self._call = calls
        self._prefix = prefix
        self._secrets = Secrets(name, parent, calls, made_as)
        self._patience = patience

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        NAMES.name(self.name, place, self._prefix)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for a secret that does not exist: who may not gets another
        answer than who may. Whether secrets may be made shows only by making one."""
        missing = f"{self._parent}/secrets/{self._prefix}keyform-canary-{_random.token_hex(8)}"
        for method, request in (
            ("get_secret", {"name": missing}),
            ("access_secret_version", {"name": f"{missing}/versions/latest"}),
            ("list_secret_versions", {"parent": missing}),
            ("destroy_secret_version", {"name": f"{missing}/versions/1"}),
            ("delete_secret", {"name": missing}),
        ):
            with suppress(NotFound):
                self._call(f"ask ({method}) for a secret in", self._parent, method, request)
        return f"secrets of {self._parent} can be read and deleted; an apply proves first that it can write"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        place = Place(self.name, f"keyform-canary-{_random.token_hex(8)}")
        if not keeps(self, place):
            raise StoreError(
                f"Store {self.name!r} gave back something else than was written to {self._parent}",
                "Check that nothing else writes secrets there whose names begin with keyform-canary.",
            )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`."""
        found = self._secrets.find(place, self._name(place))
        return None if found is None or found.value is None else Held(str(found.latest), found.labels)

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Versions are numbers; destroyed and disabled ones are gone."""
        name = self._name(place)
        if version is None:
            return self._secrets.latest(place, name)[1]
        return self._secrets.version(place, name, version) if version.isdigit() else None

    def put(
        self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING
    ) -> str | None:
        """See :class:`~keyform.ports.Store`. Of several keyforms, one writes at a time; of other writers see
        the module."""
        name = self._name(place)
        data = secret.reveal().encode()
        if not 0 < len(data) <= LARGEST:
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: the value has {len(data):,} bytes",
                f"Google Secret Manager takes 1 to {LARGEST:,}. Keep this one in another store.",
            )
        held, claimed = self._claim(place, name, secret, labels, over)
        if held:
            return str(claimed)
        number = self._secrets.add(place, name, data)
        if number != claimed:
            self._after_others(place, name, secret, labels, over, claimed, number)
        return str(number)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A secret that keyform made goes whole; of another, the latest
        version and those that keyform wrote are destroyed, and the rest stays."""
        name = self._name(place)
        for _ in self._rounds(place):
            found = self._secrets.find(place, name)
            if found is None:
                return
            allow_deletion(self.name, place, over, found.value)
            live = self._secrets.live(place, name)
            doomed = live & {*found.ours, found.latest}
            if found.made_by_us and doomed == live:
                if self._secrets.delete(place, name, found):
                    return
                continue
            for number in sorted(doomed):
                self._secrets.destroy(place, name, number)
            if self._secrets.unnote(place, name, found):
                return

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._call.close()

    def _name(self, place: Place) -> str:
        return f"{self._parent}/secrets/{NAMES.name(self.name, place, self._prefix)}"

    def _claim(
        self, place: Place, name: str, secret: Secret, labels: Mapping[str, str], over: Over
    ) -> tuple[bool, int]:
        """False and the number of the version that this writer may add; or True and that of the latest, which
        holds ``secret`` already. Raises ``Taken``."""
        writer = _random.token_hex(8)
        waited_for, since = "", 0.0
        for _ in self._rounds(place):
            found = self._secrets.find(place, name)
            if found is None:
                if over not in (ANYTHING, None):
                    raise taken(self.name, place, gone=True)
                if self._secrets.make(place, name, labels, writer):
                    return False, 1
                continue
            holder = found.claimed_by
            if holder == writer:  # the answer to the claim was lost
                return False, found.ours[-1]
            if holder and (holder != waited_for or time.monotonic() - since < self._patience):
                if holder != waited_for:
                    waited_for, since = holder, time.monotonic()
                continue
            held = found.value == secret
            if held and found.labels == dict(labels):
                return True, found.latest
            if not held:
                allow(self.name, place, over, found.value)
            number = found.latest if held else found.latest + 1
            if self._secrets.note(place, name, found, labels, writer, number):
                return held, number
        raise AssertionError("the rounds end by raising")

    def _after_others(
        self,
        place: Place,
        name: str,
        secret: Secret,
        labels: Mapping[str, str],
        over: Over,
        claimed: int,
        number: int,
    ) -> None:
        """Versions were added between the claim and the write. Where one of them is somebody else's and
        ``over`` did not allow that, theirs becomes the latest again, and ``Taken`` is raised."""
        between = [self._secrets.version(place, name, str(one)) for one in range(claimed, number)]
        theirs = [value for value in between if value is not None and value != secret]
        if theirs and over != ANYTHING:
            self._secrets.add(place, name, theirs[-1].reveal().encode())
            self._secrets.destroy(place, name, number)
            raise taken(self.name, place)
        for _ in self._rounds(place):
            found = self._secrets.find(place, name)
            if found is None or found.latest != number:
                return
            if self._secrets.note(place, name, found, labels, "", number):
                return

    def _rounds(self, place: Place) -> Iterator[None]:
        """One round after another with pauses between, until others had much more than time to finish."""
        end = time.monotonic() + 6 * self._patience
        pause = 0.02
        while time.monotonic() < end:
            yield
            time.sleep(pause * (0.5 + _random.randbelow(1000) / 1000))
            pause = min(2 * pause, 0.5)
        raise StoreError(
            f"Store {self.name!r} could not change {place}: others keep changing it",
            "Find out who writes there (the audit log of Secret Manager tells), then run it again.",
        )
