"""What the shell offers behind Tab: addresses, services, types and paths. Nothing is called and no secret
is read; whatever goes wrong, there is nothing to offer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from keyform.errors import KeyformError

if TYPE_CHECKING:
    from keyform.config import Config

_PLAIN = re.compile(r"([^\w@%+=:,./-])")


def addresses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the state owns."""
    return _offer(_recorded(_config(ctx)), incomplete)


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What the state owns and what is declared."""
    config = _config(ctx)
    return _offer({*_recorded(config), *_declared(config)}, incomplete)


def undone(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Declared keys that the state does not have."""
    config = _config(ctx)
    keys = {address for address in _declared(config) if address.startswith("keys.")}
    return _offer(keys - {*_recorded(config)}, incomplete)


def services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The declared services."""
    config = _config(ctx)
    return [CompletionItem(name) for name in config.services if name.startswith(incomplete)] if config else []


def types(incomplete: str) -> list[CompletionItem]:
    """The known service types."""
    from keyform.services.profiles import known_types

    return [CompletionItem(name) for name in known_types() if name.startswith(incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, from the folder that ``-C`` names."""
    folder = _folder(ctx)
    if str(folder) == ".":
        return [CompletionItem(incomplete, type="file")]
    head, _, start = incomplete.rpartition("/")
    found: list[CompletionItem] = []
    with suppress(OSError):
        for entry in sorted(os.scandir(folder / f"{head}/" if head else folder), key=lambda e: e.name):
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                path = f"{head}/{entry.name}" if head or incomplete.startswith("/") else entry.name
                found.append(CompletionItem(path + ("/" if entry.is_dir() else "")))
    return found


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.find_root().params.get("folder") or ".")


def _config(ctx: click.Context) -> Config | None:
    from keyform.clock import SystemClock
    from keyform.registry import load_config

    with suppress(KeyformError):
        return load_config(_folder(ctx), SystemClock(), offline=True)
    return None


def _declared(config: Config | None) -> list[str]:
    if config is None:
        return []
    desired = config.desired
    return [key.address for key in desired.keys] + [project.address for project in desired.projects]


def _recorded(config: Config | None) -> list[str]:
    from keyform.registry import open_backend
    from keyform.state import load_state

    # Only the local backend can be read without a call.
    if config is None or config.state.backend != "local" or not config.state.known:
        return []
    with suppress(KeyformError, OSError):
        backend = open_backend(config.state.backend, config.state.options, config.folder)
        if (snapshot := backend.read()) is not None:
            state = load_state(snapshot.data, "")
            return [*state.keys, *state.projects]
    return []


def _offer(found: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Addresses that begin like ``incomplete``, which may leave the ``keys.`` out. bash takes an offer as it
    is, so that what is special to it needs a backslash; other shells quote for themselves."""
    ordered = sorted(address for address in found if address.isprintable())
    names = [address for address in ordered if address.startswith(incomplete)]
    if not names:
        short = (address.removeprefix("keys.") for address in ordered)
        names = [name for name in short if name.startswith(incomplete)]
    if os.environ.get("_KEYFORM_COMPLETE", "").startswith("bash"):
        # Two, for the script that click writes reads its lines with one of them gone.
        names = [_PLAIN.sub(r"\\\\\1", name) for name in names]
    return [CompletionItem(name) for name in names]
