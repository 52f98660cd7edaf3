"""The crash matrix over hosted stores: their stand-ins, reached over the network of this machine.

One point in six, since each takes about a second; ``PARTS = 1`` runs them all. Doppler cannot hold the names
that the matrix uses.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from keyform.model import Place
from tests.conftest import Figures
from tests.promises.matrix import Matrix, StoreKind
from tests.stores.standins import served
from tests.stores.standins.connect import Connect
from tests.stores.standins.infisical import PROJECT, Infisical

pytestmark = pytest.mark.integration

PARTS = 6


def test_a_crash_over_1password_costs_nothing(
    tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OP_CONNECT_TOKEN", "good-token")
    app = Connect()

    def entries(prefix: str) -> set[Place]:
        titles = {item["title"] for item in app.items.values()}
        return {Place("local", title, "credential") for title in titles if title.startswith(prefix)}

    with served(app) as url:
        declared = f'{{type: onepassword, vault: Keys, endpoint: "{url}"}}'
        matrix = Matrix(tmp_path, StoreKind(declared, entries))
        failures = matrix.every_point(0, PARTS)
    figures("crash matrix over 1Password's stand-in", f"{matrix.points} points, {len(failures)} failures")
    assert failures == []
    app.blame()


def test_a_crash_over_infisical_costs_nothing(
    tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET", "good-client-secret")
    app = Infisical()

    def entries(prefix: str) -> set[Place]:
        return {Place("local", path) for path in app.held() if path.startswith(prefix)}

    with served(app) as url:
        where = f'project_id: {PROJECT}, environment: prod, client_id: keyform, endpoint: "{url}"'
        matrix = Matrix(tmp_path, StoreKind(f"{{type: infisical, {where}}}", entries))
        failures = matrix.every_point(0, PARTS)
    figures("crash matrix over Infisical's stand-in", f"{matrix.points} points, {len(failures)} failures")
    assert failures == []
    app.blame()
