"""The AWS stores over moto: the suite that every store passes, and what each of them adds to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from keyform.cli.main import run
from keyform.conformance.store import StoreConformance
from keyform.conformance.store_basics import LABELS, TEXTS
from keyform.errors import StoreError, Taken
from keyform.model import Place, Secret
from keyform.ports import Store
from keyform.registry import open_store
from keyform.stores.aws_secrets_manager import AwsSecretsManager
from keyform.stores.aws_session import Limits
from keyform.stores.aws_ssm import AwsSsm
from tests.servers.moto import moto
from tests.stores.aws_answers import CREDENTIAL, Answer, Failure, answering
from tests.world import World

pytestmark = pytest.mark.integration

REGION = "eu-west-1"
IMPATIENT = Limits(connect=1, answer=1, attempts=1)
FULL_TEXTS = {what: text for what, text in TEXTS.items() if text}  # AWS takes no empty value
TOO_LONG = "x" * 513


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(autouse=True)
def aws(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account at this URL."""
    for name, value in CREDENTIAL.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{server}/moto-api/reset", trust_env=False)
    return server


def options(url: str, **more: Any) -> dict[str, Any]:
    return {"region": REGION, "endpoint_url": url, **more}


def opened(
    store: type[AwsSecretsManager] | type[AwsSsm], options: Mapping[str, Any], limits: Limits | None = None
) -> Store:
    if store is AwsSsm:
        return AwsSsm("conformance", options, limits)
    return AwsSecretsManager("conformance", options, os.environ, limits)


def bad(store: type[AwsSecretsManager] | type[AwsSsm], stack: ExitStack) -> Mapping[str, Callable[[], Store]]:
    def at(url: str) -> Callable[[], Store]:
        return lambda: opened(store, options(url), IMPATIENT)

    return {
        "unreachable": at("http://127.0.0.1:1"),
        "expired": at(stack.enter_context(answering(lambda *asked: Failure("ExpiredTokenException")))),
        "refused": at(stack.enter_context(answering(lambda *asked: Failure("AccessDeniedException")))),
        "slow": at(stack.enter_context(answering(lambda *asked: None))),
    }


class Moto(StoreConformance):
    """What all the suites here have in common."""

    store_class: type[AwsSecretsManager] | type[AwsSsm]
    more: Mapping[str, Any] = {}
    texts = FULL_TEXTS
    labels = True
    versions = True

    @pytest.fixture(autouse=True)
    def _stack(self) -> Iterator[None]:
        with ExitStack() as self.stack:
            yield

    @pytest.fixture
    def open_store(self, aws: str) -> Callable[[], Store]:
        return lambda: opened(self.store_class, options(aws, **self.more))

    def bad_days(self) -> Mapping[str, Callable[[], Store]]:
        return bad(self.store_class, self.stack)


class TestSecretsManager(Moto):
    store_class = AwsSecretsManager
    fields = True
    largest = 65_536
    refused = tuple(Place("conformance", path) for path in ("", "a b", "é", "a:b", "a\nb", "a*", TOO_LONG))


class TestSecretsManagerFields(TestSecretsManager):
    texts = TEXTS
    largest = None
    refused = ()

    def place(self, path: str) -> Place:
        return Place("conformance", path, "the field: ü")


class TestSecretsManagerWithRecoveryWindow(TestSecretsManager):
    more: Mapping[str, Any] = {"recovery_window": "7d", "prefix": "a/b", "tags": {"team": "x"}}


class TestSsm(Moto):
    store_class = AwsSsm
    largest = 4_096
    refused = (
        Place("conformance", "a", "field"),
        *(
            Place("conformance", path)
            for path in ("", "/a", "a//b", "a/", "a b", "é", "a:1", "a@b", "awsome", "SSM/a", "a/" * 15 + "a")
        ),
    )


class TestSsmAdvanced(TestSsm):
    more: Mapping[str, Any] = {"tier": "advanced", "prefix": "team.a"}
    refused = tuple(Place("conformance", path) for path in ("", "/a", "a b", "a/" * 14 + "a"))
    largest = 8_192


# What an account holds


def client(url: str, service: str) -> Any:
    return boto3.client(service, region_name=REGION, endpoint_url=url)


def put_as_somebody_else(url: str, path: str, text: str) -> None:
    """Another writer's value, made current. (moto has no plain PutSecretValue
    where stages were moved: it would leave two current versions.)"""
    theirs = client(url, "secretsmanager")
    before = theirs.get_secret_value(SecretId=path, VersionStage="AWSCURRENT")["VersionId"]
    version = theirs.put_secret_value(SecretId=path, SecretString=text, VersionStages=["THEIRS"])["VersionId"]
    theirs.update_secret_version_stage(
        SecretId=path, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=before
    )


def names(url: str) -> list[str]:
    """What there is in Secrets Manager, canaries included."""
    told = client(url, "secretsmanager").list_secrets(IncludePlannedDeletion=True)
    return [secret["Name"] for secret in told["SecretList"]]


PLACE = Place("aws", "prod/checkout")
FIELD = Place("aws", "prod/checkout", "key")


def test_the_value_before_stays_readable_as_the_previous_one(aws: str) -> None:
    store = AwsSecretsManager(
        "aws", options(aws, tags={"team": "payments"}, kms_key="alias/keyform"), os.environ
    )
    for text in ("one", "two", "three"):
        store.put(PLACE, Secret(text), {**LABELS, "generation": text})
    theirs = client(aws, "secretsmanager")
    for stage, text in (("AWSCURRENT", "three"), ("AWSPREVIOUS", "two"), ("KEYFORM", "three")):
        assert theirs.get_secret_value(SecretId=PLACE.path, VersionStage=stage)["SecretString"] == text
    told = theirs.describe_secret(SecretId=PLACE.path)
    assert told["KmsKeyId"] == "alias/keyform"
    tags = {tag["Key"]: tag["Value"] for tag in told["Tags"]}
    assert tags.pop("keyform:of-version") == store.put(PLACE, Secret("three"), {**LABELS, "generation": "3"})
    assert tags == {
        "team": "payments",
        "keyform:created-by": "keyform",
        "keyform:address": LABELS["address"],
        "keyform:key_id": LABELS["key_id"],
        "keyform:generation": "three",
    }


def test_other_fields_are_left_as_they_are_and_their_writer_is_not_overwritten(aws: str) -> None:
    store = AwsSecretsManager("aws", options(aws), os.environ)
    theirs = client(aws, "secretsmanager")
    theirs.create_secret(Name=PLACE.path, SecretString='{"user": "ü", "port": 5432, "on": [true, null]}')
    store.put(FIELD, Secret("mine"), LABELS, None)
    put_as_somebody_else(aws, PLACE.path, '{"user": "other", "key": "theirs"}')
    with pytest.raises(Taken):
        store.put(FIELD, Secret("mine again"), LABELS, Secret("mine"))
    store.put(FIELD, Secret("mine again"), LABELS, Secret("theirs"))
    store.delete(FIELD)
    text = theirs.get_secret_value(SecretId=PLACE.path, VersionStage="AWSCURRENT")["SecretString"]
    assert json.loads(text) == {"user": "other"}


def test_a_recovery_window_lets_people_have_the_last_value_back(aws: str) -> None:
    store = AwsSecretsManager("aws", options(aws, recovery_window="7d"), os.environ)
    store.put(PLACE, Secret("value"), LABELS)
    store.delete(PLACE)
    assert store.look(PLACE) is None
    theirs = client(aws, "secretsmanager")
    theirs.restore_secret(SecretId=PLACE.path)
    assert store.get(PLACE) is None
    previous = theirs.get_secret_value(SecretId=PLACE.path, VersionStage="AWSPREVIOUS")
    assert previous["SecretString"] == "value"
    store.delete(PLACE)
    assert "DeletedDate" in theirs.describe_secret(SecretId=PLACE.path)


def test_without_a_recovery_window_nothing_stays(aws: str) -> None:
    store = AwsSecretsManager("aws", options(aws), os.environ)
    for place in (PLACE, FIELD):
        store.put(place, Secret("value"), LABELS)
        store.delete(place)
        assert names(aws) == []


def test_parameters_are_encrypted_and_tagged_and_have_versions(aws: str) -> None:
    store = AwsSsm("aws", options(aws, tags={"team": "payments"}, kms_key="alias/keyform"))
    first = store.put(PLACE, Secret("one"), LABELS)
    store.put(PLACE, Secret("two"), LABELS)
    theirs = client(aws, "ssm")
    [told] = theirs.describe_parameters()["Parameters"]
    assert (told["Name"], told["Type"], told["KeyId"], told["Version"], told["Tier"]) == (
        "/prod/checkout", "SecureString", "alias/keyform", 2, "Standard",
    )  # fmt: skip
    tags = theirs.list_tags_for_resource(ResourceType="Parameter", ResourceId="/prod/checkout")["TagList"]
    assert {"Key": "team", "Value": "payments"} in tags
    assert {"Key": "keyform:address", "Value": LABELS["address"]} in tags
    store.delete(PLACE)
    store.put(PLACE, Secret("anew"), LABELS)
    assert store.get(PLACE, first) is None, "numbers start anew with a new parameter; versions do not"


def test_a_parameter_of_another_type_is_left_alone(aws: str) -> None:
    client(aws, "ssm").put_parameter(Name="/prod/checkout", Value="plain", Type="String")
    store = AwsSsm("aws", options(aws))
    with pytest.raises(StoreError, match="of type String, which is not encrypted"):
        store.put(PLACE, Secret("value"), LABELS)


@contextmanager
def in_front(url: str, service: str, intercept: Callable[[str, dict[str, Any]], Answer]) -> Iterator[str]:
    """A server that hands on what ``intercept`` answers with ``{}``."""

    def answer(operation: str, request: dict[str, Any]) -> Answer:
        if (told := intercept(operation, request)) != {}:
            return told
        target = {"ssm": "AmazonSSM"}.get(service, service)
        answered = httpx.post(
            url,
            json=request,
            headers={
                "X-Amz-Target": f"{target}.{operation}",
                "Content-Type": "application/x-amz-json-1.1",
                "Authorization": f"AWS4-HMAC-SHA256 Credential=x/20261120/{REGION}/{service}/aws4_request",
            },
            trust_env=False,
        )
        body: dict[str, Any] = answered.json()
        return Failure(body["__type"], body.get("message", "")) if answered.is_error else body

    with answering(answer) as front:
        yield front


def test_a_parameter_that_changes_right_before_the_write_is_given_back(aws: str) -> None:
    theirs = client(aws, "ssm")

    def intercept(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "PutParameter" and request["Value"] == "mine again":
            theirs.put_parameter(Name="/prod/checkout", Value="theirs", Type="SecureString", Overwrite=True)
        return {}

    with in_front(aws, "ssm", intercept) as url:
        store = AwsSsm("aws", options(url))
        store.put(PLACE, Secret("mine"), LABELS)
        with pytest.raises(Taken):
            store.put(PLACE, Secret("mine again"), LABELS, Secret("mine"))
        assert AwsSsm("aws", options(aws)).get(PLACE) == Secret("theirs")


def test_a_role_is_taken_on(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)
    store = AwsSecretsManager(
        "aws", options(aws, role_arn="arn:aws:iam::123456789012:role/keyform"), os.environ
    )
    store.put(PLACE, Secret("value"), LABELS)
    assert store.get(PLACE) == Secret("value")


# The whole way

KEYS = """
version: 1
services: {{sandbox: {{type: embedded}}}}
stores:
  aws: {{type: {type}, region: eu-west-1, endpoint_url: "{url}"}}
defaults: {{store: aws}}
keys:
  checkout: {{service: sandbox, name: checkout, secret: prod/checkout}}
  reader:
    for_each: [us-east, eu-west]
    service: sandbox
    name: "Reader ${{each.key}}"
    secret: {secret}
"""


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("aws-secrets-manager", '{path: prod/readers, field: "${each.key}"}'),
        ("aws-ssm", '"prod/readers/${each.key}"'),
    ],
)
def test_keys_go_from_a_service_into_aws_and_leave_nothing(
    aws: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, secret: str
) -> None:
    file = tmp_path / "keyform.yaml"
    file.write_text(KEYS.format(type=kind, url=aws, secret=secret))

    def keyform(*argv: str) -> str:
        capfd.readouterr()
        assert run(["-C", str(tmp_path), *argv]) == 0, capfd.readouterr().err
        told = capfd.readouterr()
        return told.out + told.err

    texts = [keyform("-vv", "apply", "--auto-approve")]
    store = open_store("aws", kind, options(aws), tmp_path)
    place = Place("aws", "prod/checkout")
    minted = store.get(place)
    assert minted is not None
    assert "No changes." in keyform("plan")
    held = store.look(place)
    assert held is not None
    assert held.labels["address"] == "keys.checkout"
    file.write_text(file.read_text().replace("name: checkout,", "name: checkout, environment: test,"))
    texts.append(keyform("-vv", "apply", "--auto-approve"))
    replaced = store.get(place)
    assert replaced not in (None, minted)
    named = "name: checkout, environment: test,"
    file.write_text(file.read_text().replace(named, f"{named} rotation: {{overlap: 1d}},"))
    texts.append(keyform("-vv", "rotate", "checkout", "--auto-approve"))
    assert store.get(place) not in (None, minted, replaced)
    texts.append(keyform("-vv", "rollback", "checkout", "--auto-approve"))
    assert store.get(place) == replaced
    assert "No changes." in keyform("plan")
    texts += [keyform("-vv", "doctor"), keyform("-vv", "destroy", "--auto-approve", "--allow-mass-change")]
    for text in texts:
        assert minted.reveal() not in text
        assert CREDENTIAL["AWS_SECRET_ACCESS_KEY"] not in text
    assert names(aws) == []
    assert client(aws, "ssm").describe_parameters()["Parameters"] == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDeniedException", "lacks secretsmanager:CreateSecret"),
        ("ThrottlingException", "throttled CreateSecret"),
    ],
)
def test_nothing_is_minted_that_could_not_be_stored(
    aws: str, world: World, code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *asked: 0)
    with in_front(
        aws, "secretsmanager", lambda asked, _: Failure(code) if asked == "CreateSecret" else {}
    ) as url:
        world.write(KEYS.format(type="aws-secrets-manager", url=url, secret='"r/${each.key}"'))
        with pytest.raises(StoreError, match=words):
            world.apply()
        assert world.live() == {}


def test_a_credential_that_expires_in_the_run_costs_nothing(aws: str, world: World) -> None:
    expired = Failure("ExpiredTokenException", "The security token included in the request is expired")
    created: list[str] = []
    good: list[bool] = []

    def intercept(operation: str, request: dict[str, Any]) -> Answer:
        if operation == "CreateSecret":
            created.append(request["Name"])
        return expired if len(created) > 2 and not good else {}

    with in_front(aws, "secretsmanager", intercept) as url:
        world.write(KEYS.format(type="aws-secrets-manager", url=url, secret='"r/${each.key}"'))
        outcome = world.apply()
        assert outcome.failed
        assert any("has expired" in problem.summary for problem in outcome.failed)
        assert len(world.live()) == len(names(aws)) == 1, "what could not be stored was revoked again"
        good.append(True)
        assert not world.apply().failed
        assert len(world.live()) == len(names(aws)) == 3
