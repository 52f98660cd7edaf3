"""AWS Secrets Manager: a place is a secret's whole text, or with ``field`` one key of the JSON object in it.

A new value is written as a version with the staging label ``KEYFORM``, read back by its id, and becomes
current when ``AWSCURRENT`` moves to it from the version that was seen before, which AWS carries out only if
it is still there: so no other writer's value is ever replaced unseen, and a crash leaves the old one
current. The version before stays readable as ``AWSPREVIOUS``. The API, its errors and limits:
https://docs.aws.amazon.com/secretsmanager/latest/apireference/ and the SDK's own model of it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores import aws_tags
from keyform.stores.aws_proof import ask, canary, prove
from keyform.stores.aws_rounds import rounds
from keyform.stores.aws_secrets import MISSING, AwsSecrets, current_of
from keyform.stores.aws_session import Aws, Limits
from keyform.stores.aws_tags import CREATED
from keyform.stores.aws_versions import (
    EMPTY,
    PREVIOUS,
    WRITTEN,
    Version,
    check_text,
    json_text,
    members,
    value_in,
)
from keyform.stores.over import allow, allow_deletion
from keyform.stores.turns import Turn, turn

LARGEST = 65_536  # bytes, the quota "Secret value size"
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}\Z")
_VERSION_ID = re.compile(r"[A-Za-z0-9-]{32,64}\Z")


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> AwsSecretsManager:
    """The store that a configuration declares.

    Options: ``region``, ``profile``, ``endpoint_url``, ``role_arn`` (each as the SDK finds it unless given),
    ``prefix``, ``kms_key``, ``tags``, and ``recovery_window`` (``7d`` to ``30d``; the default ``0d``: deleted
    at once). Does no I/O.
    """
    return AwsSecretsManager(name, options, env)


class AwsSecretsManager:
    """A :class:`~keyform.ports.Store` over AWS Secrets Manager; for the options see :func:`open_store`."""

    readable = True

    def __init__(
        self, name: str, options: Mapping[str, Any], env: Mapping[str, str], limits: Limits | None = None
    ) -> None:
        self.name = name
        self._env = env
        self._aws = Aws(name, "secretsmanager", options, limits or Limits())
        self._secrets = AwsSecrets(
            name, self._aws, options.get("prefix"), dict(options.get("tags", {})), options.get("kms_key")
        )
        self._window = int(options.get("recovery_window", "0d").removesuffix("d"))  # days

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        if not _NAME.match(place.path) or not _NAME.match(self._secrets.name(place)):
            raise StoreError(
                f"Store {self.name!r} cannot keep {place}: AWS does not take this for the name of a secret",
                "Write 1 to 512 of the characters A-Z, a-z, 0-9 and /_+=.@-",
            )

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for what is needed on a secret that is not there, which
        changes nothing and tells whether it is allowed; ``CreateSecret`` cannot be asked for so."""
        secret, version = self._secrets.name(canary(self.name)), str(uuid.uuid4())
        asked: dict[str, dict[str, Any]] = {
            "DescribeSecret": {},
            "GetSecretValue": {},
            "PutSecretValue": {"SecretString": "canary", "VersionStages": [WRITTEN]},
            "UpdateSecretVersionStage": {"VersionStage": WRITTEN, "RemoveFromVersionId": version},
            "TagResource": {"Tags": [{"Key": "canary", "Value": ""}]},
            "DeleteSecret": {"RecoveryWindowInDays": 7},
        }
        requests = {operation: {"SecretId": secret, **request} for operation, request in asked.items()}
        ask(self.name, "secretsmanager", self._aws.call, requests, (MISSING,))
        return f"secrets can be read, replaced, tagged and deleted in {self._aws.whereabouts()}"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. The canary goes without a recovery window."""
        prove(self, canary(self.name), self._secrets.purge)

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`. The version is the id of the secret's current version."""
        self.check(place)
        told = self._secrets.describe(place)
        if told is None or "DeletedDate" in told:
            return None
        version = current_of(told)
        if place.field is not None:
            found = self._secrets.current(place)
            version = found.id if found and value_in(self.name, place, found) is not None else None
        elif version is not None and EMPTY in told["VersionIdsToStages"][version]:
            version = None
        if version is None:
            return None
        return Held(version, aws_tags.labels_of(aws_tags.as_mapping(told.get("Tags")), version, place.field))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. AWS keeps about 100 older versions."""
        self.check(place)
        if version is not None and not _VERSION_ID.match(version):
            return None
        found = self._secrets.current(place, **({"VersionId": version} if version else {}))
        return None if found is None else value_in(self.name, place, found)

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> str:
        """See :class:`~keyform.ports.Store`. One step with the check of ``over``."""
        self.check(place)
        with self._turn(place):
            return self._put(place, secret, labels, over)

    def _put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over) -> str:
        revived = ""  # the version that came back with a secret that had been deleted: it counts as gone
        for _ in rounds(self.name, place):
            found = self._secrets.current(place)
            gone = found is not None and found.id == revived
            present, others = self._read(place, None if gone else found)
            if found is not None and present == secret and over != secret:
                self._secrets.tag(place, labels, found.id, found.id)
                return found.id
            allow(self.name, place, over, present)
            text = secret if place.field is None else json_text({**others, place.field: secret.reveal()})
            check_text(self.name, place, text, LARGEST)
            if found is not None:
                version = self._secrets.replace(place, text, found.id)
            elif (version := self._secrets.create(place, text, labels)) is not None:
                return version
            else:  # there is a secret, and it has no value that can be read
                told = self._secrets.describe(place)
                if told is not None and "DeletedDate" in told:
                    revived = self._secrets.restore(place, told)
                elif told is not None and current_of(told) is None:
                    version = self._secrets.replace(place, text, None)
            if version is not None:
                self._secrets.tag(place, labels, version, found.id if found else "")
                return version
        raise AssertionError("rounds() has ended with an error")

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. The secret itself goes where keyform made it and nothing else is
        in it. Where others made it, it stays, with an empty version that counts as none."""
        self.check(place)
        with self._turn(place):
            self._delete(place, over)

    def _delete(self, place: Place, over: Over) -> None:
        for _ in rounds(self.name, place):
            told = self._secrets.describe(place)
            if told is None or "DeletedDate" in told:
                return
            found = self._secrets.current(place)
            present, rest = self._read(place, found)
            if present is None and rest:
                return
            allow_deletion(self.name, place, over, present)
            ours = CREATED in aws_tags.as_mapping(told.get("Tags")) and not told.get("ReplicationStatus")
            version = found.id if found is not None else None
            # A writer that adds a field beside this, and somebody who restores the secret, must not find the
            # value current; so it goes first, in one step, except where the whole secret goes at once.
            whole = ours and not self._window and place.field is None
            if found is not None and present is not None and not whole:
                stages = () if rest else (EMPTY,)
                version = self._secrets.replace(place, json_text(rest), found.id, stages)
                if version is None:
                    continue
                self._secrets.untag(place, found.id, version)
                if not rest and not ours:
                    self._secrets.unstage(place, PREVIOUS, found.id)
            if not ours or rest or self._secrets.remove(place, self._window, version):
                return

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._aws.close()

    def _turn(self, place: Place) -> AbstractContextManager[Turn]:
        """Of keyform's own processes, one changes a secret at a time."""
        return turn(self.name, f"aws-secrets-manager {self._secrets.name(place)}", self._env, 300.0)

    def _read(self, place: Place, found: Version | None) -> tuple[Secret | None, dict[str, Any]]:
        """What a version holds in a place, and the other fields beside it."""
        if found is None or place.field is None:
            return (None if found is None else value_in(self.name, place, found)), {}
        others = members(self.name, place, found)
        value = value_in(self.name, place, found)
        others.pop(place.field, None)
        return value, others
