"""Arrows run one way: a module may import only what stands below it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "keyform"

MAY_IMPORT = {
    "model": set(),
    "diagnostics": {"model"},
    "errors": {"diagnostics"},
    "acceptance": {"model"},
    "dashboard": set(),
    "patterns": set(),
    "profile": {"model", "dashboard", "patterns"},
    "contract": {"profile"},
    "key_text": {"model", "patterns", "profile"},
    "options": {"model", "diagnostics", "profile"},
    "ports": {"model", "diagnostics", "profile"},
    "masking": {"model", "diagnostics", "errors"},
    "encoding": {"model"},
    "doubt": {"encoding", "model"},
    "terms": {"encoding", "model"},
    "ended": {"model"},
    "state": {"doubt", "encoding", "ended", "model", "errors", "terms"},
    "files": set(),
    "clock": set(),
    "schemas_location": set(),
    "engine": {
        "acceptance", "dashboard", "doubt", "encoding", "ended", "model", "diagnostics", "errors", "profile",
        "ports", "state", "schemas_location", "terms",
    },
    "documents": {"model", "diagnostics"},
    "config": {
        "acceptance", "contract", "documents", "model", "diagnostics", "errors", "profile", "options",
        "schemas_location",
    },
    "services": {
        "", "dashboard", "documents", "model", "diagnostics", "errors", "key_text", "masking", "patterns",
        "profile", "options", "ports", "schemas_location", "reference",
    },
    "stores": {"", "model", "diagnostics", "errors", "masking", "ports", "files"},
    "states": {"model", "diagnostics", "errors", "ports", "files"},
    "conformance": {"model", "diagnostics", "errors", "profile", "ports"},
    "registry": {"model", "errors", "config", "ports", "services", "stores", "states"},
    "apply": {
        "doubt", "encoding", "ended", "model", "diagnostics", "errors", "key_text", "masking", "profile",
        "ports", "state", "engine", "config", "registry", "services",
    },
    "report": {
        "contract", "doubt", "encoding", "model", "diagnostics", "profile", "ports", "state", "engine",
        "terms",
    },
    "reference": set(),
}  # fmt: skip
"""For each part of the package, the others that it may import; ``cli`` may import all of them."""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")


def imports_of(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ("keyform", *file.relative_to(PACKAGE).parts)[: -node.level] if node.level else ()
            module = ".".join((*package, *filter(None, [node.module])))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(file for file in PACKAGE.rglob("*.py") if part_of(file) not in ("cli", "", "__main__"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_arrow_runs_back(file: Path) -> None:
    part = part_of(file)
    ours = {tuple(name.split(".")) for name in imports_of(file) if name.split(".")[0] == "keyform"}
    used = {"" if parts[1].startswith("__") else parts[1] for parts in ours if len(parts) > 1} - {part}
    assert used <= MAY_IMPORT[part], f"{part} imports {sorted(used - MAY_IMPORT[part])}"


@pytest.mark.parametrize("file", sorted((PACKAGE / "engine").rglob("*.py")), ids=lambda file: file.name)
def test_the_engine_is_pure(file: Path) -> None:
    forbidden = {"os", "io", "time", "pathlib", "socket", "random", "uuid", "secrets", "threading", "httpx"}
    text = file.read_text()
    assert not {name.split(".")[0] for name in imports_of(file)} & forbidden
    assert not re.findall(r"[.](?:now|today)\(|(?<!\w)(?:open|print)\(", text)


def test_files_stay_short() -> None:
    long = {
        str(file.relative_to(ROOT)): count
        for file in PACKAGE.rglob("*.py")
        if (count := len(file.read_text().splitlines())) > 360
    }
    assert long == {}
