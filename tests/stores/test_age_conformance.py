"""The age store passes the suite that every store passes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from keyform.conformance.store import StoreConformance
from keyform.model import Place
from keyform.stores.age import AgeStore


class TestAgeStore(StoreConformance):
    refused = (
        Place("local", "prod/web", "publishable"),
        *(
            Place("local", path)
            for path in (
                "", "/", "/etc/passwd", "a/", "a//b", ".", "..", "../out", "a/../../out", "a/./b",
                "nul\0byte", "new\nline", "escape\x1b[2J", "a.age/b", "\udcff", "x" * 252, "é" * 126,
                "/".join(["folder"] * 700),
            )
        ),
    )  # fmt: skip

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], AgeStore]:
        return functools.partial(AgeStore, "local", tmp_path / "secrets", identity=tmp_path / "identity.txt")
