"""The parameter store of AWS Systems Manager: each secret a ``SecureString`` parameter, ``/PATH``.

AWS creates a parameter only where there is none, and has no conditional write for one that is there. So the
value is looked at right before, and the number of the new version tells whether another writer came between;
if so, that writer's value is put back. The API, its errors and limits:
https://docs.aws.amazon.com/systems-manager/latest/APIReference/ and the SDK's own model of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores import aws_tags
from keyform.stores.aws_errors import AwsError
from keyform.stores.aws_proof import ask, canary, prove
from keyform.stores.aws_rounds import rounds
from keyform.stores.aws_session import Aws, Limits
from keyform.stores.aws_versions import check_text
from keyform.stores.over import allow, allow_deletion, taken

TIERS = {"standard": "Standard", "advanced": "Advanced", "intelligent-tiering": "Intelligent-Tiering"}
LARGEST = {"standard": 4_096, "advanced": 8_192, "intelligent-tiering": 8_192}  # bytes
_MOST_LEVELS = 15
_LONGEST_NAME = 900  # AWS takes 1,011 characters, those of the ARN before the name included
_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\Z")
_MISSING = ("ParameterNotFound", "ParameterVersionNotFound", "InvalidResourceId")
_EXISTS = "ParameterAlreadyExists"


def open_store(name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]) -> AwsSsm:
    """The store that a configuration declares.

    Options: ``region``, ``profile``, ``endpoint_url``, ``role_arn`` (each as the SDK finds it unless given),
    ``prefix``, ``kms_key``, ``tags``, and ``tier`` (``standard``, ``advanced`` or ``intelligent-tiering``).
    Does no I/O.
    """
    return AwsSsm(name, options)


@dataclass(frozen=True, slots=True)
class _Parameter:
    value: Secret
    number: int
    changed: datetime

    @property
    def version(self) -> str:
        """The number and the time, since the numbers of a name start anew after it was deleted."""
        return f"{self.number}-{round(self.changed.timestamp() * 1000)}"


class AwsSsm:
    """A :class:`~keyform.ports.Store` over the parameter store; for the options see :func:`open_store`."""

    readable = True

    def __init__(self, name: str, options: Mapping[str, Any], limits: Limits | None = None) -> None:
        self.name = name
        self._aws = Aws(name, "ssm", options, limits or Limits())
        self._above = f"{options['prefix']}/" if options.get("prefix") else ""
        self._tags = dict(options.get("tags", {}))
        self._tier = options.get("tier", "standard")
        self._key = {"KeyId": options["kms_key"]} if options.get("kms_key") else {}

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        name = self._name(place)[1:]
        why, do = "", ""
        if place.field is not None:
            why = "a parameter holds one value and has no fields"
            do = f"Give each value a path of its own, such as {place.path}/{place.field}."
        elif not _NAME.match(name) or len(name) > _LONGEST_NAME:
            why = "AWS does not take this for the name of a parameter"
            do = f"Write up to {_LONGEST_NAME} of the characters A-Z, a-z, 0-9 and _.- in parts between `/`."
        elif name.lower().startswith(("aws", "ssm")):
            why, do = "AWS keeps names that start with aws or ssm for itself", "Choose another name."
        elif name.count("/") >= _MOST_LEVELS:
            why, do = f"it has more than {_MOST_LEVELS} levels", "Choose a path with fewer."
        if why:
            raise StoreError(f"Store {self.name!r} cannot keep {place}: {why}", do)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks for what is needed on a parameter that is not there, which
        changes nothing and tells whether it is allowed; ``PutParameter`` cannot be asked for so."""
        name = self._name(canary(self.name))
        tagged = {"ResourceType": "Parameter", "ResourceId": name}
        asked: dict[str, dict[str, Any]] = {
            "GetParameter": {"Name": name, "WithDecryption": True},
            "ListTagsForResource": tagged,
            "AddTagsToResource": {**tagged, "Tags": [{"Key": "canary", "Value": ""}]},
            "DeleteParameter": {"Name": name},
        }
        ask(self.name, "ssm", self._aws.call, asked, _MISSING)
        return f"parameters can be read, tagged and deleted in {self._aws.whereabouts()}"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        prove(self, canary(self.name), self.delete)

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`."""
        self.check(place)
        found = self._read(place, decrypt=False)
        if found is None:
            return None
        tags: dict[str, str] = {}
        try:
            told = self._aws.call(
                "ListTagsForResource", f"{place}", ResourceType="Parameter", ResourceId=self._name(place)
            )
            tags = aws_tags.as_mapping(told.get("TagList"))
        except AwsError as refused:
            if refused.reason not in _MISSING:
                raise
        return Held(found.version, aws_tags.labels_of(tags, found.version))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. AWS keeps the last 100 versions."""
        self.check(place)
        if version is None:
            found = self._read(place)
        else:
            number = version.partition("-")[0]
            found = self._read(place, f":{number}") if number.isdecimal() else None
        if found is None or version not in (None, found.version):
            return None
        return found.value

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> str:
        """See :class:`~keyform.ports.Store`. In one step with the check of ``over`` where there is no
        parameter yet; where there is one, see the module."""
        self.check(place)
        check_text(self.name, place, secret, LARGEST[self._tier])
        if "{{" in secret.reveal():
            raise StoreError(
                f"Store {self.name!r} cannot keep the secret for {place}: AWS takes `{{{{` for a reference",
                "Keep it in another store, such as one of type aws-secrets-manager.",
            )
        for _ in rounds(self.name, place):
            found = self._read(place)
            if found is not None and found.value == secret:
                break
            allow(self.name, place, over, None if found is None else found.value)
            try:
                number = self._write(place, secret, found)
            except AwsError as refused:
                if refused.reason != _EXISTS:
                    raise
                continue  # somebody was quicker, or AWS has not yet let go of one that was deleted
            if over != ANYTHING:
                self._give_back(place, secret, found, number)
            if (found := self._read(place)) is not None and found.value == secret:
                break
        assert found is not None  # noqa: S101 - rounds() has ended with an error otherwise
        self._tag(place, {**self._tags, **aws_tags.tags_of(labels, found.version)})
        return found.version

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. All versions go with it. AWS has no conditional deletion."""
        self.check(place)
        if over != ANYTHING and (found := self._read(place)) is not None:
            allow_deletion(self.name, place, over, found.value)
        try:
            self._aws.call("DeleteParameter", f"{place}", Name=self._name(place))
        except AwsError as refused:
            if refused.reason not in _MISSING:
                raise

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. Its versions are its own business."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._aws.close()

    def _read(self, place: Place, which: str = "", *, decrypt: bool = True) -> _Parameter | None:
        try:
            told = self._aws.call(
                "GetParameter",
                f"{place}",
                needs="Parameter",
                Name=f"{self._name(place)}{which}",
                WithDecryption=decrypt,
            )["Parameter"]
        except AwsError as refused:
            if refused.reason in _MISSING:
                return None
            raise
        if told["Type"] != "SecureString":
            raise StoreError(
                f"Store {self.name!r}: {place} is a parameter of type {told['Type']}, which is not encrypted",
                "AWS cannot change the type of a parameter. Delete it where it is not needed any more, or "
                "choose another path.",
            )
        return _Parameter(Secret(told["Value"]), told["Version"], told["LastModifiedDate"])

    def _write(self, place: Place, secret: Secret, over: _Parameter | None) -> int:
        # AWS takes tags with a new parameter only.
        tags = {"Tags": aws_tags.as_list(self._tags)} if self._tags and over is None else {}
        answer = self._aws.call(
            "PutParameter",
            f"{place}",
            needs="Version",
            Name=self._name(place),
            Value=secret.reveal(),
            Type="SecureString",
            Tier=TIERS[self._tier],
            Overwrite=over is not None,
            **self._key,
            **tags,
        )
        number: int = answer["Version"]
        return number

    def _tag(self, place: Place, tags: Mapping[str, str]) -> None:
        of = {"ResourceType": "Parameter", "ResourceId": self._name(place)}
        try:
            self._aws.call("AddTagsToResource", f"{place}", Tags=aws_tags.as_list(tags), **of)
        except AwsError as refused:
            if refused.reason not in _MISSING:  # somebody has deleted it since
                raise

    def _give_back(self, place: Place, secret: Secret, seen: _Parameter | None, number: int) -> None:
        """Undo a write (``number``) that replaced something else than what was seen. Raises ``Taken``."""
        if seen is None or number <= seen.number + 1:
            return
        theirs = self._read(place, f":{number - 1}")
        # A write of ours that the SDK repeated, its answer being lost, makes two versions of one value.
        if theirs is None or theirs.value in (secret, seen.value):
            return
        now = self._read(place)
        if now is not None and now.number == number:
            self._write(place, theirs.value, now)
        raise taken(self.name, place)

    def _name(self, place: Place) -> str:
        return f"/{self._above}{place.path}"
