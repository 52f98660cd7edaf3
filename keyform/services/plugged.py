"""Classes for what a profile cannot say: keyform's own, and those of installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyform.errors import ConfigError
from keyform.ports import Service

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from keyform.services import Opening

PLUG_INS = "keyform.services"
"""Entry-point group of classes for what a profile cannot say; a profile names one as ``implementation``."""

_BUILT_IN = {"ensured": ("keyform.services.ensured", "Ensured")}
"""By the name that a profile gives."""


def is_installed(implementation: str) -> bool:
    """Whether there is a class of that name. Loads nothing."""
    return implementation in _BUILT_IN or _entry(implementation) is not None


def plugged(implementation: str, service: Service, opening: Opening) -> Service:
    """What the class of that name makes of the client that a profile describes. Raises ``ConfigError`` where
    there is none, or where it cannot be loaded."""
    made: Service = _load(implementation, opening.name)(service, opening)
    return made


def _load(implementation: str, service: str) -> Any:
    from importlib import import_module

    if implementation in _BUILT_IN:
        module, name = _BUILT_IN[implementation]
        return getattr(import_module(module), name)
    entry = _entry(implementation)
    if entry is None:
        raise ConfigError(
            f"service {service!r}: its profile names the implementation {implementation!r}, which is not "
            "installed",
            f"Install the package that has it in the entry-point group `{PLUG_INS}`.",
        )
    try:
        return entry.load()
    except (ImportError, AttributeError) as problem:
        what = str(problem)
    raise ConfigError(
        f"service {service!r}: the implementation {implementation!r} cannot be loaded: {what}",
        f"Mend the package that names it in the entry-point group `{PLUG_INS}`, or install it anew.",
    )


def _entry(implementation: str) -> EntryPoint | None:
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=PLUG_INS, name=implementation)), None)
