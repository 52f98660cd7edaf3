"""The service stays an honest counterpart: it imports nothing from the rest of keyform."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import keyform.reference

PACKAGE = Path(keyform.reference.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(module: Path) -> set[str]:
    """The absolute names that a module imports, relative imports resolved."""
    package = ["keyform", "reference", *module.relative_to(PACKAGE).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names.add(".".join([*base, *([node.module] if node.module else [])]))
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_the_service_imports_nothing_from_the_rest_of_keyform(module: Path) -> None:
    own = ("keyform.reference", "keyform.reference.")
    strangers = {
        name
        for name in imported(module)
        if name.split(".")[0] == "keyform" and name != own[0] and not name.startswith(own[1])
    }
    assert not strangers


def test_the_test_sees_imports() -> None:
    assert "keyform.reference.storage" in imported(PACKAGE / "service.py")
    assert "sqlite3" in imported(PACKAGE / "storage.py")
