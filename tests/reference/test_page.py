"""docs/reference-service.md names every call that the reference service answers, and no other."""

from __future__ import annotations

import re
import time
from pathlib import Path

import falcon.inspect
import pytest

from keyform.reference import DIALECTS, contract
from keyform.reference.account import Account, Options
from keyform.reference.app import create_app
from keyform.reference.catalogue import CONTRACT
from keyform.reference.dialects import BUILDERS
from keyform.reference.faults import PATH, Faults, FaultScript
from keyform.reference.storage import Storage
from keyform.reference.web import App
from keyform.services.profiles import load_profile

PAGE = Path(__file__).parents[2] / "docs" / "reference-service.md"
ROW = re.compile(r"^\| `([A-Z]+) (\S+)` \| (vendor|named|contract|stand-in) \| \S", re.MULTILINE)
Call = tuple[str, str]


def account() -> Account:
    return Account(Storage(None), b"pepper" * 6, "root", time.time, None, Options())


def calls_of(app: App) -> set[Call]:
    return {
        (method.method, route.path.replace(":path}", "}"))
        for route in falcon.inspect.inspect_app(app).routes
        for method in route.methods
        if not method.internal
    }


def written(section: str) -> dict[Call, str]:
    """The calls of one section of the page, and what stands behind each."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = ROW.findall(text)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(found) == len(rows), f"a row of {section} cannot be read"
    return {(method, path): behind for method, path, behind in found}


def test_the_contract_is_whole() -> None:
    app = contract.build(*account().core(CONTRACT), CONTRACT)
    app.add_route(PATH, FaultScript(Faults(())))
    assert set(written("The contract")) == calls_of(app)


@pytest.mark.parametrize("name", [name for name in DIALECTS if name in BUILDERS])
def test_each_service_is_whole(name: str) -> None:
    served = calls_of(BUILDERS[name](account()))
    contracts = {call for call, behind in written("The contract").items() if behind == "contract"}
    its_own = written(name)
    if contracts <= served:
        served -= contracts
        assert "The contract's calls with" in PAGE.read_text().partition(f"\n## {name}\n")[2][:100]
    assert set(its_own) == served


def test_what_a_profile_calls_documented_is_the_vendors_on_the_page_too() -> None:
    for name in (*BUILDERS, "revkeen-cart"):
        profile = load_profile(name, Path())
        assert profile is not None
        page = written(name.removesuffix("-cart"))
        for operation, how in profile.operations.items():
            tree = profile.rest.get("operations", {}).get(operation, {})
            path = re.sub(r"\{\w+\}", "{}", str(tree.get("path", "")))
            if how == "documented" and path:
                behind = {b for (_, p), b in page.items() if re.sub(r"\{\w+\}", "{}", p) == path}
                assert behind == {"vendor"}, (name, operation, path)


def test_every_service_that_is_served_has_a_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    served = [name for name in DIALECTS if f"\n## {name}\n" not in text]
    assert served == [name for name in DIALECTS if name not in BUILDERS]
    with pytest.raises(ValueError, match="there is no service"):
        create_app(None, service="acme")
