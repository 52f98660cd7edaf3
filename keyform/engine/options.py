"""How to plan: what somebody asked of it. A saved plan holds it, so that it can be made once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

NORMAL, DESTROY, REFRESH_ONLY, IMPORT_ONLY = "normal", "destroy", "refresh-only", "import-only"


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asked for a new generation of a key. ``now``: the old ones are not to live on beside it."""

    reason: str | None = None
    now: bool = False

    @property
    def words(self) -> str:
        return f"asked for: {self.reason}" if self.reason else "asked for"


@dataclass(frozen=True, slots=True)
class Options:
    """How to plan. ``targets`` are addresses (all instances of a ``for_each`` by its bare address);
    ``allow_mass_change`` lifts the guard on ending or replacing a large part of the keys;
    ``allow_endpoint_change`` says that services and stores whose declared address is not the recorded one
    are the same ones under a new address. ``rotate`` are addresses of keys that somebody asked to rotate
    whether they are due or not, to which the plan is then limited as by ``targets``; ``rotate_reason`` says
    why (one line), and ``rotate_now`` that the old generations are not to live on beside the new one.
    ``end_old`` are addresses whose old generations are to end now, with no new one; they limit it too, as
    does ``rollback``, of keys whose older generation is to be current again."""

    mode: str = NORMAL
    targets: tuple[str, ...] = ()
    allow_mass_change: bool = False
    allow_endpoint_change: bool = False
    rotate: tuple[str, ...] = ()
    rotate_reason: str | None = None
    rotate_now: bool = False
    end_old: tuple[str, ...] = ()
    rollback: tuple[str, ...] = ()
    rollback_reason: str | None = None

    def asked(self, address: str) -> Asked | None:
        """What was asked for the key at this address, by the bare address of a ``for_each`` too."""
        if address in self.rotate or address.partition("[")[0] in self.rotate:
            return Asked(self.rotate_reason, self.rotate_now)
        return None

    def rolls_back(self, address: str) -> bool:
        """Whether the key at this address is to be rolled back."""
        return address in self.rollback or address.partition("[")[0] in self.rollback

    @property
    def scope(self) -> tuple[str, ...]:
        """The addresses that the plan is limited to; empty for all."""
        return tuple(dict.fromkeys((*self.targets, *self.rotate, *self.end_old, *self.rollback)))

    def as_json(self) -> dict[str, Any]:
        """JSON form of what was asked for beside the mode and the addresses that the plan is limited to;
        absent parts are left out."""
        asked = ((name, getattr(self, name)) for name in _BESIDE)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asked if value}

    @staticmethod
    def from_json(mode: str, scope: tuple[str, ...], data: Mapping[str, Any]) -> Options:
        """The inverse of :meth:`as_json`. ``scope``: the addresses that the plan is limited to."""
        asked: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return replace(Options(mode, scope), **asked)


_BESIDE = tuple(field.name for field in fields(Options) if field.name not in ("mode", "targets"))

NORMALLY = Options()
