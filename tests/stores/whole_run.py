"""A run from the configuration to nothing left, the same for every store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from keyform.cli.main import run
from tests.conftest import MINTED

KEYS = """
version: 1
services: {{sandbox: {{type: embedded}}}}
stores: {{into: {store}}}
keys:
  one: {{service: sandbox, environment: live, secret: {{store: into, path: {one}}}}}
  two: {{service: sandbox, kind: read, secret: {{store: into, path: {two}}}}}
"""


def check_whole_run(
    folder: Path,
    store: str,
    one: str,
    two: str,
    read: Callable[[str], str | None],
    capfd: pytest.CaptureFixture[str],
    *,
    remembers: bool = False,
) -> None:
    """Apply a configuration with ``store`` (in YAML), see nothing to change, replace a key, rotate one and
    roll it back, destroy. ``read`` tells what whoever uses the store finds at a path; ``remembers``: the
    store gives earlier versions back, so that a rollback succeeds. No secret is printed, the debug log
    included."""

    told = ""

    def keyform(*command: str, code: int = 0) -> str:
        nonlocal told
        ended = run(["-vv", "-C", str(folder), *command])
        out, err = capfd.readouterr()
        told += out + err
        assert ended == code, err
        return err

    (folder / "keyform.yaml").write_text(KEYS.format(store=store, one=one, two=two))
    seen = []
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        keyform("apply", "--auto-approve")
        first = read(one)
        seen += [first, read(two)]
        assert all(text and re.fullmatch(MINTED.pattern.decode(), text) for text in seen), "the keys arrived"
        keyform("plan", "--detailed-exitcode")
        keyform("doctor")
        written = folder / "keyform.yaml"
        written.write_text(written.read_text().replace("environment: live", "environment: test"))
        keyform("apply", "--auto-approve")
        seen.append(read(one))
        assert seen[-1] not in (None, first)
        before = read(two)
        written.write_text(written.read_text().replace("kind: read,", "kind: read, rotation: {overlap: 1d},"))
        keyform("rotate", "two", "--auto-approve")
        seen.append(read(two))
        assert seen[-1] not in (None, before)
        refused = keyform("rollback", "two", "--auto-approve", code=0 if remembers else 1)
        assert read(two) == (before if remembers else seen[-1])
        assert remembers or "cannot be rolled back" in refused
        keyform("plan", "--detailed-exitcode")
        keyform("destroy", "--auto-approve", "--allow-mass-change")
        assert (read(one), read(two)) == (None, None)
    finally:
        logging.getLogger().setLevel(logging.WARNING)
    assert not [text for text in seen if text and text in told]
