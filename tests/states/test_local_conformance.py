"""The local backend passes the suite that every state backend passes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from keyform.conformance.state_backend import StateBackendConformance
from keyform.states.local import LocalBackend


class TestLocalBackend(StateBackendConformance):
    @pytest.fixture
    def open_backend(self, tmp_path: Path) -> Callable[[], LocalBackend]:
        return functools.partial(LocalBackend, tmp_path / "project" / ".keyform" / "state.json")
