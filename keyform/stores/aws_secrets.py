"""The operations of AWS Secrets Manager on one secret, as the store ``aws-secrets-manager`` needs them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores import aws_tags
from keyform.stores.aws_errors import AwsError
from keyform.stores.aws_rounds import pause
from keyform.stores.aws_session import Aws
from keyform.stores.aws_tags import CREATED
from keyform.stores.aws_versions import CURRENT, WRITTEN, Version

MISSING = "ResourceNotFoundException"
_STATE = "InvalidRequestException"
_ELSEWHERE = ("InvalidParameterException", _STATE)  # the label is on another version
_SHORTEST_WINDOW = 7  # days that AWS waits at least before it deletes what is not deleted at once
_LOOKS = 5  # for a version that was written a moment ago


class AwsSecrets:
    """The secrets that the store named ``store`` reaches through ``aws``, all below ``prefix`` where there is
    one. ``tags`` and ``kms_key`` are for those that it makes. Every method may raise
    :class:`~keyform.stores.aws_errors.AwsError`."""

    def __init__(
        self, store: str, aws: Aws, prefix: str | None, tags: Mapping[str, str], kms_key: str | None
    ) -> None:
        self._store = store
        self._aws = aws
        self._above = f"{prefix}/" if prefix else ""
        self._tags = tags
        self._kms_key = kms_key

    def name(self, place: Place) -> str:
        """What AWS calls the secret of a place."""
        return f"{self._above}{place.path}"

    def current(self, place: Place, **which: str) -> Version | None:
        """The current version, or the one asked for; None where there is none or the secret is deleted."""
        try:
            told = self.call(
                "GetSecretValue", place, needs="VersionId", **(which or {"VersionStage": CURRENT})
            )
        except AwsError as refused:
            if _is_gone(refused):
                return None
            raise
        text = told.get("SecretString")
        stages = tuple(told.get("VersionStages", ()))
        return Version(told["VersionId"], None if text is None else Secret(text), stages)

    def describe(self, place: Place) -> dict[str, Any] | None:
        """All but the values, one that is scheduled for deletion too; None where there is no secret."""
        try:
            return self.call("DescribeSecret", place)
        except AwsError as refused:
            if refused.reason == MISSING:
                return None
            raise

    def create(self, place: Place, text: Secret, labels: Mapping[str, str]) -> str | None:
        """Make the secret, tags and all; its first version, or None where there is one of that name."""
        version = str(uuid.uuid4())
        tags = {**self._tags, CREATED: "keyform", **aws_tags.tags_of(labels, version, place.field)}
        key = {"KmsKeyId": self._kms_key} if self._kms_key else {}
        request = {"ClientRequestToken": version, "SecretString": text.reveal(), **key}
        try:
            self._aws.call(
                "CreateSecret", f"{place}", Name=self.name(place), Tags=aws_tags.as_list(tags), **request
            )
        except AwsError as refused:
            if refused.reason == "ResourceExistsException" or _is_gone(refused):
                return None
            raise
        return version

    def replace(
        self, place: Place, text: Secret, before: str | None, stages: tuple[str, ...] = ()
    ) -> str | None:
        """Write a version, read it back, and make it current in the place of ``before`` (None: there is no
        current one). ``stages`` are more labels for it. Returns its id, or None where ``before`` is not
        what is current any more."""
        version = str(uuid.uuid4())
        move = {"VersionStage": CURRENT, "MoveToVersionId": version}
        if before is not None:
            move["RemoveFromVersionId"] = before
        request = {"SecretString": text.reveal(), "VersionStages": [WRITTEN, *stages]}
        try:
            self.call("PutSecretValue", place, ClientRequestToken=version, **request)
            back = self._written(place, version)
            if back is not None and back.text == text:
                if (
                    CURRENT not in back.stages
                ):  # the first version of a secret that had none is current at once
                    self.call("UpdateSecretVersionStage", place, **move)
                return version
            failed = StoreError(
                f"Store {self._store!r} gave back something else than was written to {place}",
                "The value before is still the current one. Run it again; if it stays so, see AWS's health.",
            )
        except AwsError as refused:
            if refused.reason not in (*_ELSEWHERE, MISSING):
                raise
            failed = refused
        now = self.current(place)
        if now is not None and now.id == version:  # the label was moved, and the answer was lost
            return version
        self.unstage(place, WRITTEN, version)
        if (now.id if now is not None else None) != before:
            return None
        raise failed

    def _written(self, place: Place, version: str) -> Version | None:
        for number in range(_LOOKS):
            pause(number)
            if (found := self.current(place, VersionId=version)) is not None:
                return found
        return None

    def restore(self, place: Place, told: Mapping[str, Any]) -> str:
        """Take back the deletion of a secret that keyform made; the version that is current in it."""
        if CREATED not in aws_tags.as_mapping(told.get("Tags")):
            raise StoreError(
                f"Store {self._store!r}: {place} is scheduled for deletion, and keyform did not make it",
                f"Choose another path, or have it back with `aws secretsmanager restore-secret --secret-id "
                f"{self.name(place)}` and run it again.",
            )
        try:
            self.call("RestoreSecret", place)
        except AwsError as refused:
            if refused.reason not in (*_ELSEWHERE, MISSING):  # it is being deleted for good just now
                raise
        return current_of(told) or ""

    def remove(self, place: Place, days: int, version: str | None) -> bool:
        """Delete the secret, for good after ``days``, or at once where that is 0; only if ``version`` is the
        current one (None: it has none). False: somebody has written meanwhile, and it stays.

        AWS deletes on no condition. But a secret that is scheduled for deletion takes no writes, and still
        tells what is current in it; so it is scheduled first, and taken back where that is something else.
        """
        try:
            self.call("DeleteSecret", place, RecoveryWindowInDays=days or _SHORTEST_WINDOW)
        except AwsError as refused:
            if not _is_gone(refused):
                raise
        told = self.describe(place)
        if told is None:
            return True
        if "DeletedDate" not in told:
            return False
        stages = told.get("VersionIdsToStages", {})
        if {one for one, labels in stages.items() if CURRENT in labels} - {version}:
            self.call("RestoreSecret", place)
            return False
        if not days:
            self.purge(place)
        return True

    def purge(self, place: Place) -> None:
        """Delete the secret at once, whatever is in it."""
        try:
            self.call("DeleteSecret", place, ForceDeleteWithoutRecovery=True)
        except AwsError as refused:
            if not _is_gone(refused):
                raise

    def unstage(self, place: Place, stage: str, version: str) -> None:
        """Take a label off a version, so that AWS may forget it. It does no harm where it stays."""
        with suppress(AwsError):
            self.call("UpdateSecretVersionStage", place, VersionStage=stage, RemoveFromVersionId=version)

    def tag(self, place: Place, labels: Mapping[str, str], version: str, before: str) -> None:
        """Give the secret the labels of a write that made ``version`` out of ``before``. Somebody may have
        deleted it since."""
        tags = {**self._tags, **aws_tags.tags_of(labels, version, place.field)}
        if place.field is not None:
            had = self._tags_of(place)
            tags |= {n: t for n, t in aws_tags.carried(had, before, version).items() if n not in tags}
            if len({**had, **tags}) > aws_tags.MOST:
                tags = {n: t for n, t in tags.items() if n in had}
        self._retag("TagResource", place, Tags=aws_tags.as_list(tags))

    def untag(self, place: Place, before: str, version: str) -> None:
        """Take the labels of a place away, after a write that took its value away."""
        had = self._tags_of(place)
        gone = aws_tags.names_of(had, place.field)
        if carried := {n: t for n, t in aws_tags.carried(had, before, version).items() if n not in gone}:
            self._retag("TagResource", place, Tags=aws_tags.as_list(carried))
        if gone:
            self._retag("UntagResource", place, TagKeys=gone)

    def _retag(self, operation: str, place: Place, /, **request: Any) -> None:
        try:
            self.call(operation, place, **request)
        except AwsError as refused:
            if not _is_gone(refused):
                raise

    def _tags_of(self, place: Place) -> dict[str, str]:
        return aws_tags.as_mapping((self.describe(place) or {}).get("Tags"))

    def call(self, operation: str, place: Place, /, **request: Any) -> dict[str, Any]:
        """An operation on the secret of a place."""
        return self._aws.call(operation, f"{place}", SecretId=self.name(place), **request)


def _is_gone(refused: AwsError) -> bool:
    """Whether AWS refused because there is no such secret or version, or because the secret is scheduled for
    deletion or being deleted just now, which it tells in its message alone."""
    said = refused.diagnostics[0].detail.lower()
    return refused.reason == MISSING or (refused.reason == _STATE and "delet" in said)


def current_of(told: Mapping[str, Any]) -> str | None:
    """The current version of a secret that was described, be it an empty one."""
    stages = told.get("VersionIdsToStages", {})
    return next((version for version, labels in stages.items() if CURRENT in labels), None)
