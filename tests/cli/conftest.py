"""Running the command line in this process, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyform.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What one command line came to."""

    code: int
    out: str
    err: str


Keyform = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "KEYFORM_TRACEBACK", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def keyform(folder: Path, capsys: pytest.CaptureFixture[str]) -> Keyform:
    """``keyform -C folder ARGV``."""

    def call(*argv: str, **settings: object) -> Ran:
        capsys.readouterr()
        code = run(["-C", str(folder), *argv], **settings)
        return Ran(code, *capsys.readouterr())

    return call


ONE_KEY = """\
version: 1
services: {sandbox: {type: embedded}}
keys:
  backend:
    service: sandbox
    kind: secret
    name: Backend
    scopes: ["events:write"]
    secret: backend
"""


@pytest.fixture
def one_key(folder: Path) -> Path:
    """A configuration that declares one key; its file."""
    file = folder / "keyform.yaml"
    file.write_text(ONE_KEY)
    return file


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str], None]:
    """Replace a text in the configuration."""

    def replace(before: str, after: str) -> None:
        file = folder / "keyform.yaml"
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))

    return replace
