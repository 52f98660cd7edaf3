"""The crash matrix over a real Vault, down to each single request that is sent to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from keyform.apply import Wrapping
from keyform.model import Place
from tests.conftest import Figures
from tests.promises.matrix import Matrix, Steps, StoreKind
from tests.servers.vault import ROOT, Vault, vault

pytestmark = pytest.mark.integration

PARTS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with vault(tmp_path_factory.mktemp("vault")) as running:
        yield running


def below(server: Vault, path: str) -> Iterator[str]:
    """The paths below this one, which ends with a slash, that hold something."""
    listed = server.ask("LIST", f"secret/metadata/{path}").get("data", {"keys": []})["keys"]
    for name in listed:
        if name.endswith("/"):
            yield from below(server, path + name)
        elif server.ask("GET", f"secret/data/{path}{name}")["data"]["data"]:
            yield path + name


class EachRequest(Matrix):
    """Every request to Vault is an effect, instead of each call of the store."""

    def wrapping(self, steps: Steps) -> Wrapping:
        count_requests(steps, pytest.MonkeyPatch())  # in a child, which dies
        return Wrapping()

    def effects(self) -> int:
        steps, world = Steps(), self.fresh()
        with pytest.MonkeyPatch.context() as patch:
            count_requests(steps, patch)
            assert not world.apply().failed
        return steps.count


def count_requests(steps: Steps, patch: pytest.MonkeyPatch) -> None:
    send = HTTPAdapter.send

    def counted(adapter: HTTPAdapter, *args: Any, **kwargs: Any) -> Any:
        return steps.take(lambda: send(adapter, *args, **kwargs))

    patch.setattr(HTTPAdapter, "send", counted)


def kind(server: Vault) -> StoreKind:
    base = f"{uuid.uuid4().hex}/"
    declared = f'{{type: vault, address: "{server.url}", prefix: {base}, token: "${{env:KEYFORM_TOKEN}}"}}'

    def entries(prefix: str) -> set[Place]:
        return {Place("local", path.removeprefix(base), "value") for path in below(server, base + prefix)}

    return StoreKind(declared, entries)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_before_or_after_any_effect_costs_nothing(
    server: Vault, tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    matrix = Matrix(tmp_path, kind(server))
    failures = matrix.every_point(part, PARTS)
    what = f"crash matrix over Vault, part {part + 1} of {PARTS}"
    figures(what, f"{matrix.points} points, {len(failures)} failures")
    assert failures == []


@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_before_or_after_any_request_to_vault_costs_nothing(
    server: Vault, tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setenv("KEYFORM_TOKEN", ROOT)
    matrix = EachRequest(tmp_path, kind(server))
    failures = matrix.every_point(part, PARTS)
    what = f"crash matrix over each request to Vault, part {part + 1} of {PARTS}"
    figures(what, f"{matrix.points} points, {len(failures)} failures")
    assert failures == []
