"""What the AWS stores make of answers that moto does not give: refusals, lost answers, slow deletes."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from keyform.clock import SystemClock
from keyform.errors import ConfigError, StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.registry import load_config, open_store
from keyform.stores.aws_secrets_manager import AwsSecretsManager
from keyform.stores.aws_session import Limits
from keyform.stores.aws_ssm import AwsSsm
from tests.promises.matrix import SHARE
from tests.stores.aws_answers import CREDENTIAL, STS_REFUSAL, Answer, Failure, answering

PLACE = Place("aws", "prod/checkout")
FIELD = Place("aws", "prod/checkout", "key")
CANARY = "sk_live_canary_5d41402abc4b2a76"
MISSING = Failure("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
SCHEDULED = Failure(
    "InvalidRequestException",
    "You can't create this secret because a secret with this name is already scheduled for deletion.",
)
LABELS = {"address": 'keys.reader["us-east"]', "key_id": "key_1", "generation": "1"}
Serve = Callable[[Callable[[str, dict[str, Any]], Answer]], str]


@pytest.fixture(autouse=True)
def credential(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIAL.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(answering(answer))


def manager(url: str, attempts: int = 1, **more: Any) -> AwsSecretsManager:
    options = {"region": "eu-west-1", "endpoint_url": url, **more}
    return AwsSecretsManager("aws", options, os.environ, Limits(connect=30, answer=60, attempts=attempts))


def parameters(url: str, **more: Any) -> AwsSsm:
    options = {"region": "eu-west-1", "endpoint_url": url, **more}
    return AwsSsm("aws", options, Limits(connect=30, answer=60, attempts=1))


def refusal(act: Callable[[], object]) -> str:
    """The whole message of the StoreError that ``act`` must raise; it never shows a secret."""
    with pytest.raises(StoreError) as raised:
        act()
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    message = f"{diagnostic.summary}\n{diagnostic.detail}"
    assert CANARY not in message
    assert raised.value.__context__ is None, "exceptions of the SDK may hold the request"
    return message


class Secrets:
    """One secret in a strict Secrets Manager: what moto lets pass is refused here as AWS documents it."""

    def __init__(self, text: str | None = None, tags: dict[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.texts: dict[str, str] = {}
        self.stages: dict[str, str] = {}
        self.tags: dict[str, str] = tags or {}
        self.exists = text is not None or tags is not None
        self.deleted = False
        if text is not None:
            self.add("0" * 36, text, ["AWSCURRENT"])

    def add(self, version: str, text: str, stages: list[str]) -> None:
        if not self.texts:
            stages = [*stages, "AWSCURRENT"]
        self.texts[version] = text
        self.stages |= dict.fromkeys(stages, version)

    @property
    def current(self) -> str | None:
        return self.texts[self.stages["AWSCURRENT"]] if "AWSCURRENT" in self.stages else None

    def __call__(self, operation: str, request: dict[str, Any]) -> Answer:
        self.asked.append(operation)
        for tag in request.get("Tags", []):
            assert re.fullmatch(r"[\w .:/=+@-]{1,128}", tag["Key"]), "AWS takes no other characters"
            assert re.fullmatch(r"[\w .:/=+@-]{0,256}", tag["Value"]), "AWS takes no other characters"
        if operation == "CreateSecret":
            if self.deleted:
                return SCHEDULED
            if self.exists:
                return Failure("ResourceExistsException", "The operation failed because it already exists.")
            self.exists = True
            self.add(request["ClientRequestToken"], request["SecretString"], ["AWSCURRENT"])
            return self._tag(request)
        if not self.exists:
            return MISSING
        forced = request.get("ForceDeleteWithoutRecovery", False)
        if self.deleted and operation not in ("DescribeSecret", "RestoreSecret") and not forced:
            return Failure(
                "InvalidRequestException", "You can't do this, because it was marked for deletion."
            )
        answer: Answer = getattr(self, f"_{operation}")(request)
        return answer

    def _tag(self, request: dict[str, Any]) -> Answer:
        self.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        return {"VersionId": self.stages.get("AWSCURRENT", "")}

    _TagResource = _tag

    def _GetSecretValue(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        version = request.get("VersionId") or self.stages.get(request["VersionStage"])
        if version not in self.texts:
            return MISSING
        stages = [stage for stage, of in self.stages.items() if of == version]
        return {"VersionId": version, "SecretString": self.texts[version], "VersionStages": stages}

    def _DescribeSecret(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        stages: dict[str, list[str]] = {}
        for stage, version in self.stages.items():
            stages.setdefault(version, []).append(stage)
        deleted = {"DeletedDate": 1_795_000_000} if self.deleted else {}
        tags = [{"Key": name, "Value": text} for name, text in self.tags.items()]
        return {"VersionIdsToStages": stages, "Tags": tags, **deleted}

    def _PutSecretValue(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        self.add(request["ClientRequestToken"], request["SecretString"], request["VersionStages"])
        return {}

    def _UpdateSecretVersionStage(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        stage, to = request["VersionStage"], request.get("MoveToVersionId")
        if self.stages.get(stage) != request.get("RemoveFromVersionId"):
            return Failure("InvalidParameterException", "Staging label is attached to another version.")
        if to is None:
            if stage == "AWSCURRENT":
                return Failure("InvalidParameterException", "AWSCURRENT can't be completely removed.")
            del self.stages[stage]
        else:
            if stage == "AWSCURRENT" and stage in self.stages:
                self.stages["AWSPREVIOUS"] = self.stages[stage]
            self.stages[stage] = to
        return {}

    def _UntagResource(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        for name in request["TagKeys"]:
            self.tags.pop(name, None)
        return {}

    def _RestoreSecret(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        self.deleted = False
        return {}

    def _DeleteSecret(self, request: dict[str, Any]) -> Answer:  # noqa: N802
        if request.get("ForceDeleteWithoutRecovery"):
            self.exists = False
        self.deleted = self.exists
        return {}


# Messages


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        ("AccessDeniedException", "user/ci is not authorized", ["secretsmanager:GetSecretValue", "user/ci"]),
        ("AccessDeniedException", "Access to KMS is not allowed", ["kms:Decrypt", "key's policy"]),
        ("ExpiredTokenException", "The security token is expired", ["has expired", "aws sso login"]),
        ("UnrecognizedClientException", "invalid token", ["does not accept", "get-caller-identity"]),
        ("InvalidSignatureException", "Signature expired", ["does not accept", "clock"]),
        ("ThrottlingException", "Rate exceeded", ["throttled", "--parallelism"]),
        ("LimitExceededException", "too many versions", ["quota", "Service Quotas"]),
        ("DecryptionFailure", "can't decrypt", ["KMS key", "kms_key"]),
        ("InternalServiceError", "an error occurred", ["refused GetSecretValue", "InternalServiceError"]),
    ],
)  # fmt: skip
def test_refusals_say_what_where_and_what_to_do(serve: Serve, code: str, said: str, words: list[str]) -> None:
    url = serve(lambda operation, request: Failure(code, said))
    message = refusal(lambda: manager(url).get(PLACE))
    for word in ("'aws'", "aws:prod/checkout in eu-west-1", *words):
        assert word in message


def test_what_cannot_be_kept_is_not_asked_for_twice(serve: Serve) -> None:
    secrets = Secrets()
    store = manager(serve(secrets))
    assert "65,536" in refusal(lambda: store.put(PLACE, Secret(CANARY + "x" * 65_536), {}))
    assert "empty" in refusal(lambda: store.put(PLACE, Secret(""), {}))
    assert "Unicode" in refusal(lambda: store.put(PLACE, Secret(CANARY + "\udcff"), {}))
    ssm = parameters(serve(lambda operation, request: Failure("ParameterNotFound")))
    assert "{{" in refusal(lambda: ssm.put(PLACE, Secret(CANARY + "{{x}}"), {}))
    assert not secrets.exists


def test_a_region_that_is_missing_and_one_that_does_not_exist_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert "AWS_REGION" in refusal(AwsSecretsManager("aws", {}, os.environ).access)
    assert "profile" in refusal(AwsSsm("aws", {"profile": "nobody"}).access)
    missing = AwsSecretsManager("aws", {"region": "no where!"}, os.environ, Limits(1, 1, 1))
    assert "no where!" in refusal(missing.access)
    assert "endpoint_url" in refusal(manager("https://a b").access)


def test_plain_http_to_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for opened in (manager, parameters):
        assert "plain http" in refusal(partial(opened, "http://aws.example"))
        opened("http://aws.example", insecure=True).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://aws.example")
    assert "aws.example is reached by plain http" in refusal(
        AwsSecretsManager("aws", {"region": "eu-west-1"}, os.environ).access
    )


def test_a_missing_credential_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for opened in (
        manager("http://127.0.0.1:1"),
        manager("http://127.0.0.1:1", role_arn="arn:aws:iam::1:role/r"),
    ):
        assert "AWS_PROFILE" in refusal(opened.access)


def test_a_role_is_taken_on_and_its_refusal_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    role = "arn:aws:iam::123456789012:role/keyform"
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", serve(lambda operation, request: STS_REFUSAL))
    message = refusal(lambda: manager(serve(Secrets()), role_arn=role).get(PLACE))
    assert "lacks sts:AssumeRole" in message
    assert "User is not authorized" in message


@pytest.mark.parametrize("body", [b"", b"<html>Sign in to the network</html>", b"{}"])
def test_what_is_not_aws_is_told(serve: Serve, body: bytes) -> None:
    url = serve(lambda operation, request: body)
    assert "is not AWS" in refusal(lambda: manager(url).get(PLACE))
    assert "is not AWS" in refusal(lambda: parameters(url).get(PLACE))


def test_all_that_the_credential_lacks_is_told_at_once(serve: Serve) -> None:
    denied = ("PutSecretValue", "DeleteSecret")
    url = serve(
        lambda operation, request: Failure("AccessDeniedException") if operation in denied else MISSING
    )
    message = refusal(manager(url).access)
    assert "secretsmanager:PutSecretValue, secretsmanager:DeleteSecret" in message
    assert "keyform-canary-*" in message


def test_a_call_that_is_throttled_is_repeated(serve: Serve) -> None:
    secrets, asked = Secrets("value"), count()

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        return (
            Failure("ThrottlingException", "Rate exceeded")
            if next(asked) == 0
            else secrets(operation, request)
        )

    assert manager(serve(answer), attempts=2).get(PLACE) == Secret("value")


# Writing to Secrets Manager


def test_a_new_value_is_current_only_once_it_was_read_back(serve: Serve) -> None:
    secrets = Secrets("old")
    order: list[tuple[str, str | None]] = []

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        order.append((operation, secrets.current))
        return secrets(operation, request)

    manager(serve(answer)).put(PLACE, Secret("new"), LABELS)
    assert order == [
        ("GetSecretValue", "old"),
        ("PutSecretValue", "old"),
        ("GetSecretValue", "old"),
        ("UpdateSecretVersionStage", "old"),
        ("TagResource", "new"),
    ]
    assert secrets.texts[secrets.stages["AWSPREVIOUS"]] == "old"


def test_a_value_that_does_not_read_back_never_becomes_current(serve: Serve) -> None:
    secrets = Secrets("old")

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        told = secrets(operation, request)
        if operation == "GetSecretValue" and "VersionId" in request and isinstance(told, dict):
            told["SecretString"] = "something else"
        return told

    assert "something else" in refusal(lambda: manager(serve(answer)).put(PLACE, Secret(CANARY), LABELS))
    assert secrets.current == "old"
    assert "KEYFORM" not in secrets.stages, "the version that failed has no label, so that AWS may forget it"


def test_a_version_that_aws_does_not_show_yet_is_waited_for(serve: Serve) -> None:
    secrets, reads = Secrets("old"), count()

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "GetSecretValue" and "VersionId" in request and next(reads) < 2:
            return MISSING
        return secrets(operation, request)

    manager(serve(answer)).put(PLACE, Secret("new"), LABELS)
    assert secrets.current == "new"


@pytest.mark.parametrize("operation", ["CreateSecret", "PutSecretValue", "UpdateSecretVersionStage"])
def test_a_lost_answer_is_no_loss(serve: Serve, operation: str) -> None:
    secrets, lost = Secrets(None if operation == "CreateSecret" else "old"), count()

    def answer(asked: str, request: dict[str, Any]) -> Answer:
        told = secrets(asked, request)
        return Failure("InternalFailure", status=500) if asked == operation and next(lost) == 0 else told

    store = manager(serve(answer), attempts=2)
    version = store.put(PLACE, Secret("new"), LABELS)
    assert secrets.current == "new"
    assert version == secrets.stages["AWSCURRENT"]
    held = store.look(PLACE)
    assert held is not None
    assert dict(held.labels) == LABELS


def test_a_writer_that_comes_between_is_not_overwritten(serve: Serve) -> None:
    secrets = Secrets("old")

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "UpdateSecretVersionStage" and secrets.current == "old":
            secrets.add("1" * 36, "theirs", ["AWSCURRENT"])
        return secrets(operation, request)

    store = manager(serve(answer))
    with pytest.raises(Taken):
        store.put(PLACE, Secret(CANARY), LABELS, Secret("old"))
    assert secrets.current == "theirs"
    assert "KEYFORM" not in secrets.stages
    store.put(PLACE, Secret("mine"), LABELS, Secret("theirs"))
    assert secrets.current == "mine"


def test_a_field_that_comes_between_is_kept(serve: Serve) -> None:
    secrets = Secrets('{"b": 1.50, "a": {"x": [true, null]}}')

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "UpdateSecretVersionStage" and "new" not in (secrets.current or ""):
            secrets.add("1" * 36, '{"new": "theirs"}', ["AWSCURRENT"])
        return secrets(operation, request)

    manager(serve(answer)).put(FIELD, Secret("mine"), LABELS)
    assert json.loads(secrets.current or "") == {"new": "theirs", "key": "mine"}


def test_a_secret_without_a_value_gets_one_and_stays_when_the_value_goes(serve: Serve) -> None:
    secrets = Secrets(None, {"made-by": "terraform"})
    store = manager(serve(secrets))
    assert store.get(PLACE) is None
    assert store.look(PLACE) is None
    store.put(PLACE, Secret("value"), LABELS, None)
    assert secrets.current == "value"
    store.delete(PLACE)
    assert (secrets.exists, secrets.current, store.get(PLACE)) == (True, "{}", None)
    assert "AWSPREVIOUS" not in secrets.stages
    assert secrets.tags == {"made-by": "terraform"}
    store.put(PLACE, Secret("again"), LABELS, None)
    assert store.get(PLACE) == Secret("again")


def test_a_field_goes_and_the_others_stay(serve: Serve) -> None:
    secrets = Secrets()
    store = manager(serve(secrets))
    other = Place("aws", PLACE.path, "other")
    store.put(other, Secret("other"), {**LABELS, "key_id": "key_2"})
    store.put(FIELD, Secret("mine"), LABELS)
    for place, key in ((FIELD, "key_1"), (other, "key_2")):
        held = store.look(place)
        assert held is not None
        assert held.labels["key_id"] == key, "each field has its own labels, whichever was written last"
    store.delete(FIELD)
    assert json.loads(secrets.current or "") == {"other": "other"}
    held = store.look(other)
    assert held is not None
    assert held.labels["key_id"] == "key_2"
    assert not [tag for tag in secrets.tags if tag.endswith(":key")]
    store.delete(other)
    assert not secrets.exists, "keyform made it, and nothing is left in it"


@pytest.mark.parametrize("throttled", [0, 3])
@pytest.mark.parametrize("window", ["0d", "7d"])
def test_what_somebody_writes_while_the_last_field_is_deleted_stays(
    serve: Serve, throttled: int, window: str
) -> None:
    secrets, asked = Secrets(), count()

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "DeleteSecret" and (number := next(asked)) <= throttled:
            if number == throttled:
                secrets.add("1" * 36, '{"theirs": "new"}', ["AWSCURRENT"])
            if number < throttled:
                return Failure("ThrottlingException", "Rate exceeded")
        return secrets(operation, request)

    store = manager(serve(answer), attempts=5, recovery_window=window)
    store.put(FIELD, Secret("mine"), LABELS)
    store.delete(FIELD, Secret("mine"))
    assert (secrets.exists, secrets.deleted, secrets.current) == (True, False, '{"theirs": "new"}')


def test_what_somebody_writes_while_a_whole_secret_is_deleted_stays(serve: Serve) -> None:
    secrets, asked = Secrets(), count()

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "DeleteSecret" and next(asked) == 0:
            secrets.add("1" * 36, "theirs", ["AWSCURRENT"])
        return secrets(operation, request)

    store = manager(serve(answer))
    store.put(PLACE, Secret("mine"), LABELS)
    with pytest.raises(Taken):
        store.delete(PLACE, Secret("mine"))
    assert (secrets.exists, secrets.deleted, secrets.current) == (True, False, "theirs")


def test_a_value_that_is_written_over_itself_is_written_once_more(serve: Serve) -> None:
    """So that a write whose answer was given up, and which comes late, finds another version there."""
    secrets = Secrets()
    store = manager(serve(secrets))
    first = store.put(PLACE, Secret("value"), LABELS)
    assert store.put(PLACE, Secret("value"), LABELS, Secret("value")) != first
    assert secrets.current == "value"


def test_labels_of_another_version_are_not_those_of_this_one(serve: Serve) -> None:
    secrets = Secrets()
    store = manager(serve(secrets))
    store.put(PLACE, Secret("mine"), LABELS)
    assert secrets.tags["keyform:address"] == "keys.reader=5B=22us-east=22=5D"
    secrets.add("1" * 36, "theirs", ["AWSCURRENT"])
    held = store.look(PLACE)
    assert held is not None
    assert held.labels == {}


def test_what_is_no_json_object_has_no_fields(serve: Serve) -> None:
    for text in (CANARY, "[]", "[" * 20_000):
        secrets = Secrets(text)
        store = manager(serve(secrets))
        for act in (lambda s=store: s.get(FIELD), lambda s=store: s.put(FIELD, Secret("x"), {})):
            assert "no JSON object" in refusal(act)
        assert secrets.current == text


# Deleted secrets


def test_a_deleted_secret_of_others_is_told_with_the_way_back(serve: Serve) -> None:
    secrets = Secrets("theirs", {"made-by": "terraform"})
    secrets.deleted = True
    store = manager(serve(secrets))
    assert store.get(PLACE) is None
    message = refusal(lambda: store.put(PLACE, Secret(CANARY), LABELS, None))
    assert "aws secretsmanager restore-secret --secret-id prod/checkout" in message
    assert secrets.deleted


@pytest.mark.parametrize("place", [PLACE, FIELD], ids=str)
def test_a_deleted_secret_of_keyforms_is_restored_without_its_old_value(serve: Serve, place: Place) -> None:
    secrets = Secrets()
    store = manager(serve(secrets), recovery_window="7d")
    store.put(place, Secret("old"), LABELS)
    store.delete(place)
    assert secrets.deleted
    assert (store.get(place), store.look(place)) == (None, None)
    with pytest.raises(Taken):
        store.put(place, Secret("late"), LABELS, Secret("old"))
    assert secrets.deleted
    current: set[str | None] = set()
    secrets_answer = secrets.__call__

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        told = secrets_answer(operation, request)
        if not secrets.deleted:
            current.add(secrets.current)
        return told

    manager(serve(answer), recovery_window="7d").put(place, Secret("new"), LABELS, None)
    assert store.get(place) == Secret("new")
    assert not [text for text in current if text and "old" in text], "the old value was current again"


def test_what_somebody_deleted_in_the_console_counts_as_gone(serve: Serve) -> None:
    secrets = Secrets()
    store = manager(serve(secrets))
    store.put(PLACE, Secret("old"), LABELS)
    secrets.deleted = True
    store.put(PLACE, Secret("new"), LABELS, None)
    assert secrets.current == "new"


def test_a_name_that_aws_is_still_deleting_is_waited_for(serve: Serve) -> None:
    secrets, asked = Secrets(), count()

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        busy = operation == "CreateSecret" and next(asked) < 2
        return SCHEDULED if busy else secrets(operation, request)

    manager(serve(answer)).put(PLACE, Secret("value"), LABELS, None)
    assert secrets.current == "value"


# Logs


@pytest.mark.parametrize("opened", [manager, parameters])
def test_no_log_of_the_sdk_shows_a_secret_or_the_credential(
    serve: Serve, opened: Callable[[str], Store], caplog: pytest.LogCaptureFixture
) -> None:
    changed = 1_795_000_000.5

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if operation in ("PutParameter", "AddTagsToResource"):
            return {"Version": 2}
        told = {"Type": "SecureString", "Value": CANARY, "Version": 1, "LastModifiedDate": changed}
        return {"Parameter": told}

    secrets = Secrets()
    store = opened(serve(answer if opened is parameters else secrets))
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):  # as `boto3.set_stream_logger` does, and more
        if name.startswith(("boto", "urllib3")):
            caplog.set_level(logging.DEBUG, name)
    store.put(PLACE, Secret(CANARY), LABELS)
    store.put(PLACE, Secret(CANARY), LABELS)
    assert store.get(PLACE) == Secret(CANARY)
    assert "botocore" in caplog.text, "the SDK logs"
    for secret in (CANARY, CREDENTIAL["AWS_SECRET_ACCESS_KEY"], CREDENTIAL["AWS_SESSION_TOKEN"]):
        assert secret not in caplog.text


# Declarations


def test_the_store_is_opened_by_its_type_without_any_call() -> None:
    for kind, options in (
        ("aws-secrets-manager", {"recovery_window": "0d"}),
        ("aws-ssm", {"tier": "advanced"}),
    ):
        store = open_store("aws", kind, {"region": "eu-west-1", **options}, Path())
        store.check(PLACE)
        store.close()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("regoin: eu-west-1", ["unknown field `regoin`", "Did you mean `region`?"]),
        ("recovery_window: 3d", ["cannot be `3d`", "7d to 30d", "`recovery_window: 7d`"]),
        ("recovery_window: 0", ["must be text", "`0d`"]),
        ('tags: {"keyform:x": y}', ["`keyform:x` cannot be a name in `tags`", "keyform: are taken"]),
        ("endpoint_url: localhost", ["cannot be `localhost`", "`endpoint_url: https://"]),
        ("secret_access_key: x", ["unknown field", "is a credential"]),
    ],
)
def test_a_wrong_option_is_told_with_the_right_one(tmp_path: Path, option: str, words: list[str]) -> None:
    (tmp_path / "keyform.yaml").write_text(
        "version: 1\nservices: {s: {type: embedded}}\n"
        f"stores: {{aws: {{type: aws-secrets-manager, {option}}}}}\nkeys: {{}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path, SystemClock(), offline=True)
    told = " ".join(f"{d.summary} {d.detail}" for d in refused.value.diagnostics)
    for word in words:
        assert word in told


# Crashes inside a write


class Dies:
    """Answers until call ``at``, which is carried out (``after``) or not, and whose sender gets no answer to
    it or to any later one: for AWS, as if it had died there."""

    def __init__(self, secrets: Secrets, at: int, after: bool) -> None:
        self.secrets, self.at, self.after = secrets, at, after
        self.calls = 0

    def __call__(self, operation: str, request: dict[str, Any]) -> Answer:
        self.calls += 1
        if self.calls < self.at or (self.calls == self.at and self.after):
            told = self.secrets(operation, request)
            if self.calls < self.at:
                return told
        return Failure("InternalFailure", status=500)


class Line:
    """Where a store's calls go."""

    def __init__(self) -> None:
        self.end: Callable[[str, dict[str, Any]], Answer] = Secrets()

    def __call__(self, operation: str, request: dict[str, Any]) -> Answer:
        return self.end(operation, request)


@pytest.mark.share
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", [PLACE, FIELD], ids=str)
@pytest.mark.parametrize("start", ["nothing", "a value", "deleted", "no value"])
def test_a_writer_that_dies_at_any_call_leaves_the_old_value_or_the_new(
    serve: Serve, start: str, place: Place, after: bool
) -> None:
    line = Line()
    store = manager(serve(line), recovery_window="7d")
    old = Secret("old") if start == "a value" else None
    new = {**LABELS, "generation": "2"}
    for at in count(1, SHARE):
        line.end = secrets = Secrets(None, {"made-by": "terraform"} if start == "no value" else None)
        if start in ("a value", "deleted"):
            store.put(place, Secret("old"), LABELS)
        if start == "deleted":
            store.delete(place)
        line.end = dies = Dies(secrets, at, after)
        try:
            store.put(place, Secret("new"), new, old)
        except StoreError:
            line.end = secrets
        else:
            break
        found, held = store.get(place), store.look(place)
        assert found in (old, Secret("new"))
        assert held is None or held.labels.get("generation") in (None, "1" if found == old else "2")
        store.put(place, Secret("new"), new, old)
        held = store.look(place)
        assert held is not None
        assert (store.get(place), held.labels["generation"]) == (Secret("new"), "2")
    assert 2 <= dies.calls < at


@pytest.mark.share
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("window", ["0d", "7d"])
@pytest.mark.parametrize("place", [PLACE, FIELD], ids=str)
def test_a_delete_that_dies_at_any_call_can_be_repeated(
    serve: Serve, place: Place, window: str, after: bool
) -> None:
    line = Line()
    store = manager(serve(line), recovery_window=window)
    for at in count(1, SHARE):
        line.end = secrets = Secrets()
        store.put(place, Secret("old"), LABELS)
        line.end = dies = Dies(secrets, at, after)
        try:
            store.delete(place)
        except StoreError:
            line.end = secrets
        else:
            break
        assert store.get(place) in (Secret("old"), None)
        store.delete(place)
        assert store.get(place) is None
        assert secrets.deleted or not secrets.exists
        store.put(place, Secret("new"), LABELS, None)
        assert store.get(place) == Secret("new")
    assert 2 <= dies.calls < at
