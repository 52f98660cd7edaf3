"""A wheel, installed in an empty environment, runs the quickstart outside the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.integration  # pip fetches the build backend and the dependencies


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "HOME": str(cwd), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTPS_", "SSL_"))}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("keyform-*.whl")
    return found


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    made = run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    assert made.returncode == 0, made.stderr
    installed = run(folder / "venv/bin/pip", "install", "-q", wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return folder / "venv" / "bin"


def test_the_wheel_holds_schemas_and_profiles_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for schema in (ROOT / "schemas").iterdir():
        assert f"keyform/schemas/{schema.name}" in names
    for profile in (ROOT / "keyform/services/profiles").iterdir():
        assert f"keyform/services/profiles/{profile.name}" in names
    assert "keyform/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/")) or ".keyform/" in name]


def test_what_is_installed_finds_its_schemas(programs: Path, tmp_path: Path) -> None:
    code = (
        "import keyform; from keyform.schemas_location import schema_text\n"
        "print(keyform.__file__, len(schema_text('state.schema.json')))"
    )
    shown = run(programs / "python", "-c", code, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert str(ROOT) not in shown.stdout


def test_the_quickstart_runs(programs: Path, tmp_path: Path) -> None:
    project = tmp_path / "quickstart"
    shutil.copytree(ROOT / "examples/quickstart", project, ignore=shutil.ignore_patterns(".keyform"))
    keyform = programs / "keyform"

    applied = run(keyform, "-C", project, "apply", "--auto-approve", cwd=tmp_path)
    assert applied.returncode == 0, applied.stderr
    secrets = list(project.rglob("*.age"))
    assert len(secrets) >= 5
    for secret in secrets:
        assert secret.read_bytes().startswith(b"age-encryption.org/v1\n")

    again = run(keyform, "-C", project, "plan", "--detailed-exitcode", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
