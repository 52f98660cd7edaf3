"""Promise 3 over AWS Secrets Manager and the parameter store, as moto emulates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from keyform.model import Place
from tests.conftest import Figures
from tests.promises.matrix import Matrix, StoreKind
from tests.servers.moto import moto
from tests.stores.aws_answers import CREDENTIAL

pytestmark = pytest.mark.integration

REGION = "eu-west-1"
PARTS = 8  # so that several workers share the matrix, and none runs into the time limit of a test
CANARY = "keyform-canary-"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Clients of an account that is empty at first: each matrix counts its worlds from 1."""
    httpx.post(f"{server}/moto-api/reset", trust_env=False)
    for name, value in CREDENTIAL.items():
        monkeypatch.setenv(name, value)
    return lambda service: boto3.client(service, region_name=REGION, endpoint_url=server)


@pytest.mark.parametrize(("window", "part"), [*(("0d", part) for part in range(PARTS)), ("7d", 0)])
def test_a_crash_over_secrets_manager_costs_nothing(
    tmp_path: Path, figures: Figures, server: str, client: Callable[[str], Any], window: str, part: int
) -> None:
    secrets = client("secretsmanager")

    def entries(prefix: str) -> set[Place]:
        pages = secrets.get_paginator("list_secrets").paginate()
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
        return {Place("local", name) for name in names if name.startswith((prefix, CANARY))}

    options = f'region: {REGION}, endpoint_url: "{server}", recovery_window: {window}'
    kind = StoreKind(f"{{type: aws-secrets-manager, {options}}}", entries)
    run(Matrix(tmp_path, kind), part, f"AWS Secrets Manager (moto), recovery window {window}", figures)


@pytest.mark.parametrize("part", [0, 1])
def test_a_crash_over_the_parameter_store_costs_nothing(
    tmp_path: Path, figures: Figures, server: str, client: Callable[[str], Any], part: int
) -> None:
    parameters = client("ssm")

    def entries(prefix: str) -> set[Place]:
        pages = parameters.get_paginator("describe_parameters").paginate()
        names = [found["Name"].removeprefix("/") for page in pages for found in page["Parameters"]]
        return {Place("local", name) for name in names if name.startswith((prefix, CANARY))}

    kind = StoreKind(f'{{type: aws-ssm, region: {REGION}, endpoint_url: "{server}"}}', entries)
    run(Matrix(tmp_path, kind), part, "the parameter store of AWS (moto)", figures)


def run(matrix: Matrix, part: int, what: str, figures: Figures) -> None:
    failures = matrix.every_point(part, PARTS)
    figures(
        f"crash matrix over {what}, part {part + 1} of {PARTS}",
        f"{matrix.points} points, {len(failures)} failures",
    )
    assert failures == []
