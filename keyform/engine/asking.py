"""Rotations that somebody asks for, and why one cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from keyform.diagnostics import Diagnostic, error
from keyform.engine.sight import Options, Sight


def not_rotatable(sight: Sight, options: Options) -> Iterator[Diagnostic]:
    """An error for each address that was asked for and has no key to rotate. One of a ``for_each`` by its
    bare name is good where any instance has."""
    declared = {want.address for want in sight.desired.keys}
    for asked in options.rotate:
        here = {address for address in declared if asked in (address, address.partition("[")[0])}
        if not here & set(sight.state.keys):
            why, what = _why(asked, here, sight)
            yield error("not-rotatable", f"{asked} cannot be rotated: {why}", what, address=asked)


def _why(asked: str, declared: set[str], sight: Sight) -> tuple[str, str]:
    known = {a for a in (*sight.state.keys, *declared) if asked in (a, a.partition("[")[0])}
    if declared & {entry.address for entry in sight.desired.imports}:
        return (
            "it is declared with an `imports` entry, and not adopted yet",
            "Adopt it first with `keyform apply`; the rotation after that captures its secret.",
        )
    if declared:
        return "it is declared, and not minted yet", "`keyform apply` mints it."
    if known:
        return (
            "it is no longer declared, so nothing would take its place",
            "The next `keyform apply` revokes it. Declare it again if it is still needed.",
        )
    if asked.startswith("projects."):
        return "a project has no secret", "Name the keys of the project."
    every = {*sight.state.keys, *(want.address for want in sight.desired.keys)}
    every |= {address.partition("[")[0] for address in every}
    close = difflib.get_close_matches(asked, sorted(every), 1)
    return (
        "it is neither declared nor in the state",
        f"Did you mean `{close[0]}`?" if close else "`keyform state list` shows the addresses.",
    )
