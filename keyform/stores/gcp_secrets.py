"""The secrets of a Google Cloud project, and what keyform notes of them in their annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.cloud.secretmanager_v1 import SecretVersion

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.gcp_calls import Calls

_LABEL, _VERSIONS, _WRITER = "keyform-label-", "keyform-versions", "keyform-writer"
_MADE_BY = ("managed-by", "keyform")
_REMEMBERED = 200  # versions; the annotations of a secret may have 16 KiB in all
_ONE_PAGE = 25_000  # the most that a page of versions may have


@dataclass(frozen=True, slots=True)
class Found:
    """A secret as it stands: its latest version's number (0: it never had one), that version's value (None:
    destroyed), its etag and annotations, and whether keyform made it."""

    latest: int
    value: Secret | None
    etag: str
    annotations: Mapping[str, str]
    made_by_us: bool

    @property
    def ours(self) -> tuple[int, ...]:
        """The versions that keyform wrote; a last one above ``latest`` is claimed and not there yet."""
        return tuple(
            int(number) for number in self.annotations.get(_VERSIONS, "").split() if number.isdigit()
        )

    @property
    def claimed_by(self) -> str:
        """Who claimed the version after the latest; empty where nobody did."""
        return self.annotations.get(_WRITER, "?") if max(self.ours, default=0) > self.latest else ""

    @property
    def labels(self) -> dict[str, str]:
        """Those of the latest version; none where somebody else wrote it."""
        if not self.latest or self.ours[-1:] != (self.latest,):
            return {}
        return {k.removeprefix(_LABEL): v for k, v in self.annotations.items() if k.startswith(_LABEL)}


class Secrets:
    """``place`` is for messages, ``name`` the secret's resource name. Raises ``StoreError``."""

    def __init__(self, store: str, parent: str, calls: Calls, made_as: Mapping[str, Any]) -> None:
        self._store = store
        self._parent = parent
        self._call = calls
        self._made_as = made_as

    def find(self, place: Place, name: str) -> Found | None:
        """The secret and its latest version."""
        try:
            secret = self._call("look at", place, "get_secret", {"name": name})
        except NotFound:
            return None
        latest, value = self.latest(place, name)
        made_by_us = secret.labels.get(_MADE_BY[0]) == _MADE_BY[1]
        return Found(latest, value, secret.etag, dict(secret.annotations), made_by_us)

    def latest(self, place: Place, name: str) -> tuple[int, Secret | None]:
        """The number and the value of the latest version; ``(0, None)`` where there is none."""
        try:
            return self._read(place, name, "latest")
        except NotFound:
            return 0, None
        except FailedPrecondition as refused:
            version = self._call("look at", place, "get_secret_version", {"name": f"{name}/versions/latest"})
            number = _number(version.name)
            if _destroyed(version):
                return number, None
            if version.state == SecretVersion.State.DISABLED:
                raise StoreError(
                    f"Store {self._store!r} cannot read {place}: its latest version, {number}, is disabled",
                    f"Enable it (`gcloud secrets versions enable {number} --secret={name.split('/')[-1]}`), "
                    "or destroy it if nobody needs it.",
                ) from None
            raise self._call.told(f"could not read {place}", refused) from None

    def version(self, place: Place, name: str, number: str) -> Secret | None:
        """The value of one version; None where it can't be read any more."""
        try:
            return self._read(place, name, number)[1]
        except (NotFound, FailedPrecondition):
            return None

    def live(self, place: Place, name: str) -> set[int]:
        """The versions that are not destroyed."""
        try:
            request = {"parent": name, "page_size": _ONE_PAGE}
            versions = self._call("look at", place, "list_secret_versions", request)
            return {_number(version.name) for version in versions if not _destroyed(version)}
        except NotFound:
            return set()

    def make(self, place: Place, name: str, labels: Mapping[str, str], writer: str) -> bool:
        """Make the secret, with its first version claimed. False: somebody else was first."""
        secret = {
            **self._made_as,
            "labels": dict([_MADE_BY]),
            "annotations": _noted({}, labels, writer, (1,)),
        }
        request = {"parent": self._parent, "secret_id": name.rpartition("/")[2], "secret": secret}
        try:
            self._call("make", place, "create_secret", request)
        except AlreadyExists:
            return False
        except (NotFound, FailedPrecondition) as refused:
            raise self._call.told(f"could not make {place}", refused) from None
        return True

    def note(
        self, place: Place, name: str, found: Found, labels: Mapping[str, str], writer: str, number: int
    ) -> bool:
        """Note ``number`` as keyform's last version. False: somebody changed the secret meanwhile."""
        versions = (*(one for one in found.ours if one < number), number)[-_REMEMBERED:]
        return self._annotate(place, name, found, _noted(found.annotations, labels, writer, versions))

    def unnote(self, place: Place, name: str, found: Found) -> bool:
        """Leave nothing of keyform's in the annotations. False: somebody changed the secret meanwhile."""
        others = {k: v for k, v in found.annotations.items() if not _is_ours(k)}
        return others == found.annotations or self._annotate(place, name, found, others)

    def _annotate(self, place: Place, name: str, found: Found, annotations: Mapping[str, str]) -> bool:
        secret = {"name": name, "etag": found.etag, "annotations": dict(annotations)}
        request = {"secret": secret, "update_mask": {"paths": ["annotations"]}}
        try:
            self._call("write the annotations of", place, "update_secret", request)
        except (NotFound, Aborted, FailedPrecondition):
            return False
        return True

    def add(self, place: Place, name: str, data: bytes) -> int:
        """Add a version; returns its number."""
        request = {"parent": name, "payload": {"data": data}}
        try:
            return _number(self._call("write", place, "add_secret_version", request).name)
        except (NotFound, FailedPrecondition, Aborted) as refused:
            raise self._call.told(f"could not write {place}", refused) from None

    def destroy(self, place: Place, name: str, number: int) -> None:
        """Destroy a version. One that is destroyed already is no error."""
        try:
            self._call("destroy", place, "destroy_secret_version", {"name": f"{name}/versions/{number}"})
        except (NotFound, FailedPrecondition):
            return

    def delete(self, place: Place, name: str, found: Found) -> bool:
        """Delete the secret. False: somebody changed it meanwhile."""
        try:
            self._call("delete", place, "delete_secret", {"name": name, "etag": found.etag})
        except NotFound:
            return True
        except (Aborted, FailedPrecondition):
            return False
        return True

    def _read(self, place: Place, name: str, version: str) -> tuple[int, Secret]:
        answer = self._call("read", place, "access_secret_version", {"name": f"{name}/versions/{version}"})
        try:
            return _number(answer.name), Secret(answer.payload.data.decode())
        except UnicodeDecodeError:
            raise StoreError(
                f"Store {self._store!r} cannot use {place}: what it holds is no text",
                "Choose another path, or remove the value if nobody needs it.",
            ) from None


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def _destroyed(version: SecretVersion) -> bool:
    """With delayed destruction, a destroyed version is disabled until its day comes."""
    return version.state == SecretVersion.State.DESTROYED or bool(version.scheduled_destroy_time)


def _is_ours(annotation: str) -> bool:
    return annotation in (_VERSIONS, _WRITER) or annotation.startswith(_LABEL)


def _noted(
    before: Mapping[str, str], labels: Mapping[str, str], writer: str, versions: tuple[int, ...]
) -> dict[str, str]:
    others = {k: v for k, v in before.items() if not k.startswith(_LABEL)}
    ours = {_LABEL + k: v for k, v in labels.items()}
    return {**others, **ours, _WRITER: writer, _VERSIONS: " ".join(map(str, versions))}
