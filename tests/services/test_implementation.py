"""What data cannot say: a class of one's own, as docs/profiles.md shows it."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyform.errors import ConfigError, ServiceError
from tests.services.conftest import ManualClock
from tests.services.speaking import profile_text, speaking

DOCS = Path(__file__).parent.parent.parent / "docs" / "profiles.md"
TEXT = profile_text(
    "implementation: acme-patient\noptions: {tries: {default: '3'}}\n"
    "key: {id: id, status: {revoked: {ended: true}}}",
    "  list: {backing: documented, path: /keys, items: keys}",
)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"<!-- tested: implementation -->\n```python\n(.*?)```", DOCS.read_text(), re.S)
    assert block is not None
    space: dict[str, Any] = {}
    exec(block[1], space)  # noqa: S102  (the documentation's own example)

    class Entry:
        def load(self) -> Any:
            return space["Patient"]

    def entry_points(*, group: str, name: str) -> tuple[Entry, ...]:
        return (Entry(),) if (group, name) == ("keyform.services", "acme-patient") else ()

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("listings", "fails"), [(2, False), (9, True)])
def test_the_class_of_the_documentation_waits(listings: int, fails: bool, clock: ManualClock) -> None:
    shown = [False] * listings + [True] * 9

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(204)
        return httpx.Response(200, json={"keys": [{"id": "k1", "ended": shown.pop(0)}]})

    service = speaking(TEXT, answer, clock)
    if fails:
        with pytest.raises(ServiceError, match="still shows k1"):
            service.revoke("k1")
    else:
        service.revoke("k1")
    assert clock.monotonic() == 2 * min(listings, 3)
    assert service.profile.title == "Made up"


def test_a_class_that_is_not_installed_is_told_with_its_place(clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="implementation: `acme-patient` is not installed") as told:
        speaking(TEXT, lambda request: httpx.Response(500), clock)
    (found,) = told.value.diagnostics
    assert "entry-point group `keyform.services`" in found.detail
    assert found.location is not None
    assert found.location.line == TEXT.splitlines().index("implementation: acme-patient") + 1


@pytest.mark.parametrize("problem", [ImportError("no module acme"), AttributeError("no Patient in acme")])
def test_a_class_that_cannot_be_loaded_is_told(
    problem: Exception, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        def load(self) -> Any:
            raise problem

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (Entry(),))
    with pytest.raises(ConfigError, match=f"'acme-patient' cannot be loaded: {problem}"):
        speaking(TEXT, lambda request: httpx.Response(500), clock)
