"""Clients of services that a test makes up: a profile as text, and a function that answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from keyform.model import Secret
from keyform.services import open_service
from keyform.services.profiles import load_profile
from tests.services.conftest import ManualClock

LEAST = """
version: 1
title: Made up
base_url: https://made-up.example
fields: [name]
{top}
operations:
  create: {{backing: documented, path: /keys, body: {{name: "{{name}}"}}, id: id, secret: secret}}
  revoke: {{backing: documented, method: DELETE, path: "/keys/{{id}}"{revoke}}}
{operations}
"""


def profile_text(top: str = "", operations: str = "", revoke: str = "") -> str:
    return LEAST.format(top=top, operations=operations, revoke=revoke)


def speaking(
    text: str,
    answer: Callable[[httpx.Request], httpx.Response],
    clock: ManualClock | None = None,
    **options: Any,
) -> Any:
    """A client for the profile ``text`` of a service that answers with ``answer``."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "made-up.yaml").write_text(text, encoding="utf-8")
        profile = load_profile("./made-up.yaml", Path(folder))
    assert profile is not None
    return open_service(
        "made-up",
        "./made-up.yaml",
        profile=profile,
        endpoint=options.pop("endpoint", None),
        credential=Secret("CANARY-credential"),
        options=options,
        folder=Path(),
        clock=clock or ManualClock(),
        wrap_transport=lambda _: httpx.MockTransport(answer),
    )


def body(request: httpx.Request) -> Any:
    return json.loads(request.content)
