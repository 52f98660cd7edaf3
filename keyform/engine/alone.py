"""Errors that hold back one key, while everything else is carried out."""

from __future__ import annotations

from collections.abc import Iterable

from keyform.diagnostics import ERROR, Diagnostic
from keyform.engine.clocks import CLOCK_SKEW
from keyform.engine.options import NORMAL, Options
from keyform.model import Desired

OVER = "end-has-passed"

_ALONE = frozenset({OVER, CLOCK_SKEW, "protected", "own-credential", "not-revocable", "service-not-declared"})
"""Codes of errors that say nothing against the rest of a plan: see docs/adr/0018."""


def held_back(desired: Desired, options: Options, problems: Iterable[Diagnostic]) -> tuple[str, ...]:
    """The addresses at which these problems let nothing be changed, each because of itself alone.

    Only declared ones: where a key that may not be revoked is gone from the configuration, that may be the
    wrong folder, branch or variables. Who destroys or imports is there, and means all of it.
    """
    if options.mode != NORMAL:
        return ()
    errors = [problem for problem in problems if problem.severity == ERROR]
    stopping = {problem.address for problem in errors if problem.code not in _ALONE}
    declared = {want.address for want in desired.keys} - stopping
    return tuple(dict.fromkeys(p.address for p in errors if p.address is not None and p.address in declared))
