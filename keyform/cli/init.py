"""``keyform init``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from keyform.config.read import is_config_file
from keyform.errors import ConfigError
from keyform.files import advice, reason
from keyform.schemas_location import schema_text

if TYPE_CHECKING:
    from pathlib import Path

    from keyform.cli.session import Session

_FILE = "keyform.yaml"
_SCHEMA = "keyform.schema.json"
_IGNORED = ".keyform/"
_IGNORE = f"# Secrets, state and the embedded key service: nothing for a repository.\n{_IGNORED}\n"

STARTER = f"""\
# yaml-language-server: $schema={_SCHEMA}
#
# keyform reads every *.yaml file of this folder. `keyform plan` shows what would change, `keyform apply`
# does it. Each new secret goes from its service straight to its store and is never shown.
version: 1

services:
  # A key service that runs inside keyform and keeps its data under .keyform/. A real one has an address,
  # and its credential comes from the environment:
  #   sandbox: {{type: embedded, endpoint: "https://keys.example.com", credential: "${{env:KEYS_TOKEN}}"}}
  sandbox: {{type: embedded}}

stores:
  # One encrypted age file per secret.
  local: {{type: age, path: .keyform/secrets}}

defaults:
  store: local
  expires_in: 90d

projects:
  # The web pages that may use the public keys of the project.
  web:
    service: sandbox
    allowed_origins: ["https://www.example.com", "http://localhost:3000"]

keys:
  # A key that sits in a web page. It works from the project's origins only.
  snippet:
    service: sandbox
    kind: public
    project: web
    name: Web snippet
    scopes: ["events:write"]
    secret: web/snippet

  # A key for a server. `protect` refuses every plan that would revoke or replace it.
  backend:
    service: sandbox
    kind: secret
    name: Backend
    scopes: ["events:write", "events:read"]
    secret: backend/events
    owner: platform-team
    # protect: true

  # One key per region that only reads: keys.dashboard["us-east"] and keys.dashboard["eu-west"].
  dashboard:
    for_each: [us-east, eu-west]
    service: sandbox
    kind: read
    name: "Dashboard ${{each.key}}"
    scopes: ["reports:read"]
    secret: "dashboard/${{each.key}}"

  # A key for the whole account, for a nightly job.
  nightly:
    service: sandbox
    kind: account
    name: Nightly job
    scopes: ["projects:read"]
    expires_in: 30d
    secret: jobs/nightly
"""


@click.command("init")
@click.argument("directory", metavar="[DIR]", default=".")
@click.pass_obj
def command(session: Session, directory: str) -> None:
    """Write a commented starting configuration to DIR (default: here).

    It uses the key service that comes with keyform, so that it can be applied at once. Nothing that
    exists is overwritten.
    """
    folder = session.path(directory)
    try:
        _write(folder)
    except OSError as problem:
        raise ConfigError(f"{folder} cannot be written: {reason(problem)}", advice(problem)) from None
    session.console.data(f"Wrote {folder / _FILE}, {folder / _SCHEMA} and {folder / '.gitignore'}.\n")
    here = replace(session, folder=folder)
    session.console.tell(f"Look into it, then:\n  {here.command('plan')}\n  {here.command('apply')}")


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(path.name for path in folder.iterdir() if is_config_file(path))
    if found:
        raise ConfigError(
            f"{folder} has a configuration already: {', '.join(found)}",
            "Choose another folder, or go on with the one there.",
        )
    ignore = folder / ".gitignore"
    lines = ignore.read_text(encoding="utf-8") if ignore.exists() else ""
    if _IGNORED not in lines.splitlines():
        gap = "" if not lines or lines.endswith("\n") else "\n"
        with ignore.open("a", encoding="utf-8") as file:
            file.write(f"{gap}{_IGNORE}")
    # Beside the configuration and committed with it, so that every editor finds it.
    if not (folder / _SCHEMA).exists():
        (folder / _SCHEMA).write_text(schema_text("config.schema.json"), encoding="utf-8")
    with (folder / _FILE).open("x", encoding="utf-8") as file:
        file.write(STARTER)
