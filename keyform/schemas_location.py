"""Where the published schemas are: beside the package in a wheel, in the repository in a checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def schema_text(name: str) -> str:
    """The text of ``schemas/NAME``. Raises ``FileNotFoundError`` when there is no such schema."""
    shipped = resources.files("keyform").joinpath("schemas", name)
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    return (Path(__file__).resolve().parent.parent / "schemas" / name).read_text(encoding="utf-8")
